"""Peak memory of a search beside that of a plain PyTorch process which trains the same model.

python studies/faults/memory.py -o studies/faults/memory.csv
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

MODELS = {
    "digits_resnet": ("from autoprune.tasks import digits_resnet as built", (1, 8, 8), 128),
    "resnet18": ("from torchvision.models import resnet18 as built", (3, 64, 64), 32),
    "resnet50": ("from torchvision.models import resnet50 as built", (3, 64, 64), 16),
}
"""Name -> how it is made, shape of a sample, batch size."""
COLUMNS = ("model", "weights_mib", "plain_training_mib", "search_mib", "over_plain_mib")

PROJECT = """
import atexit
import torch
{make}


def peak():
    status = open("/proc/self/status").read()
    kilobytes = int(status.partition("VmHWM:")[2].split()[0])
    open("peak", "w").write(str(kilobytes / 1024))


atexit.register(peak)


def model():
    torch.manual_seed(0)
    return built() if {shape}[0] == 1 else built(num_classes=10)


def data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(256, *{shape}, generator=generator)
    split = inputs, torch.arange(256) % 10
    return {{"train": split, "validation": split, "test": split, "classes": 10}}
"""

PLAIN = """
import net, torch
model, (inputs, targets) = net.model(), net.data()["train"]
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
for step in range(4):
    loss = torch.nn.functional.cross_entropy(model(inputs[:{batch}]), targets[:{batch}])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
torch.save(model.state_dict(), "w.pt")
"""


def peak_of(folder: Path, command: list[str]) -> float:
    """Largest memory of a process that imports ``net.py`` from the folder, in MiB."""
    done = subprocess.run(
        command, cwd=folder, env=dict(os.environ), capture_output=True, text=True, timeout=3600
    )
    assert done.returncode == 0, done.stderr
    return float((folder / "peak").read_text())


def measured(name: str) -> dict[str, object]:
    """One row."""
    make, shape, batch = MODELS[name]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "net.py").write_text(PROJECT.format(make=make, shape=shape))
        plain = peak_of(folder, [sys.executable, "-c", PLAIN.format(batch=batch)])
        weights = (folder / "w.pt").stat().st_size / 2**20
        flags = ["--model", "net.py:model", "--weights", "w.pt", "--data", "net.py:data"]
        flags += ["--batch-size", str(batch), "--finetune-steps", "4", "--no-latency", "--quiet"]
        search = [sys.executable, "-m", "autoprune", "search", *flags, "--budget", "flops=60%,trials=3"]
        found = peak_of(folder, search)
    return {
        "model": name,
        "weights_mib": round(weights, 1),
        "plain_training_mib": round(plain),
        "search_mib": round(found),
        "over_plain_mib": round(found - plain),
    }


def main() -> None:
    """Measure all models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--models", default=",".join(MODELS))
    given = parser.parse_args()
    names = [name for name in re.split(r"[, ]+", given.models) if name]
    with given.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for name in names:
            row = measured(name)
            writer.writerow(row)
            file.flush()
            print(row, flush=True)


if __name__ == "__main__":
    main()
