"""Discovery and surgery beside Torch-Pruning: what is cut correctly, how fast, in how much memory.

    pip install torch-pruning==1.6.1
    python studies/peers/structure.py

Each tool cuts each model of torchvision by half, as a user would who calls it plainly, in a process of its
own with one thread. A cut is correct when the smaller model runs forward and backward and its output has
the shape that it had. Results are written to ``structure.csv`` beside this file.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

MODELS = (
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t"),
    *("mnasnet1_0", "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18", "resnet50"),
    *("resnext50_32x4d", "shufflenet_v2_x1_0", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg16", "vgg16_bn"),
    *("vit_b_16", "wide_resnet50_2"),
)
TOOLS = ("autoprune", "torch-pruning")
SECONDS, BYTES = 180, 20 * 2**30
"""Limits of one process."""
FIELDS = (
    "model",
    "tool",
    "correct",
    "discovery_s",
    "surgery_s",
    "peak_over_model",
    "parameters_left",
    "problem",
)


def cut_by_autoprune(model: nn.Module, image: Tensor) -> tuple[nn.Module, float, float]:
    """The smaller model, seconds of discovery, seconds of surgery."""
    import autoprune
    from autoprune.criteria.selection import plan_of
    from autoprune.workflows.prune import Selection, rank

    start = time.perf_counter()
    structure = autoprune.discover(model, image)
    found = time.perf_counter()
    ranking = rank(model, structure, "l2", None)
    pruned = autoprune.apply(model, plan_of(ranking, Selection(0.5).widths(ranking), structure), structure)
    return pruned, found - start, time.perf_counter() - found


def cut_by_torch_pruning(model: nn.Module, image: Tensor) -> tuple[nn.Module, float, float]:
    """The same, with the last linear layer ignored, which cuts the model in place."""
    import torch_pruning

    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1:]
    start = time.perf_counter()
    pruner = torch_pruning.pruner.MagnitudePruner(
        model,
        image,
        importance=torch_pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=0.5,
        ignored_layers=last,
    )
    found = time.perf_counter()
    pruner.step()
    return model, found - start, time.perf_counter() - found


def measure(tool: str, name: str) -> dict[str, object]:
    """Cut one model with one tool in this process."""
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    options = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    model = torchvision.models.get_model(name, weights=None, **options).eval()
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    full = sum(parameter.numel() for parameter in model.parameters())
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        shape = model(image).shape
    # What a tool needs for itself is not counted: it is loaded before the memory is read.
    importlib.import_module(
        {"autoprune": "autoprune.workflows.prune", "torch-pruning": "torch_pruning"}[tool]
    )
    before = _resident()
    cut = cut_by_autoprune if tool == "autoprune" else cut_by_torch_pruning
    try:
        pruned, discovery, surgery = cut(model, image)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        output = pruned(image)
        output.sum().backward()
    except Exception as error:
        return {"correct": False, "problem": f"{type(error).__name__}: {error}".splitlines()[0][:120]}
    kept = tuple(output.shape) == tuple(shape)
    left = sum(parameter.numel() for parameter in pruned.parameters()) / full
    return {
        "correct": kept and left < 1,
        "discovery_s": round(discovery, 2),
        "surgery_s": round(surgery, 2),
        "peak_over_model": round((peak - before) / size, 2),
        "parameters_left": round(left, 3),
        "problem": "" if kept else f"output became {tuple(output.shape)}",
    }


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def run(tool: str, name: str) -> dict[str, object]:
    """Measure in a fresh process."""
    command = [sys.executable, __file__, "--one", tool, name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    except subprocess.TimeoutExpired:
        return {"correct": False, "problem": f"not done in {SECONDS} s"}
    except subprocess.CalledProcessError as error:
        text = error.stderr.strip().splitlines()
        return {"correct": False, "problem": text[-1][:120] if text else f"ended with {error.returncode}"}
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Run all models with both tools, print and record the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--one", nargs=2, metavar=("TOOL", "MODEL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one)))
        return
    file = Path(__file__).with_name("structure.csv")
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, FIELDS)
        writer.writeheader()
        for name in arguments.models:
            for tool in TOOLS:
                row = {"model": name, "tool": tool, **run(tool, name)}
                writer.writerow(row)
                out.flush()
                print(*(str(row.get(field, "")).ljust(18) for field in FIELDS), flush=True)


if __name__ == "__main__":
    main()
