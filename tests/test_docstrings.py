"""Every public name is documented with an example, and the examples run."""

import doctest
from pathlib import Path

import pytest

import autoprune
from autoprune.criteria import registry

NAMES = [name for name in autoprune.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_has_a_docstring_with_an_example(name: str) -> None:
    text = getattr(autoprune, name).__doc__
    first, blank = text.split("\n")[:2]
    assert first.endswith(".") and not blank.strip()
    assert doctest.DocTestParser().get_examples(text)


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_public_name_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    example = doctest.DocTestParser().get_doctest(getattr(autoprune, name).__doc__, {}, name, None, None)
    told: list[str] = []
    result = doctest.DocTestRunner().run(example, out=told.append)
    assert "".join(told) == ""
    assert result.attempted > 0
