"""What all methods of the benchmark have in common: checkpoint, data, recovery, clock and scores."""

from __future__ import annotations

import copy
import csv
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, field, fields
from functools import cached_property
from pathlib import Path

from fvcore.nn import FlopCountAnalysis
from safetensors.torch import save_file
from torch import Tensor, nn

from autoprune.config.settings import Config, load_config
from autoprune.cost import CostModel
from autoprune.pruning_search import Problem, prepare
from autoprune.recovery import finetune, recalibrate
from autoprune.review import Listener
from autoprune.structure import discover
from autoprune.tasks import evaluate

STUDIES = Path(__file__).parents[1]
LEVELS = (0.7, 0.5, 0.35, 0.25)
"""Shares of the multiply-adds at which the methods are compared."""


@dataclass(frozen=True)
class Point:
    """One pruned model.

    Attributes:
        method: what found it, and how.
        seed: of the whole run.
        seconds: on the method's clock when it was ready, scoring on validation data included.
        flops: share of the original model's multiply-adds, by fvcore.
        steps: of fine-tuning that it had.
        validation: accuracy; decides.
        test: accuracy; is only reported.
    """

    method: str
    seed: int
    seconds: float
    flops: float
    steps: int
    validation: float
    test: float


@dataclass(eq=False)
class Clock:
    """Seconds that a method has had; stands still while test data is read."""

    start: float = field(default_factory=time.perf_counter)
    stopped: float = 0.0

    def seconds(self) -> float:
        """Until now."""
        return time.perf_counter() - self.start - self.stopped

    def outside(self, run: Callable[[], float]) -> float:
        """Call something on which the clock does not run."""
        start = time.perf_counter()
        try:
            return run()
        finally:
            self.stopped += time.perf_counter() - start


def save_checkpoint(study: Path, file: Path) -> None:
    """Write the weights of the study's own baseline, which is trained now if it never was."""
    settings = {"storage": "sqlite:///:memory:", "latency": False}
    save_file(prepare(load_config(study, settings), Listener()).model.state_dict(), file)


@dataclass(eq=False)
class Run:
    """One method at work with one seed.

    Attributes:
        study: the study file with model, data and recovery.
        weights: of the trained model.
        method: its name in the records.
        seed: of the calibration data, of the recovery, and of what the method itself draws.
        limit: seconds after which no new model is begun.
        file: where its points are added, at once; it is put in place when the run has ended.
        steps: of fine-tuning; None for as many as the study has.
    """

    study: Path
    weights: Path
    method: str
    seed: int
    limit: float
    file: Path
    steps: int | None = None
    partial: Path = field(init=False)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.partial = self.file.with_suffix(".partial")

    @cached_property
    def config(self) -> Config:
        """Settings of the study, without latency."""
        settings = {
            "storage": "sqlite:///:memory:",
            "budget": ["flops=70%"],
            "latency": False,
            "weights": str(self.weights),
            "seed": self.seed,
        }
        recovery = {} if self.steps is None else {"finetune_steps": self.steps}
        return load_config(self.study, settings | recovery)

    @cached_property
    def problem(self) -> Problem:
        """Checkpoint, data, batches of the recovery and what the original model says of them."""
        return prepare(self.config, Listener())

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.clock.seconds() >= self.limit

    def begin(self) -> None:
        """Make ready what peers are given for nothing, then start the clock."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.partial.open("w", newline="") as out:
            csv.writer(out).writerow([field.name for field in fields(Point)])
        _ = self.problem.recovery.cached_batches
        self.original = self.multiply_adds(self.problem.model)
        self.clock = Clock()

    def multiply_adds(self, model: nn.Module) -> float:
        """Of one sample; as fvcore counts, which knows no recurrent layers."""
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            structure = discover(model, (self.problem.data.example(1),))
            return CostModel.of(structure, model).flops(structure.widths)
        counted = FlopCountAnalysis(model, (self.problem.data.example(1),))
        counted.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        return float(counted.total())

    def calibration(self) -> list[tuple[Tensor, Tensor]]:
        """The training batches that a search of ours calibrates with."""
        return list(self.problem.subject.calibration)

    def accuracy(self, model: nn.Module) -> float:
        """On all validation data."""
        return evaluate(model, self.problem.data.validation, self.problem.data.task).value

    def repair(self, model: nn.Module) -> nn.Module:
        """Recalibrate BatchNorm statistics."""
        recalibrate(model, (inputs for inputs, _ in self.problem.subject.calibration))
        return model

    def recover(self, model: nn.Module) -> nn.Module:
        """Repair, then fine-tune as every candidate of ours is."""
        recipe = self.problem.recovery.recipe
        assert recipe is not None
        self.repair(model)
        teacher, cached_batches = self.problem.model, self.problem.recovery.cached_batches
        finetune(
            model, self.problem.data, recipe, seed=self.seed, teacher=teacher, cached_batches=cached_batches
        )
        return model.eval()

    def both(self, name: str, model: nn.Module) -> None:
        """Record a pruned model before and after recovery."""
        self.record(f"{name}, untrained", self.repair(model).eval(), steps=0)
        self.record(name, self.recover(model), steps=self.config.finetune_steps)

    def record(self, name: str, model: nn.Module, *, steps: int) -> None:
        """Score a model and add it to the file."""
        validation = self.accuracy(model)
        seconds = self.clock.seconds()
        test = self.clock.outside(lambda: self.tested(model))
        self.write(
            Point(
                name, self.seed, seconds, self.multiply_adds(model) / self.original, steps, validation, test
            )
        )

    def tested(self, model: nn.Module) -> float:
        """Accuracy on test data."""
        assert self.problem.data.test is not None
        return evaluate(model, self.problem.data.test, self.problem.data.task).value

    def end(self) -> None:
        """Put the file in place."""
        self.partial.replace(self.file)

    def write(self, point: Point) -> None:
        """Add a point to the file."""
        with self.partial.open("a", newline="") as out:
            csv.writer(out).writerow([f"{v:.5f}" if isinstance(v, float) else v for v in astuple(point)])
        print(point, flush=True)


def copy_of(model: nn.Module) -> nn.Module:
    """A separate copy of the model, with gradients enabled."""
    return copy.deepcopy(model).requires_grad_(True)


def bisected(cost: Callable[[float], float], level: float, steps: int = 12) -> float:
    """The least ratio in [0, 1] at which something that falls with it costs at most ``level``."""
    low, high = 0.0, 1.0
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (low, middle) if cost(middle) <= level else (middle, high)
    return high
