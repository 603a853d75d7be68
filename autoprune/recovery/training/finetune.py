"""Training a model that we own, in place: recovery of a pruned candidate, or a baseline from scratch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

from autoprune.errors import ConfigError, ModelError, TrialError
from autoprune.recovery.training.checkpoint import Checkpoint
from autoprune.recovery.training.feature_distillation import Tap, feature_loss
from autoprune.recovery.training.precision import Precision
from autoprune.recovery.training.recipe import Recipe
from autoprune.recovery.training.resumable_batches import BatchPosition, Stream
from autoprune.recovery.training.shared_batches import CachedBatch, teacher_logits
from autoprune.recovery.training.step_hooks import Companion
from autoprune.tasks.data import Data
from autoprune.tasks.evaluate import call, check_finite, device_of, loss_of, training_mode
from autoprune.tasks.layout import fast_layout
from autoprune.tasks.task import Task, class_loss
from autoprune.utils.signals import check

OnStep = Callable[[int, float], None]
"""Called after every step with the number of steps done and that step's loss."""


@dataclass(frozen=True)
class FineTuned:
    """What a run did: its steps, the mean loss of their last tenth, and the seconds it took."""

    steps: int
    loss: float
    seconds: float


def finetune(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    *,
    seed: int,
    teacher: nn.Module | None = None,
    on_step: OnStep | None = None,
    cached_batches: Sequence[CachedBatch] | None = None,
    checkpoint: Checkpoint | None = None,
    pieces: int = 1,
    penalty: Companion | None = None,
) -> FineTuned:
    """Train ``model`` in place on ``data.train``; the same seed gives the same weights.

    With ``recipe.distill`` the model also learns the outputs of ``teacher`` (Hinton et al., 2015),
    which stays as it is. ``cached_batches`` replace batches drawn from the data. With ``checkpoint``
    a run that was stopped goes on where its file is, and gives the weights that it would have given. The
    gradient of a batch is summed over so many ``pieces`` of it, which takes less memory; only BatchNorm,
    whose statistics are then those of a piece, sees a difference. A ``penalty`` takes part in every step.
    The global random state and all training flags are left as they were.

    Raises TrialError when the loss stops being finite, ConfigError when distillation lacks a teacher,
    ModelError when there is nothing to train, DataError when the data does not fit the model.
    """
    if recipe.teaches and teacher is None:
        raise ConfigError("distillation needs a teacher: give the unpruned model, or set distill to 0")
    mentor = teacher if recipe.teaches else None
    start = time.perf_counter()
    device = device_of(model)
    forked = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=forked),
        training_mode(model, True),
        fast_layout(model, recipe.steps) as settle,
    ):
        torch.manual_seed(seed)
        run = _Run(model, mentor, data, recipe, seed, cached_batches, checkpoint, pieces, penalty, settle)
        losses = run.train(on_step)
    tail = losses[-max(1, len(losses) // 10) :]
    return FineTuned(steps=len(losses), loss=fmean(tail), seconds=time.perf_counter() - start)


class _Run:
    """One training run: everything that its next step depends on."""

    def __init__(
        self,
        model: nn.Module,
        teacher: nn.Module | None,
        data: Data,
        recipe: Recipe,
        seed: int,
        cached_batches: Sequence[CachedBatch] | None,
        checkpoint: Checkpoint | None,
        pieces: int,
        penalty: Companion | None,
        settle: Callable[[Tensor], None],
    ) -> None:
        self._model, self._teacher, self._data, self._recipe = model, teacher, data, recipe
        self._cached_batches, self._checkpoint, self._pieces = cached_batches, checkpoint, pieces
        self._penalty, self._settle = penalty, settle
        self._device = device_of(model)
        self._optimizer = _optimizer(model, recipe)
        self._schedule = _schedule(self._optimizer, recipe)
        self._precision = Precision(recipe.precision, model)
        self._losses: list[float] = []
        place = self._restore()
        self._stream = Stream(data.train, recipe.batch_size, seed, place)

    def train(self, on_step: OnStep | None) -> list[float]:
        """All steps that are left; returns the loss of every step."""
        with self._taps() as taps:
            for step, batch in zip(
                range(len(self._losses) + 1, self._recipe.steps + 1), self._batches(), strict=False
            ):
                check()
                self._losses.append(self._step(step, batch, taps))
                if self._checkpoint is not None and self._checkpoint.is_due:
                    self._checkpoint.write(self._state())
                if on_step is not None:
                    on_step(step, self._losses[-1])
        if self._checkpoint is not None:
            # A run that is over is found to be so.
            self._checkpoint.write(self._state())
        self._optimizer.zero_grad()
        return self._losses

    def _step(self, step: int, batch: CachedBatch, taps: tuple[Tap, Tap] | None) -> float:
        self._optimizer.zero_grad()
        if self._penalty is not None:
            self._penalty.before(step)
        value = 0.0
        for piece in batch.in_pieces(self._pieces):
            share = len(piece.inputs) / len(batch.inputs)
            loss = self._loss_of(piece, taps)
            value += share * float(loss.detach())
            if not math.isfinite(value):
                check_finite(piece.inputs, piece.targets, "train")
                raise TrialError(f"loss became {value} at step {step}; lower --lr")
            self._precision.backward(loss if share == 1 else share * loss)
        if self._penalty is not None:
            self._penalty.differentiated(step)
        self._precision.update(self._model, self._optimizer, self._recipe.clip)
        if self._penalty is not None:
            self._penalty.updated(step)
        self._schedule.step()
        return value

    def _loss_of(self, batch: CachedBatch, taps: tuple[Tap, Tap] | None) -> Tensor:
        recipe = self._recipe
        inputs, targets = batch.inputs.to(self._device), batch.targets.to(self._device)
        self._settle(inputs)
        with self._precision.forward():
            outputs = call(self._model, inputs)
            answers = batch.teacher_logits
            if answers is None or taps is not None:
                answers = teacher_logits(self._teacher, inputs)
            loss = _loss(self._data.task, recipe, outputs, targets, answers if recipe.distill > 0 else None)
            if taps is not None:
                loss = loss + recipe.distill_features * feature_loss(*taps, outputs)
        return loss

    def _batches(self) -> Iterator[CachedBatch]:
        if self._cached_batches is not None:
            return islice(self._cached_batches, len(self._losses), None)
        return (CachedBatch(inputs, targets, None) for inputs, targets in self._stream)

    @contextmanager
    def _taps(self) -> Iterator[tuple[Tap, Tap] | None]:
        if self._recipe.distill_features == 0 or self._teacher is None:
            yield None
            return
        with Tap(self._model).attached() as student, Tap(self._teacher).attached() as teacher:
            yield student, teacher

    def _state(self) -> dict[str, Any]:
        devices = [self._device] if self._device.type == "cuda" else []
        return {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "precision": self._precision.state(),
            "losses": self._losses,
            "place": asdict(self._stream.place),
            "random": torch.get_rng_state(),
            "penalty": {} if self._penalty is None else self._penalty.state(),
            "device_random": [torch.cuda.get_rng_state(device) for device in devices],
        }

    def _restore(self) -> BatchPosition | None:
        """Go on from the checkpoint's state, if there is one; returns where its batches go on."""
        state = None if self._checkpoint is None else self._checkpoint.read()
        if state is None:
            return None
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._precision.restore(state["precision"])
        if self._penalty is not None:
            self._penalty.restore(state["penalty"])
        self._losses = list(state["losses"])
        torch.set_rng_state(state["random"])
        for random in state["device_random"]:
            torch.cuda.set_rng_state(random, self._device)
        return BatchPosition(**state["place"])


def _optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise ModelError("no parameter of the model requires a gradient: unfreeze some before recovery")
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimizer == "adamw":
        return AdamW(groups, lr=recipe.lr)
    return SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)


def _schedule(optimizer: Optimizer, recipe: Recipe) -> LRScheduler:
    if recipe.schedule == "onecycle":
        return OneCycleLR(optimizer, recipe.lr, total_steps=recipe.steps + 1, cycle_momentum=False)
    return CosineAnnealingLR(optimizer, T_max=recipe.steps)


def _loss(task: Task, recipe: Recipe, outputs: Tensor, targets: Tensor, answers: Tensor | None) -> Tensor:
    """Weighted mean of the task's loss and, where there is a teacher, the distillation term."""
    classifies = task.name == "classification"
    hard = loss_of(task, outputs, targets)
    if classifies and recipe.label_smoothing > 0:
        hard = class_loss(outputs, targets, recipe.label_smoothing)
    if answers is None:
        return hard
    soft = (
        distillation(outputs, answers, recipe.temperature)
        if classifies
        else functional.mse_loss(outputs, answers)
    )
    return (1 - recipe.distill) * hard + recipe.distill * soft


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL divergence of softened logits ``[N, classes]``, times the squared temperature (Hinton et al., 2015).

    The factor keeps the gradient's size independent of the temperature.
    """
    log_student = functional.log_softmax(student / temperature, dim=1)
    log_teacher = functional.log_softmax(teacher / temperature, dim=1)
    divergence = functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2
