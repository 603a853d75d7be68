"""Inject faults into real searches, several times each, and record what was lost and how soon they went on.

    python studies/faults/inject.py --times 3 -o studies/faults/results.csv [--only "kill -9" ...]

A *trial is lost* when it had finished before the fault and is gone or changed after it, or when it was
running and is not run again. *Seconds to continue* go from the moment that the search can go on (the same
command is given again, the server is back, the worker is found dead) to when its next trial begins.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import optuna
import safetensors.torch
import torch
from optuna.trial import FrozenTrial

TESTS = Path(__file__).parents[2] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "faults")]

from faulty import NAME, PROJECT, environment, search_command  # noqa: E402
from postgresql_server import Server, binaries  # noqa: E402

from autoprune.storages import open_storage  # noqa: E402
from autoprune.tasks import digits_resnet  # noqa: E402

TRIALS = 5
SQLITE = "autoprune.db"


@dataclass(frozen=True)
class Outcome:
    """What one injected fault did.

    Attributes:
        lost: trials.
        seconds: until the search went on.
        note: what else was measured.
    """

    lost: int
    seconds: float
    note: str = ""


def project() -> Path:
    """A folder with a model, its weights and its data."""
    folder = Path(tempfile.mkdtemp(prefix="autoprune-faults-"))
    fill(folder)
    return folder


def fill(folder: Path) -> None:
    """Write the project."""
    (folder / "net.py").write_text(PROJECT)
    torch.manual_seed(0)
    safetensors.torch.save_file(digits_resnet().state_dict(), folder / "w.safetensors")


def recorded(storage: str) -> list[FrozenTrial]:
    """All trials of the study."""
    return optuna.load_study(study_name=NAME, storage=open_storage(storage, must_exist=True)).trials


def trials_of(storage: str) -> list[FrozenTrial]:
    """The same; none before the study is made."""
    try:
        return recorded(storage)
    except Exception:  # the study, its file or its server is not there yet
        return []


def finished(storage: str) -> list[FrozenTrial]:
    """Those that have ended."""
    return [trial for trial in trials_of(storage) if trial.state.is_finished()]


def run(folder: Path, *more: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The search, to its end."""
    return subprocess.run(
        search_command(*more, trials=TRIALS),
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=600,
    )


def start(folder: Path, *more: str, **variables: str) -> subprocess.Popen[str]:
    """The search, in the background."""
    return subprocess.Popen(
        search_command(*more, trials=TRIALS),
        cwd=folder,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(storage: str, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until this number of trials has ended."""
    deadline = time.monotonic() + 300
    while len(finished(storage)) < count and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)


def compare(storage: str, before: list[FrozenTrial], since: datetime, note: str = "") -> Outcome:
    """What is missing now of what there was, and when the next trial began."""
    after = {trial.number: trial for trial in recorded(storage)}
    lost = sum(
        (known.state, known.values, known.params) != (now.state, now.values, now.params)
        for known in before
        for now in [after[known.number]]
    )
    dead = [t for t in after.values() if t.user_attrs.get("reason") in ("its process died", "interrupted")]
    retried = {trial.user_attrs.get("retry_of") for trial in after.values() if trial.state.is_finished()}
    lost += sum(trial.number not in retried for trial in dead)
    lost += sum(trial.state.name == "RUNNING" for trial in after.values())
    begun = [t.datetime_start for t in after.values() if t.datetime_start and t.datetime_start > since]
    return Outcome(lost, (min(begun) - since).total_seconds() if begun else float("nan"), note)


def again(folder: Path, storage: str, before: list[FrozenTrial], *more: str, note: str = "") -> Outcome:
    """Give the same command again."""
    since = datetime.now()
    done = run(folder, *more)
    assert done.returncode == 0, done.stderr
    return compare(storage, before, since, note)


def killed(stage: str, most: int) -> Callable[[], Outcome]:
    """The process is killed at a stage."""

    def inject() -> Outcome:
        folder = project()
        storage = str(folder / SQLITE)
        done = run(folder, FAULT=stage, AT=str(random.randint(2, most)))
        assert done.returncode == -signal.SIGKILL, done.stderr
        return again(folder, storage, finished(storage))

    return inject


def asked_to_stop(number: int) -> Callable[[], Outcome]:
    """The process gets a signal at a random moment."""

    def inject() -> Outcome:
        folder = project()
        storage = str(folder / SQLITE)
        process = start(folder)
        wait_for(storage, 1, process)
        time.sleep(random.random())
        asked = time.monotonic()
        process.send_signal(number)
        process.communicate(timeout=60)
        took = time.monotonic() - asked
        return again(folder, storage, finished(storage), note=f"ended after {took:.1f} s")

    return inject


def torn_journal() -> Outcome:
    """The process is killed, and half a line is at the end of its journal."""
    folder = project()
    storage = f"journal:{folder / 'study.journal'}"
    done = run(folder, "--storage", storage, FAULT="kill in fine-tuning", AT="5")
    assert done.returncode == -signal.SIGKILL, done.stderr
    before = finished(storage)
    with (folder / "study.journal").open("ab") as file:
        file.write(b'{"op_code": 5, "worker_id": "torn')
    return again(folder, storage, before, "--storage", storage)


def full_disk() -> Outcome:
    """A file system of 8 MB is full while weights are to be saved; then there is room."""
    folder = Path(tempfile.mkdtemp(prefix="autoprune-faults-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], check=True)
    try:
        fill(folder)
        storage = str(folder / SQLITE)
        process = start(folder)
        wait_for(storage, 2, process)
        disk = os.statvfs(folder)
        filler = folder / "filler"
        filler.write_bytes(bytes(max(0, disk.f_bavail * disk.f_frsize - 100_000)))
        _, errors = process.communicate(timeout=300)
        last = errors.strip().splitlines()[-1] if errors.strip() else "it ended before"
        filler.unlink()
        return again(folder, storage, finished(storage), note=last[:90])
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def out_of_memory() -> Outcome:
    """One step finds no room on the GPU (the error is CUDA's, raised on the CPU)."""
    folder = project()
    storage = str(folder / SQLITE)
    done = run(folder, FAULT="out of memory", AT=str(random.randint(2, 9)))
    assert done.returncode == 0, done.stderr
    trials = trials_of(storage)
    (failed,) = [t for t in trials if str(t.user_attrs.get("reason", "")).startswith("out of memory")]
    retry = next((t for t in trials if t.user_attrs.get("retry_of") == failed.number), None)
    done_again = retry is not None and retry.state.name == "COMPLETE"
    begun = retry.datetime_start if retry is not None else None
    ended = failed.datetime_complete
    seconds = (begun - ended).total_seconds() if begun and ended else float("nan")
    return Outcome(0 if done_again else 1, seconds, "run again in 2 pieces")


class OnServer:
    """Faults of two workers on a PostgreSQL server."""

    def __init__(self) -> None:
        programs = binaries()
        assert programs is not None, "PostgreSQL is not installed"
        self.server = Server.create(programs)
        self.server.start()
        self._count = 0

    def database(self) -> str:
        """A new one."""
        self._count += 1
        return self.server.database(f"faults_{self._count}")

    def killed_worker(self, stage: str, most: int) -> Callable[[], Outcome]:
        """One worker of two is killed at a stage; the other goes on."""

        def inject() -> Outcome:
            folder, url = project(), self.database()
            variables = {"FAULT": stage, "AT": str(random.randint(1, most)), "WORKER": "1"}
            done = run(folder, "--storage", url, "--workers", "2", **variables)
            assert done.returncode == 0, done.stderr
            trials = trials_of(url)
            dead = [trial for trial in trials if trial.user_attrs.get("reason") == "its process died"]
            since = dead[0].datetime_complete if dead and dead[0].datetime_complete else datetime.now()
            retries = [t for t in trials if t.user_attrs.get("retry_of") in {d.number for d in dead}]
            begun = [t.datetime_start for t in retries if t.datetime_start]
            lost = len(dead) - sum(t.state.name == "COMPLETE" for t in retries)
            lost += sum(trial.state.name == "RUNNING" for trial in trials)
            seconds = (min(begun) - since).total_seconds() if begun else float("nan")
            return Outcome(lost, seconds, "from the moment that it is found dead")

        return inject

    def restarted(self) -> Outcome:
        """The server crashes and is started again 3 s later."""
        folder, url = project(), self.database()
        process = start(folder, "--storage", url, "--workers", "2")
        wait_for(url, 2, process)
        before = finished(url)
        self.server.stop("immediate")
        time.sleep(3)
        self.server.start()
        since = datetime.now()
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        after = trials_of(url)
        ended = [t.datetime_complete for t in after if t.datetime_complete and t.datetime_complete > since]
        outcome = compare(url, before, since)
        seconds = min((min(ended) - since).total_seconds() if ended else float("nan"), outcome.seconds)
        return Outcome(outcome.lost, seconds, "workers waited; until a trial begins or ends")


def faults() -> dict[str, Callable[[], Outcome]]:
    """Description -> what injects it once."""
    on_server: list[OnServer] = []

    def on(make: Callable[[OnServer], Callable[[], Outcome]]) -> Callable[[], Outcome]:
        def inject() -> Outcome:
            if not on_server:
                on_server.append(OnServer())
            return make(on_server[0])()

        return inject

    return {
        "kill -9 in fine-tuning": killed("kill in fine-tuning", 9),
        "kill -9 while weights are written": killed("kill while writing", 3),
        "kill -9 before a trial is reported": killed("kill before tell", 3),
        "kill -9 after a trial is reported": killed("kill after tell", 3),
        "SIGTERM": asked_to_stop(signal.SIGTERM),
        "Ctrl-C": asked_to_stop(signal.SIGINT),
        "journal with a torn last line": torn_journal,
        "disk full while saving": full_disk,
        "out of memory in a candidate": out_of_memory,
        "kill -9 of one of 2 workers in fine-tuning": on(lambda s: s.killed_worker("kill in fine-tuning", 3)),
        "kill -9 of one of 2 workers while writing": on(lambda s: s.killed_worker("kill while writing", 1)),
        "kill -9 of one of 2 workers before tell": on(lambda s: s.killed_worker("kill before tell", 1)),
        "PostgreSQL crashes and is started again": on(lambda s: s.restarted),
    }


def main() -> None:
    """Inject what is asked for; one row a fault is added to the output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[""], help="parts of the faults' descriptions")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell that starts this in the background makes all that is started here ignore Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed(0)
    for name, inject in faults().items():
        if not any(part in name for part in given.only):
            continue
        outcomes = [inject() for _ in range(given.times)]
        seconds = [outcome.seconds for outcome in outcomes if outcome.seconds == outcome.seconds]
        row = {
            "fault": name,
            "times": len(outcomes),
            "trials_lost": sum(outcome.lost for outcome in outcomes),
            "median_seconds_to_continue": round(statistics.median(seconds), 2) if seconds else "",
            "most_seconds_to_continue": round(max(seconds), 2) if seconds else "",
            "note": outcomes[-1].note,
        }
        new = not given.output.exists()
        with given.output.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)
        print(row, flush=True)
    for folder in Path(tempfile.gettempdir()).glob("autoprune-faults-*"):
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
