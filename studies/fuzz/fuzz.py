"""Feed malformed files and texts to everything that reads some, and record what came of it.

    python studies/fuzz/fuzz.py --inputs 25500 -o studies/fuzz/results.json

Each reader runs in a process of its own. An input may be read, or be refused with one of autoprune's errors
in one line; anything else is a failure, and so is one that takes more than 2 s or 500 MB.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from readers import Reader, readers

from autoprune.errors import AutopruneError

MOST_SECONDS, MOST_MEGABYTES, HUNG = 2.0, 500.0, 120.0
SHOWN = 5


@dataclass
class Found:
    """What one reader did with its inputs.

    Attributes:
        inputs: how many there were.
        read: how many were taken.
        refused: error -> how often it was raised.
        failures: descriptions of the first inputs that it failed on.
        failed: how many it failed on.
        slowest: most seconds of processor time that one input took.
        megabytes: growth of the process's largest memory.
    """

    inputs: int = 0
    read: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    failed: int = 0
    slowest: float = 0.0
    megabytes: float = 0.0

    def take(self, reader: Reader, content: bytes, folder: Path) -> None:
        """Have an input read, and remember what came of it."""
        before, begun, problem = time.process_time(), time.monotonic(), ""
        faulthandler.dump_traceback_later(HUNG, exit=True)
        try:
            reader.read(content, folder)
            self.read += 1
        except AutopruneError as error:
            name = type(error).__name__
            self.refused[name] = self.refused.get(name, 0) + 1
            if "\n" in str(error) or len(str(error)) > 2000:
                problem = (
                    f"a message of {len(str(error))} characters on {str(error).count(chr(10)) + 1} lines"
                )
        except BaseException as error:
            problem = f"{type(error).__name__}: {str(error)[:200]}"
        faulthandler.cancel_dump_traceback_later()
        seconds = time.process_time() - before
        self.inputs += 1
        self.slowest = max(self.slowest, seconds)
        if seconds > MOST_SECONDS or time.monotonic() - begun > HUNG / 2:
            problem = problem or f"{seconds:.1f} s"
        if problem:
            self.failed += 1
            if len(self.failures) < SHOWN:
                self.failures.append(f"{problem} for {len(content)} bytes: {content[:200]!r}")


def fuzz(reader: Reader, count: int, *, corpus: bool = True, at: int = 0) -> Found:
    """Feed the corpus and then a number of generated inputs to a reader."""
    found = Found()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # What importing and the first reading take is not the input's.
        found.take(reader, b"", folder)
        before = _peak()
        for content in reader.corpus() if corpus else ():
            found.take(reader, content, folder)

        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @seed(at)
        @given(reader.inputs)
        def each(content: bytes) -> None:
            found.take(reader, content, folder)

        each()
        found.megabytes = _peak() - before
        stray = sorted(path.name for path in folder.iterdir() if path.name.startswith(("ran", ".")))
        if stray or Path("ran").exists():
            found.failed += 1
            found.failures.append(f"files that nobody asked for: {stray}")
    return found


def _peak() -> float:
    """Largest memory of this process so far, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _one(index: int, count: int, at: int) -> None:
    """Run in a separate process: print the result as JSON."""
    reader = readers()[index]
    found = fuzz(reader, count, at=at)
    print(json.dumps({"reader": reader.name, **asdict(found)}))


def main() -> int:
    """Run all readers; exit code 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=25_500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    given_args = parser.parse_args()
    if given_args.only is not None:
        _one(given_args.only, given_args.inputs, given_args.seed)
        return 0
    rows = []
    for index, reader in enumerate(readers()):
        count = math.ceil(given_args.inputs * reader.share)
        command = [sys.executable, __file__, "--only", str(index), "--inputs", str(count)]
        done = subprocess.run(
            [*command, "--seed", str(given_args.seed)], capture_output=True, text=True, env={**os.environ}
        )
        lines = done.stdout.strip().splitlines()
        if done.returncode or not lines:
            tail = done.stderr.strip().splitlines()[-12:]
            rows.append(
                {"reader": reader.name, "failed": 1, "failures": [f"exit code {done.returncode}", *tail]}
            )
        else:
            rows.append(json.loads(lines[-1]))
        row = rows[-1]
        row["failed"] += row.get("megabytes", 0.0) > MOST_MEGABYTES
        told = {key: round(value, 2) if isinstance(value, float) else value for key, value in row.items()}
        print(told, flush=True)
    total = sum(row.get("inputs", 0) for row in rows)
    failed = sum(row["failed"] for row in rows)
    print(f"{total} inputs, {failed} failures")
    if given_args.output is not None:
        record = {"inputs": total, "failed": failed, "seed": given_args.seed, "readers": rows}
        given_args.output.write_text(json.dumps(record, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
