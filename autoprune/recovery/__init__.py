"""Healing a candidate: compensation, BatchNorm recalibration, short fine-tuning; and training a baseline."""

from autoprune.recovery.baseline import baseline_path, train_baseline
from autoprune.recovery.batchnorm import recalibrate
from autoprune.recovery.checkpoint import Checkpoint
from autoprune.recovery.compensation import Compensator
from autoprune.recovery.finetune import FineTuned, OnStep, finetune
from autoprune.recovery.lessons import Lesson, draw_lessons
from autoprune.recovery.moments import Moments, collect_moments
from autoprune.recovery.rebuild import Rebuilder
from autoprune.recovery.recipe import Recipe, steps_for_epochs

__all__ = [
    "Checkpoint",
    "Compensator",
    "FineTuned",
    "Lesson",
    "Moments",
    "OnStep",
    "Rebuilder",
    "Recipe",
    "baseline_path",
    "collect_moments",
    "draw_lessons",
    "finetune",
    "recalibrate",
    "steps_for_epochs",
    "train_baseline",
]
