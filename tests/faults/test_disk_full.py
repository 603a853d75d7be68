"""A disk that takes no more, which is a small file system in memory."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty import PROJECT, environment, search_command, study_in

TRIALS = 4


def mount(folder: Path, size: str, *, again: bool = False) -> None:
    """Mount a file system in memory, or change its size. Skips the test where that is not allowed."""
    how = ["-o", f"remount,size={size}"] if again else ["-t", "tmpfs", "-o", f"size={size}"]
    done = subprocess.run(["mount", *how, "tmpfs", str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path, trained: Path) -> Iterator[Path]:
    """A project on a disk of 8 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    mount(tmp_path, "8m")
    try:
        (tmp_path / "net.py").write_text(PROJECT)
        (tmp_path / "w.safetensors").write_bytes(trained.read_bytes())
        yield tmp_path
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=False)


def search(folder: Path, trials: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        search_command(trials=trials),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )


def finished(folder: Path) -> dict[int, tuple[object, ...]]:
    """Number -> parameters, values and state of the trials that have ended."""
    trials = study_in(folder).trials
    return {t.number: (t.params, t.values, t.state) for t in trials if t.state.is_finished()}


def fill(folder: Path, left: int) -> None:
    """Leave so many bytes of room on the disk."""
    disk = os.statvfs(folder)
    (folder / "filler").write_bytes(bytes(disk.f_bavail * disk.f_frsize - left))


@pytest.mark.parametrize("left", [150_000, 0], ids=["no room for weights", "no room for the study"])
def test_the_search_stops_and_goes_on_when_there_is_room(small_disk: Path, left: int) -> None:
    first = search(small_disk, 2)
    assert first.returncode == 0, first.stderr
    before = finished(small_disk)
    assert before

    fill(small_disk, left)
    full = search(small_disk, TRIALS)
    assert full.returncode in (1, 2), full.stderr
    last = full.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "free some space" in last
    assert "Traceback" not in full.stderr
    (small_disk / "filler").unlink()
    assert before.items() <= finished(small_disk).items()

    again = search(small_disk, TRIALS)
    assert again.returncode == 0, again.stderr
    trials = study_in(small_disk).trials
    assert before.items() <= finished(small_disk).items()
    assert "RUNNING" not in [trial.state.name for trial in trials]
    assert sum(trial.state.name == "COMPLETE" for trial in trials) == TRIALS
