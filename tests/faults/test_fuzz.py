"""A slice of ``studies/fuzz``, which feeds malformed files and texts to everything that reads some."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

STUDY = Path(__file__).parents[2] / "studies" / "fuzz"
sys.path.insert(0, str(STUDY))

from fuzz import MOST_MEGABYTES, fuzz  # noqa: E402
from readers import Reader, readers  # noqa: E402


@pytest.mark.parametrize("reader", readers(), ids=lambda reader: reader.name)
def test_what_is_malformed_is_refused_in_one_line(reader: Reader) -> None:
    found = fuzz(reader, 60, corpus=False)
    assert found.failures == []
    assert found.inputs > 50
    assert found.refused
    assert found.megabytes < MOST_MEGABYTES
