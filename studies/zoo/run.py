"""Discovery and surgery on every classification model of torchvision, one process a model.

python studies/zoo/run.py                    all that results.csv lacks, smallest first
python studies/zoo/run.py resnet18 'vit_*'   these only
python studies/zoo/run.py --again resnet18   remeasured
python studies/zoo/run.py --table            results.csv as Markdown
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from autoprune.structure import Plan, Structure, apply, discover
from autoprune.structure.graph.values import tensors_in
from autoprune.structure.verification.verify import difference

RESULTS = Path(__file__).with_name("results.csv")
SIZES = {"inception_v3": 299}
"""Pixels a side, where it is not 224: the auxiliary head of Inception takes no less."""
SHARES = (0.3, 0.6)
MIB = 2**20


@dataclass(frozen=True)
class Row:
    """One line of results.csv.

    Attributes:
        model: name in torchvision.
        parameters: number of parameters.
        groups: groups found.
        frozen: layers whose output units must stay.
        prunable: share of the parameters in tensors that some group cuts.
        discovery_s: processor seconds of ``discover``.
        surgery_s: processor seconds of ``apply`` with 60 % of all units removed.
        peak: peak memory of ``discover`` on top of the model, as a multiple of the model's own.
        peak_mib: the same in MiB.
        left_30, left_60: parameters left when that share of the units of every group is removed.
        ran_30, ran_60: which of forward, backward and export the smaller model passed.
        difference_30, difference_60: largest difference to the zeroed model, relative to the largest
            output, in float64, on perturbed weights.
        error: why there is no more to say.
    """

    model: str
    parameters: int = 0
    groups: int = 0
    frozen: int = 0
    prunable: float = 0.0
    discovery_s: float = 0.0
    surgery_s: float = 0.0
    peak: float = 0.0
    peak_mib: float = 0.0
    left_30: float = 0.0
    left_60: float = 0.0
    ran_30: str = ""
    ran_60: str = ""
    difference_30: float = float("nan")
    difference_60: float = float("nan")
    error: str = ""


def measure(name: str) -> Row:
    """Everything about one model; called in a process of its own."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    _warm_up()
    model = build(name).eval()
    size = SIZES.get(name, 224)
    image = torch.randn(1, 3, size, size)
    own = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    before, start = _resident(), time.process_time()
    structure = discover(model, image)
    discovery_s = time.process_time() - start
    peak = _high_water() - before
    row = Row(
        model=name,
        parameters=sum(p.numel() for p in model.parameters()),
        groups=len(structure.groups),
        frozen=len(structure.frozen),
        prunable=_prunable(model, structure),
        discovery_s=discovery_s,
        peak=peak / own,
        peak_mib=peak / MIB,
    )
    for share in SHARES:
        row = dataclasses.replace(row, **_cut(model, structure, share, image))
    return row


def build(name: str) -> nn.Module:
    """The model with random weights and, where it has them, auxiliary heads."""
    given = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = torchvision.models.get_model(name, weights=None, **given)
    return model


def share_plan(structure: Structure, share: float) -> Plan:
    """Remove a random `share` of the units of every group."""
    generator = np.random.default_rng(0)
    keep = {}
    for group in structure.groups:
        kept = max(group.least, group.width - round(share * group.width))
        keep[group.name] = tuple(sorted(int(u) for u in generator.permutation(group.width)[:kept]))
    return Plan(keep)


def _cut(model: nn.Module, structure: Structure, share: float, image: Tensor) -> dict[str, Any]:
    plan, percent = share_plan(structure, share), round(100 * share)
    start = time.process_time()
    pruned = apply(model, plan, structure)
    seconds = time.process_time() - start
    left = sum(p.numel() for p in pruned.parameters()) / sum(p.numel() for p in model.parameters())
    return {
        "surgery_s": seconds,
        f"left_{percent}": left,
        f"ran_{percent}": " ".join(_passed(pruned, image)),
        f"difference_{percent}": difference(model, structure, plan, image, noise=True),
    }


def _passed(pruned: nn.Module, image: Tensor) -> list[str]:
    """Which of the three the smaller model passed."""
    passed = []
    with torch.no_grad():
        if pruned.eval()(image).shape == (1, 1000):
            passed.append("forward")
    outputs = tensors_in(pruned.train()(image.expand(2, -1, -1, -1)))
    torch.stack([output.sum() for output in outputs]).sum().backward()
    if all(p.grad is not None and p.grad.shape == p.shape for p in pruned.parameters()):
        passed.append("backward")
    torch.export.export(pruned.eval(), (image,), strict=False)
    return [*passed, "export"]


def _prunable(model: nn.Module, structure: Structure) -> float:
    cut = {part.parameter for group in structure.groups for part in group.slices}
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    return sum(size for name, size in sizes.items() if name in cut) / sum(sizes.values())


def _warm_up() -> None:
    """What PyTorch loads on the first export is not charged to the model."""
    tiny = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    discover(tiny, torch.zeros(1, 3, 8, 8))


def _resident() -> int:
    """Bytes of memory in use now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _high_water() -> int:
    """Most bytes of memory ever in use."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(names: Sequence[str], limit: float) -> None:
    """Measure these models, each in a process of its own, writing every row as soon as it is there."""
    for name in names:
        command = [sys.executable, __file__, "--one", name]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit)
            lines = done.stdout.strip().splitlines()
            error = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            row = Row(**json.loads(lines[-1])) if done.returncode == 0 else Row(name, error=error)
        except subprocess.TimeoutExpired:
            row = Row(name, error=f"more than {limit:.0f} s")
        write([*(old for old in read() if old.model != name), row])
        print(
            row.model, row.error or f"{row.groups} groups, {row.discovery_s:.1f} s, {row.peak:.2f} x memory"
        )


def read() -> list[Row]:
    """The rows measured so far."""
    if not RESULTS.exists():
        return []
    kinds = {field.name: type(getattr(Row(""), field.name)) for field in dataclasses.fields(Row)}
    with RESULTS.open(newline="") as file:
        return [Row(**{key: kinds[key](text) for key, text in line.items()}) for line in csv.DictReader(file)]


def write(rows: Sequence[Row]) -> None:
    """All rows in the order of their names."""
    with RESULTS.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in dataclasses.fields(Row)])
        for row in sorted(rows, key=lambda row: row.model):
            values = dataclasses.astuple(row)
            writer.writerow([f"{v:.4g}" if isinstance(v, float) else v for v in values])


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    head = (
        "| model | parameters | groups | frozen | prunable | discovery, s | surgery, s "
        "| memory, times the model | left at 30 % / 60 % | difference | passed |\n|" + "---|" * 11
    )
    lines = [
        f"| {r.model} | {r.parameters / 1e6:.1f} M | {r.groups} | {r.frozen} | {r.prunable:.0%} "
        f"| {r.discovery_s:.1f} | {r.surgery_s:.2f} | {r.peak:.2f} | {r.left_30:.0%} / {r.left_60:.0%} "
        f"| {np.fmax(r.difference_30, r.difference_60):.0e} | {_all_passed(r)} |"
        for r in sorted(rows, key=lambda row: row.model)
    ]
    return "\n".join([head, *lines])


def _all_passed(row: Row) -> str:
    both = set(row.ran_30.split()) & set(row.ran_60.split())
    return row.error or ("all" if len(both) == 3 else ", ".join(sorted(both)) or "none")


def chosen(patterns: Sequence[str], again: bool) -> list[str]:
    """Names of the models to measure, the smallest first."""
    known = torchvision.models.list_models(module=torchvision.models)
    names = [n for n in known if not patterns or any(fnmatchcase(n, p) for p in patterns)]
    if not names:
        sys.exit(f"no model of torchvision matches {' '.join(patterns)}")
    there = set() if again else {row.model for row in read() if not row.error}
    missing = [name for name in names if name not in there]
    return sorted(missing, key=_size)


def _size(name: str) -> int:
    weights = torchvision.models.get_model_weights(name)
    return int(next(iter(weights)).meta["num_params"])


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="*", help="names or globs; all models when left out")
    parser.add_argument("--again", action="store_true", help="measure what results.csv already holds as well")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds a model may take")
    parser.add_argument("--table", action="store_true", help="print results.csv as Markdown and stop")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.table:
        print(table(read()))
    elif options.one:
        print(json.dumps(dataclasses.asdict(measure(options.models[0]))))
    else:
        run(chosen(options.models, options.again), options.limit)


if __name__ == "__main__":
    main()
