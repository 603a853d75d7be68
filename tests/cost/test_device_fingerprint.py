from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch import nn

from autoprune.cost import Setting, fingerprint_of

MODEL, INPUTS = nn.Linear(4, 2), (torch.rand(3, 4), torch.zeros(1, dtype=torch.int64))


def test_names_this_machine_and_the_setting() -> None:
    device = fingerprint_of(Setting(threads=2), MODEL, INPUTS)
    assert device.processor
    assert device.logical_cores >= 1
    assert (device.torch, device.runtime, device.threads) == (torch.__version__, "eager", 2)
    assert device.inputs == "3x4 float32, 1 int64"
    assert (device.dtype, device.channels_last) == ("float32", False)
    assert "eager, torch" in str(device)
    assert "2 threads, float32 on 3x4 float32, 1 int64" in str(device)


def test_every_field_changes_the_key() -> None:
    device = fingerprint_of(Setting(threads=2), MODEL, INPUTS)
    others = [
        replace(device, **{field.name: 99 if field.type in ("int", "bool") else "other"})
        for field in fields(device)
    ]
    keys = {device.key, *(other.key for other in others)}
    assert len(keys) == 1 + len(fields(device))
    assert all(len(key) == 12 for key in keys)
    assert replace(device).key == device.key


@pytest.mark.parametrize("changed", [{"dtype": "bfloat16"}, {"channels_last": True}, {"threads": 3}], ids=str)
def test_every_setting_is_part_of_it(changed: dict[str, object]) -> None:
    plain = fingerprint_of(Setting(threads=2), MODEL, INPUTS)
    assert fingerprint_of(Setting(**{"threads": 2, **changed}), MODEL, INPUTS).key != plain.key
