"""Taking residual blocks out of a model whole."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from autoprune.structure.groups import Block


class Removed(nn.Module):
    """Stands where a block was: takes the same calls and hands the block's input on.

    Code around a block may ask it for settings (``layers[0].self_attn.batch_first``), so attributes
    that this module lacks are those of the block, whose parameters and buffers are None.
    """

    def __init__(self, module: nn.Module, block: Block) -> None:
        super().__init__()
        self.argument, self.position = block.argument, block.position
        tensors = [*module.parameters(), *module.buffers()]
        # In a tuple the hollow block is no submodule: nothing of it shows in names or in the state dict.
        self._replaced = (copy.deepcopy(module, {id(tensor): None for tensor in tensors}),)
        self.train(module.training)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The argument that the block adds its branches to."""
        value: Tensor = args[self.position] if 0 <= self.position < len(args) else kwargs[self.argument]
        return value

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if "_replaced" not in self.__dict__ or name.startswith("__"):
                raise
            return getattr(self._replaced[0], name)


def take_out(model: nn.Module, blocks: Iterable[Block]) -> nn.Module:
    """A copy of `model`, sharing its tensors, in which a :class:`Removed` stands in each block's place.

    A block that the model holds under several names is taken out under all of them.
    """
    memo: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    for block in blocks:
        module = model.get_submodule(block.module)
        memo[id(module)] = Removed(module, block)
    return copy.deepcopy(model, memo)
