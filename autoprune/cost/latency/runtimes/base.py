"""What every runtime has in common."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from autoprune.errors import MissingExtraError

Call = Callable[[], float | None]
"""Runs a model once.

It comes back when the result is there, and gives None: then it is timed from outside. Or it keeps time
itself, and gives the seconds that one run takes; it may run the model as often as it needs to say so well.
"""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Runtime(ABC):
    """Turns a model into something that can be called again and again for timing.

    Attributes:
        name: in fingerprints and on the command line.
        version: of what runs the model, where that is not torch.
        device: where model and inputs are put; None leaves them where they are.
        dtypes: names of the floating types that it can run.
        channels_last: whether the order of axes in memory, as torch has it, means anything to it.
        in_process: whether a call computes on the CPU within this process, if that is where the inputs are.
    """

    name: str
    version: str = ""
    device: torch.device | None = None
    dtypes: tuple[str, ...] = tuple(DTYPES)
    channels_last: bool = True
    in_process: bool = False

    @abstractmethod
    def prepare(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> Call:
        """The call that runs the model on these inputs.

        It is asked for and called while the model is in eval mode and ``torch.get_num_threads()`` is the
        number of threads to use. The model must stay as it is. Raises TrialError, with the operator's name
        where there is one to blame, when this runtime cannot run the model.
        """

    def for_cuts(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[[nn.Module], Call]:
        """What gives the call of a cut copy of a model, for timing alone: what it computes does not matter.

        By itself as ``prepare`` does; a runtime may reuse what it has made of the original model.
        """
        return lambda cut: self.prepare(cut, inputs)


def require(extra: str, *packages: str) -> None:
    """Raise MissingExtraError when one of the packages of an extra is not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, extra)
