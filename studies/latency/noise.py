"""Does the measured ratio hold when something else loads the machine?

    python studies/latency/noise.py --repeats 15

A model cut by half is timed beside the whole one, again and again, on the quiet machine and while other
processes keep every core busy, multiplying matrices that fit into caches or going through memory that does
not; and by itself with a stopwatch, as most benchmarks do. Those milliseconds move with the load; the ratio
should move by less than 5 %. Medians over the repeats, and their change, are printed and written to
``noise.csv`` beside this file.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from subjects import MODELS, subject

import autoprune
from autoprune.cost import Latency, Meter, Setting, runtime_by_name
from autoprune.cost.latency.group_shares import narrowed
from autoprune.cost.latency.runtimes import Call

RUNTIMES = ("eager", "onnxruntime")
QUIET = "none"
BUSY = {
    "matrices": ("a = torch.rand(512, 512)", "a = (a @ a).sin()"),
    "memory": ("a, b = torch.rand(2, 2**27)", "b.copy_(a)"),
}
"""Kind of load -> what a process begins with and repeats; each vector of the second takes half a GiB."""


@contextmanager
def load(kind: str, processes: int) -> Iterator[None]:
    """Run this number of other processes meanwhile; none for the quiet kind."""
    running = []
    for _ in range(processes if kind in BUSY else 0):
        begin, repeat = BUSY[kind]
        code = (
            f"import torch\ntorch.set_num_threads(1)\n{begin}\nprint(flush=True)\nwhile True:\n    {repeat}"
        )
        running.append(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE))
    try:
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def plain_ms(call: Call, seconds: float) -> float:
    """Median milliseconds a call by the clock on the wall."""
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times))


@dataclass(frozen=True)
class Repeats:
    """The same measurements again and again: milliseconds by themselves, and beside the whole model."""

    plain: list[float]
    latencies: list[Latency]

    @property
    def ms(self) -> float:
        """Median milliseconds by the clock on the wall."""
        return float(np.median(self.plain))

    @property
    def ratios(self) -> list[float]:
        """Measured ratios."""
        return [latency.ratio for latency in self.latencies]

    def row(self) -> list[object]:
        """What is recorded of them."""
        ratio = float(np.median(self.ratios))
        low, high = np.quantile(self.ratios, [0.1, 0.9])
        converged = sum(latency.converged for latency in self.latencies)
        return [f"{self.ms:.4f}", f"{ratio:.4f}", f"{(high - low) / ratio:.4f}", converged]


def change(quiet: Repeats, loud: Repeats) -> str:
    """How far the medians moved."""
    ms = 100 * (loud.ms / quiet.ms - 1)
    ratio = 100 * (float(np.median(loud.ratios)) / float(np.median(quiet.ratios)) - 1)
    return f"milliseconds {ms:+.1f} %, ratio {ratio:+.1f} %"


def main() -> None:
    """Run all models and runtimes, print and record the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1.0, help="most seconds a timing takes")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--runtimes", nargs="*", default=list(RUNTIMES))
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with (arguments.folder / "noise.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["model", "runtime", "load", "ms", "ratio", "ratio_spread", "converged"])
        for name, runtime in product(arguments.models, arguments.runtimes):
            model, batch = subject(name)
            structure = autoprune.discover(model, batch)
            halves = {group: max(1, width // 2) for group, width in structure.widths.items() if width > 1}
            half = narrowed(model, structure, halves)
            setting = Setting(runtime_by_name(runtime), threads=1, max_seconds=arguments.seconds)
            meter = Meter(model, (batch,), setting)
            call = setting.runtime.prepare(*setting.form(half, (batch,)))
            found = {}
            for kind in (QUIET, *BUSY):
                with load(kind, arguments.processes):
                    pairs = [
                        (plain_ms(call, arguments.seconds), meter.measure(half))
                        for _ in range(arguments.repeats)
                    ]
                found[kind] = Repeats(*map(list, zip(*pairs, strict=True)))
                writer.writerow([name, runtime, kind, *found[kind].row()])
                out.flush()
            for kind in BUSY:
                print(f"{name:14} {runtime:12} {kind:8} {change(found[QUIET], found[kind])}", flush=True)


if __name__ == "__main__":
    main()
