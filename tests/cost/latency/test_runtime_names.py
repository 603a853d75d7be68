from __future__ import annotations

import pytest

from autoprune.cost.latency.runtimes import check_runtime
from autoprune.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("onnx-runtime", "unknown runtime 'onnx-runtime', did you mean onnxruntime? use eager, compile"),
        ("OpenVINO", "did you mean openvino?"),
        ("tvm", "unknown runtime 'tvm': use eager, compile, onnxruntime, openvino, cuda or 'command:"),
    ],
)
def test_an_unknown_name_gets_the_nearest_one_and_all(name: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_runtime(name)
    assert says in str(caught.value)


def test_known_names_and_programs_pass() -> None:
    check_runtime("eager")
    check_runtime("command:./run {file}")
