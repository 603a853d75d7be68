"""The names of the package: loaded when they are used, and the same whatever else is imported."""

import json
import subprocess
import sys
import types
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import autoprune

IMPORT_ALL = """
import json, pkgutil, sys, types
import autoprune

module, kind = sys.modules["autoprune"], type(autoprune)
for found in pkgutil.walk_packages(autoprune.__path__, "autoprune."):
    if found.name != "autoprune.__main__":
        try:
            __import__(found.name)
        except ImportError as error:
            if (error.name or "").startswith("autoprune"):
                raise
kinds = {name: type(getattr(autoprune, name)).__name__ for name in autoprune.__all__}
print(json.dumps([kinds, sys.modules["autoprune"] is module, kind is types.ModuleType is type(module)]))
"""


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_public_names_stay_when_every_submodule_is_imported() -> None:
    kinds, is_same_module, is_plain_module = json.loads(run(IMPORT_ALL).splitlines()[-1])
    assert is_same_module and is_plain_module
    assert kinds.pop("__version__") == "str"
    assert kinds == {
        name: type(getattr(autoprune, name)).__name__ for name in autoprune.__all__ if name != "__version__"
    }
    assert "module" not in kinds.values()


def test_no_submodule_has_a_public_name() -> None:
    folder = Path(autoprune.__file__).parent
    assert {file.stem for file in folder.iterdir()} & set(autoprune.__all__) == set()


def test_the_package_lists_its_public_names_and_nothing_else() -> None:
    assert dir(autoprune) == sorted(autoprune.__all__)
    assert autoprune.__version__ == version("autoprune")
    for name in autoprune.__all__:
        assert isinstance(getattr(autoprune, name), str | type | types.FunctionType), name


@pytest.mark.parametrize("name", ["serach", "export_all", "_studies"])
def test_an_unknown_name_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
        getattr(autoprune, name)


def test_the_package_alone_does_not_wait_for_torch() -> None:
    assert run("import sys, autoprune; dir(autoprune); print('torch' in sys.modules)").strip() == "False"


def test_every_public_name_can_be_imported() -> None:
    names: dict[str, Any] = {}
    exec("from autoprune import *", names)
    assert set(autoprune.__all__) <= set(names)
