"""Models whose layers have names that torch's exported programs keep for themselves."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.fx import Graph, GraphModule


class OnlyLayer(nn.Module):
    """A model as the only layer of another one: a program's own names are taken at its top alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.train(model.training)

    def forward(self, first: Tensor, *others: Tensor) -> Any:
        """What the model returns."""
        return self.model(first, *others)


def exportable(model: nn.Module) -> nn.Module:
    """The model, or one around it where a layer is called ``code``, say, and no program would load."""
    taken = set(dir(GraphModule(nn.Module(), Graph()))) - set(dir(nn.Module()))
    own = (*model._modules, *model._parameters, *model._buffers)
    return OnlyLayer(model) if taken.intersection(own) else model
