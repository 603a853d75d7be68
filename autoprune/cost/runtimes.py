"""What runs a model when its latency is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from autoprune.errors import ConfigError


class Runtime(Protocol):
    """Turns a model into something that can be called again and again for timing.

    ``prepare`` gets a model in eval mode and tuple of inputs, and returns a function that runs it once and
    comes back when the result is there. It is called while ``torch.get_num_threads()`` is the number of
    threads to use. It must not change the model.
    """

    @property
    def name(self) -> str:
        """Name in fingerprints and on the command line."""
        ...

    def prepare(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[[], None]:
        """See the class."""
        ...


class EagerRuntime:
    """PyTorch as it is, without gradients, on the device of the inputs."""

    name = "eager"

    def prepare(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[[], None]:
        """A call runs the model on the inputs, and waits for an accelerator to finish."""
        accelerators = {tensor.device for tensor in inputs if tensor.device.type != "cpu"}

        @torch.inference_mode()
        def call() -> None:
            model(*inputs)
            for device in accelerators:
                torch.accelerator.synchronize(device)

        return call


_RUNTIMES: dict[str, Callable[[], Runtime]] = {"eager": EagerRuntime}


def runtime_by_name(name: str) -> Runtime:
    """The runtime of that name. Raises ConfigError when there is none."""
    if name not in _RUNTIMES:
        raise ConfigError(f"unknown runtime {name!r}: use one of {', '.join(_RUNTIMES)}")
    return _RUNTIMES[name]()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use this number of threads within an operator, and the old number afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def eval_mode(models: Sequence[nn.Module]) -> Iterator[None]:
    """Put the models into eval mode, and every module back into its own mode afterwards."""
    before = [(module, module.training) for model in models for module in model.modules()]
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training
