"""Ours beside its peers: same checkpoint, data, recovery and wall time, several seeds.

    pip install torch-pruning==1.6.1 nvidia-modelopt==0.47.0 torchprofile==0.0.4
    python studies/benchmarks/run.py --minutes 12 --seeds 0 1 2

Each method works with each seed in a process of its own, one after the other, and writes what it finds to a
file in ``CASE/`` beside this one; runs whose file is there are left out, so that what was stopped goes on. A
method that is not installed is listed as such. ``summary.py`` makes the table and the picture.
"""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

import torch
from ours import ABLATIONS
from subject import STUDIES, Run, save_checkpoint

HERE = Path(__file__).parent
METHODS = {
    "autoprune": ("ours", "run"),
    "autoprune, untrained": ("ours", "untrained"),
    "Torch-Pruning": ("torch_pruning_peer", "run"),
    "ModelOpt FastNAS": ("fastnas", "run"),
    "afternoon": ("afternoon", "run"),
}
"""Name -> module and function."""
ABLATED = {f"ablation: {name}": ("ours", "ablated") for name in ABLATIONS}
"""The same for ours with one mechanism less; run only where they are asked for."""
UNTRAINED_SHARE = 1 / 2
"""Of the wall time is enough where nothing is trained."""
CASES = {
    "resnet20": "fashion_mnist_resnet20.toml",
    "plain8": "criteria/fashion_mnist_plain8.toml",
    "mobile8": "benchmarks/fashion_mnist_mobile8.toml",
    "letter_lstm": "language_id_lstm.toml",
}
"""Name -> study file."""
NOT_FOR = {"letter_lstm": ("Torch-Pruning", "ModelOpt FastNAS")}
"""Case -> methods that cut nothing in it: they know no recurrent layers."""


def work(given: argparse.Namespace) -> None:
    """Run one method with one seed in this process."""
    (case,), (method,), (seed,) = given.cases, given.methods, given.seeds
    torch.set_num_threads(given.threads)
    module, function = (METHODS | ABLATED)[method]
    share = UNTRAINED_SHARE if function == "untrained" else 1.0
    file, limit = file_of(given.folder / case, method, seed), 60 * given.minutes * share
    run = Run(STUDIES / CASES[case], given.checkpoint, method, seed, limit, file, given.steps)
    try:
        start = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        sys.exit(f"{method} is left out: {error.name} is not installed")
    run.begin()
    start(run)
    run.end()


def file_of(folder: Path, method: str, seed: int) -> Path:
    """Where the points of one run are."""
    return folder / f"{re.sub(r'[^a-z0-9]+', '-', method.lower())}-{seed}.csv"


def main() -> None:
    """Start a process for each run that is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS | ABLATED))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, help="of fine-tuning, where the study's own are too many")
    parser.add_argument("--folder", type=Path, default=HERE)
    parser.add_argument("--checkpoint", type=Path, help="run the one that is named, in this process")
    given = parser.parse_args()
    if given.checkpoint is not None:
        work(given)
        return
    for case in given.cases:
        missing = [
            (method, seed)
            for seed, method in product(given.seeds, given.methods)
            if method not in NOT_FOR.get(case, ()) and not file_of(given.folder / case, method, seed).exists()
        ]
        if missing:
            start_all(case, missing, given)


def start_all(case: str, missing: list[tuple[str, int]], given: argparse.Namespace) -> None:
    """Run what is missing of a case, a process each, on the same checkpoint."""
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = Path(scratch) / "checkpoint.safetensors"
        save_checkpoint(STUDIES / CASES[case], checkpoint)
        for method, seed in missing:
            print(f"{case}, {method}, seed {seed}", flush=True)
            command = [sys.executable, __file__, "--cases", case, "--methods", method, "--seeds", str(seed)]
            command += ["--minutes", str(given.minutes), "--threads", str(given.threads)]
            command += ["--folder", str(given.folder), "--checkpoint", str(checkpoint)]
            command += [] if given.steps is None else ["--steps", str(given.steps)]
            subprocess.run(command, check=False)


if __name__ == "__main__":
    main()
