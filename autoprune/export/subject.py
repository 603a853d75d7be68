"""The model to export: on the CPU, in evaluation mode, with the inputs on which every file is checked."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from autoprune.cost.latency.runtimes.names import exportable
from autoprune.cost.latency.runtimes.quiet import quiet
from autoprune.errors import ExportError, UserError
from autoprune.export.checks.run_pt2 import tensors_of

TRACED_BATCH = 2
"""``torch.export`` treats a batch size of 1 as a constant."""
CHECKED_BATCHES = (1, 3)
"""Different from the traced batch size, to reveal a batch size that is fixed in a file."""


@dataclass(frozen=True, eq=False)
class Traced:
    """An exported program.

    Attributes:
        program: the graph, with the batch dimension dynamic if `dynamic`.
        dynamic: whether it accepts any batch size.
        batches: inputs for checking files with this program.
        note: which batch sizes it accepts, and why.
    """

    program: ExportedProgram
    dynamic: bool
    batches: tuple[Tensor, ...]
    note: str


@dataclass(frozen=True, eq=False)
class Subject:
    """A model and the inputs to compare its files on.

    Attributes:
        model: a copy on the CPU in evaluation mode.
        example: inputs ``[samples, ...]`` on the CPU.
        batches: inputs that `model` was run on: other batch sizes if it accepts them, else the example.
        fixed: why the batch size cannot vary; empty if it can.
    """

    model: nn.Module
    example: Tensor
    batches: tuple[Tensor, ...]
    fixed: str

    @property
    def smallest(self) -> Tensor:
        """The smallest batch that the model accepts, for tracing: one sample if the size can vary."""
        return self.example if self.fixed else self.example[:1]

    @cached_property
    def traced(self) -> Traced:
        """The program, with a dynamic batch if possible. Raises ExportError if it cannot be traced."""
        reason = self.fixed
        if not reason:
            try:
                return Traced(self._dynamic_program(), True, self.batches, "any batch size")
            except Exception as error:  # torch.export documents no error type
                reason = first_line(error)
        try:
            with quiet():
                whole, inputs = exportable(self.model), (torch.zeros_like(self.example),)
                program = torch.export.export(whole, inputs, strict=False)
        except Exception as error:
            raise ExportError(f"torch.export cannot follow the pruned model: {first_line(error)}") from error
        note = f"batch size fixed at {len(self.example)}: {reason}"
        return Traced(program, False, (self.example,), note)

    def _dynamic_program(self) -> ExportedProgram:
        # The example inputs are stored in the program: zeros keep the user's samples out of the file.
        inputs = torch.zeros_like(batch_of(self.example, TRACED_BATCH))
        shapes = ({0: Dim("batch", min=1)},)
        with quiet():
            whole = exportable(self.model)
            return torch.export.export(whole, (inputs,), dynamic_shapes=shapes, strict=False)


def subject_of(model: nn.Module, example: Tensor) -> Subject:
    """Copy the model to the CPU and check whether its batch size can vary.

    Raises:
        UserError: if the example is not a batch.
        ExportError: if the model does not run on it.
    """
    if example.ndim == 0 or len(example) == 0:
        raise UserError(f"the example has shape {list(example.shape)}: give a batch of at least one sample")
    own, example = copy.deepcopy(model).cpu().eval(), example.detach().cpu()
    batches = tuple(batch_of(example, size) for size in CHECKED_BATCHES)
    try:
        run(own, (example,))
    except Exception as error:
        raise ExportError(
            f"the pruned model does not run on inputs of shape {list(example.shape)}: {first_line(error)}"
        ) from error
    try:
        run(own, batches)
    except Exception as error:
        return Subject(own, example, (example,), first_line(error))
    return Subject(own, example, batches, "")


def run(model: nn.Module, batches: Sequence[Tensor]) -> dict[str, Tensor]:
    """Output tensors of every batch, under the names ``"batch.position"``."""
    with torch.no_grad():
        rows = [tensors_of(model(batch)) for batch in batches]
    return {f"{b}.{i}": tensor for b, row in enumerate(rows) for i, tensor in enumerate(row)}


def batch_of(example: Tensor, size: int) -> Tensor:
    """`size` samples from the example; repeated float samples are scaled so that no two are equal."""
    rounds = range(math.ceil(size / len(example)))
    repeats = [example * 0.9**i if example.is_floating_point() else example for i in rounds]
    return torch.cat(repeats)[:size]


def first_line(error: BaseException) -> str:
    """First line of an error, without torch's advice on its logs."""
    lines = str(error).strip().splitlines()
    return lines[0].split("! ")[0] if lines else type(error).__name__
