"""Distillation of what happens inside: layers whose outputs teacher and student have at equal shapes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

MOST_LAYERS = 8
"""Layers that are compared, spread over the depth."""
TINY = 1e-6
"""Keeps the relative error of a layer that is almost silent finite."""


class Tap:
    """Remembers what the modules of a model gave out in its last forward pass, in the order of that pass."""

    def __init__(self, model: nn.Module) -> None:
        self.outputs: dict[str, Tensor] = {}
        self._model = model
        self._handles: list[RemovableHandle] = []

    @contextmanager
    def attached(self) -> Iterator[Tap]:
        """Listen meanwhile."""
        for name, module in self._model.named_modules():
            if name:
                self._handles.append(module.register_forward_hook(self._hook(name)))
        try:
            yield self
        finally:
            for handle in self._handles:
                handle.remove()
            self._handles.clear()
            self.outputs.clear()

    def _hook(self, name: str):  # type: ignore[no-untyped-def]
        def remember(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.is_floating_point():
                # Called twice, the later output counts, at its place.
                self.outputs.pop(name, None)
                self.outputs[name] = output

        return remember


def feature_loss(student: Tap, teacher: Tap, logits: Tensor) -> Tensor:
    """Mean relative squared error of outputs that both have at equal shapes (FitNets, Romero et al., 2015).

    At most :data:`MOST_LAYERS` of them, spread evenly over the depth and without those of the model's own
    output ``logits``, which are distilled by themselves. A student that was cut everywhere has none: 0.
    """
    shared = [
        name
        for name, output in student.outputs.items()
        if name in teacher.outputs
        and output.shape == teacher.outputs[name].shape
        and output.shape != logits.shape
        and output.requires_grad
    ]
    chosen = shared[:: max(1, -(-len(shared) // MOST_LAYERS))]
    if not chosen:
        return logits.new_zeros(())
    errors = []
    for name in chosen:
        wanted = teacher.outputs[name].detach().float()
        error = (student.outputs[name].float() - wanted).square().mean()
        errors.append(error / (wanted.square().mean() + TINY))
    return torch.stack(errors).mean()
