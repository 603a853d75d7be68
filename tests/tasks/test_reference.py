import json

import pytest

from autoprune.config.references import parse_code
from autoprune.config.user_code import Permit
from autoprune.config.user_code import call_factory as call_permitted
from autoprune.errors import DataError, UserError
from autoprune.tasks import is_reference, resolve


def call_factory(spec, *more):
    code = parse_code(spec)
    return call_permitted(code, Permit.naming(code), *more)


@pytest.mark.parametrize("spec", ["a:b", "a.b.c:d", "some/file.py:make", "../x-y.py:make"])
def test_references(spec):
    assert is_reference(spec)


@pytest.mark.parametrize("spec", ["a", "a:", ":b", "a-b:c", "x.py:", "a:b c", "a/b:c"])
def test_no_references(spec):
    assert not is_reference(spec)
    with pytest.raises(UserError, match="no reference"):
        resolve(spec, "model")


def test_an_object_of_an_installed_module():
    assert resolve("json:dumps", "model") is json.dumps


def test_files_of_one_name_are_told_apart(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.py").write_text(f"WORD = {folder!r}\n")
    assert [resolve(f"{tmp_path}/{folder}/same.py:WORD", "x") for folder in ("one", "two")] == ["one", "two"]


def test_a_file_with_a_dataclass(tmp_path):
    path = tmp_path / "config.py"
    path.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Point:\n    x: int = 3\n"
    )
    assert call_factory(f"{path}:Point", "model").x == 3


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("x = 1", "y", "no 'y'"),
        ("import nonexistent_module", "x", "importing .* failed: ModuleNotFoundError"),
        ("x = (", "x", "SyntaxError"),
        ("x = 1", "x", "is a int"),
        ("def x(a): pass", "x", "failed: TypeError"),
        ("raise SystemError", "x", "SystemError"),
    ],
)
def test_broken_references(tmp_path, text, name, message):
    path = tmp_path / "user.py"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        call_factory(f"{path}:{name}", "data", DataError)
    assert "\n" not in str(caught.value)


def test_a_missing_file():
    with pytest.raises(UserError, match="no file"):
        resolve("does/not/exist.py:x", "data")
