"""Does the measured ratio hold when something else loads the machine?

    python studies/latency/noise.py --repeats 15

A model cut by half is timed beside the whole one, again and again, on the quiet machine and while other
processes keep every core busy. The milliseconds move with the load; the ratio should move by less than
5 %. Medians over the repeats, and their change, are printed and written to ``noise.csv`` beside this file.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import numpy as np
import torch
from subjects import MODELS, subject

import autoprune
from autoprune.cost import Latency, Meter, Setting, runtime_by_name
from autoprune.cost.shares import narrowed

RUNTIMES = ("eager", "onnxruntime")
BUSY = (
    "import torch\ntorch.set_num_threads(1)\na = torch.rand(512, 512)\nwhile True:\n    a = (a @ a).sin()\n"
)


@contextmanager
def load(processes: int) -> Iterator[None]:
    """Keep so many other processes multiplying matrices meanwhile."""
    running = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def repeated(meter: Meter, half: torch.nn.Module, repeats: int) -> list[Latency]:
    """The same measurement again and again."""
    return [meter.measure(half) for _ in range(repeats)]


def median(latencies: list[Latency], field: str) -> float:
    """Over the repeats."""
    return float(np.median([getattr(latency, field) for latency in latencies]))


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
            setting = Setting(runtime_by_name(runtime), threads=1)
            meter = Meter(model, (batch,), setting, max_seconds=arguments.seconds)
            found = {}
            for processes in (0, arguments.processes):
                with load(processes):
                    found[processes] = latencies = repeated(meter, half, arguments.repeats)
                ratios = [latency.ratio for latency in latencies]
                ms, ratio = 1e3 * median(latencies, "seconds"), median(latencies, "ratio")
                spread = (np.quantile(ratios, 0.9) - np.quantile(ratios, 0.1)) / ratio
                converged = sum(latency.converged for latency in latencies)
                row = [f"{ms:.4f}", f"{ratio:.4f}", f"{spread:.4f}", converged]
                writer.writerow([name, runtime, processes, *row])
                out.flush()
            quiet, loud = found.values()
            moved = {
                field: 100 * (median(loud, field) / median(quiet, field) - 1)
                for field in ("seconds", "ratio")
            }
            print(
                f"{name:14} {runtime:12} under load: milliseconds {moved['seconds']:+.1f} %, "
                f"ratio {moved['ratio']:+.1f} %",
                flush=True,
            )


if __name__ == "__main__":
    main()
