"""ModelOpt's FastNAS with widths in steps of four: its sensitivities are measured once for all levels.

Install it with ``pip install nvidia-modelopt==0.47.0 torchprofile==0.0.4``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import modelopt.torch.prune as mtp
from subject import LEVELS, Run, copy_of
from torch import nn

DIVISOR = 4
SCORED_SAMPLES = 1500
"""Its documentation advises a part of the validation data where scoring takes long."""


def run(run: Run) -> None:
    """Every level from the same sensitivities."""
    with tempfile.TemporaryDirectory() as folder:
        for level in sorted(LEVELS, key=lambda level: abs(level - 0.5)):
            if run.over:
                return
            run.both("ModelOpt FastNAS", _searched(run, level, Path(folder) / "search.pth"))


def _searched(run: Run, level: float, checkpoint: Path) -> nn.Module:
    inputs, targets = _scored(run)

    def score(model: nn.Module) -> float:
        return float((model(inputs).argmax(dim=1) == targets).float().mean())

    config = mtp.fastnas.FastNASConfig()
    rules = config.model_dump()
    for rule in rules.values():
        for choice in rule.values() if isinstance(rule, dict) else ():
            if choice is not None:
                for key in ("channel_divisor", "feature_divisor"):
                    if key in choice:
                        choice[key] = DIVISOR
    model, _ = mtp.prune(
        copy_of(run.problem.model),
        mode=[("fastnas", rules)],
        constraints={"flops": f"{level:.0%}"},
        dummy_input=run.problem.data.example(1),
        config={
            "data_loader": run.calibration(),
            "collect_func": lambda batch: batch[0],
            "score_func": score,
            "checkpoint": str(checkpoint),
        },
    )
    return model


def _scored(run: Run) -> tuple[object, object]:
    inputs, targets = next(iter(run.problem.data.validation.batches(SCORED_SAMPLES)))
    return inputs, targets
