"""Recovery of a candidate: compensation, BatchNorm recalibration, fine-tuning; and training a baseline."""

from autoprune.recovery.baseline import baseline_path, train_baseline
from autoprune.recovery.batchnorm import recalibrate
from autoprune.recovery.reconstruction.compensation import Compensator
from autoprune.recovery.reconstruction.input_moments import Moments, collect_moments
from autoprune.recovery.reconstruction.layerwise import Rebuilder
from autoprune.recovery.repair import Repair
from autoprune.recovery.training.checkpoint import Checkpoint
from autoprune.recovery.training.finetune import FineTuned, OnStep, finetune
from autoprune.recovery.training.recipe import Recipe, steps_for_epochs
from autoprune.recovery.training.shared_batches import CachedBatch, cache_batches

__all__ = [
    "CachedBatch",
    "Checkpoint",
    "Compensator",
    "FineTuned",
    "Moments",
    "OnStep",
    "Rebuilder",
    "Recipe",
    "Repair",
    "baseline_path",
    "cache_batches",
    "collect_moments",
    "finetune",
    "recalibrate",
    "steps_for_epochs",
    "train_baseline",
]
