from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from autoprune.cost.latency.timing_lock import timing_lock, timing_lock_path
from autoprune.errors import ConfigError, TrialError


@pytest.fixture(autouse=True)
def _own_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_another_process_waits_in_vain() -> None:
    program = (
        "import sys, filelock\n"
        "try:\n"
        "    filelock.FileLock(sys.argv[1], timeout=0).acquire()\n"
        "except filelock.Timeout:\n"
        "    sys.exit(7)\n"
    )
    command = [sys.executable, "-c", program, str(timing_lock_path())]
    with timing_lock():
        assert subprocess.run(command, check=False).returncode == 7
    assert subprocess.run(command, check=False).returncode == 0


def test_another_thread_is_told_what_to_do() -> None:
    errors: list[Exception] = []

    def second() -> None:
        try:
            with timing_lock(wait_seconds=0.05):
                pass
        except TrialError as error:
            errors.append(error)

    with timing_lock():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(errors) == 1
    assert str(timing_lock_path()) in str(errors[0])


def test_lock_is_free_after_an_error() -> None:
    with pytest.raises(RuntimeError), timing_lock():
        raise RuntimeError
    with timing_lock(wait_seconds=0.0):
        pass


def test_folder_that_cannot_hold_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setattr(tempfile, "tempdir", str(blocked))
    with pytest.raises(ConfigError, match="TMPDIR"), timing_lock():
        pass
