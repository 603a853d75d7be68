import os
import resource
import time
from pathlib import Path

import pytest

from autoprune.utils.atomic_files import STALE_SECONDS, put_in_place, replace_file, sweep


def test_a_file_appears_whole_with_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "er" / ("x" * 250)
    replace_file(file, "größe")
    assert file.read_text(encoding="utf-8") == "größe"
    replace_file(file, b"\0")
    assert file.read_bytes() == b"\0"
    assert list(file.parent.iterdir()) == [file]


def test_a_file_that_cannot_be_written_leaves_the_earlier_one(tmp_path: Path) -> None:
    file = tmp_path / "file"
    replace_file(file, b"earlier")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            replace_file(file, bytes(4096))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [file]


def test_only_what_nobody_writes_any_more_is_swept_away(tmp_path: Path) -> None:
    names = (".autoprune-a.partial", ".autoprune-b.partial", "c.partial")
    old, new, other = (tmp_path / name for name in names)
    for file in (old, new, other):
        file.touch()
    long_ago = time.time() - STALE_SECONDS - 1
    for file in (old, other):
        os.utime(file, (long_ago, long_ago))
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == [new, other]
    sweep(tmp_path / "missing")


def test_a_complete_file_gets_its_name_in_one_step(tmp_path: Path) -> None:
    partial, file = tmp_path / "partial", tmp_path / "file"
    file.write_text("earlier")
    partial.write_text("now")
    put_in_place(partial, file)
    assert file.read_text() == "now"
    assert not partial.exists()
