"""Healing a candidate: BatchNorm recalibration, short fine-tuning, and the baseline to start from."""

from autoprune.recovery.baseline import baseline_path, train_baseline
from autoprune.recovery.batchnorm import recalibrate
from autoprune.recovery.finetune import FineTuned, finetune
from autoprune.recovery.recipe import Recipe, steps_for_epochs

__all__ = [
    "FineTuned",
    "Recipe",
    "baseline_path",
    "finetune",
    "recalibrate",
    "steps_for_epochs",
    "train_baseline",
]
