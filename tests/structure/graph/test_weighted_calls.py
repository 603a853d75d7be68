"""Which argument of an operator is the input and which the weight, and along which axes they multiply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_sequence
from torch.overrides import TorchFunctionMode

from autoprune.structure.graph.weighted_calls import is_one_layer, weighted_call

Call = tuple[str, tuple[Any, ...], dict[str, Any]]


class Recorder(TorchFunctionMode):
    """Notes the calls of torch as every mode gets to see them."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls.append((func.__name__, args, kwargs or {}))
        return func(*args, **(kwargs or {}))


def recorded(run: Callable[[], object]) -> list[Call]:
    with Recorder() as recorder:
        run()
    return recorder.calls


def weight_of(*shape: int) -> Tensor:
    return torch.zeros(shape)


ROWS, IMAGES = torch.zeros(2, 3), torch.zeros(2, 3, 5, 5)


@pytest.mark.parametrize(
    ("operator", "inputs", "weight", "place"),
    [
        (functional.linear, ROWS, weight_of(4, 3), 0),
        (functional.conv2d, IMAGES, weight_of(4, 3, 1, 1), 0),
        (functional.conv_transpose2d, IMAGES, weight_of(3, 4, 1, 1), 0),
        (torch.matmul, ROWS, weight_of(3, 4), 0),
        (torch.mm, ROWS, weight_of(3, 4), 0),
        (lambda x, w: x @ w, ROWS, weight_of(3, 4), 0),
        (lambda x, w: torch.addmm(torch.zeros(4), x, w), ROWS, weight_of(3, 4), 1),
        (lambda x, w: functional.linear(x, weight=w), ROWS, weight_of(4, 3), 0),
    ],
)
def test_the_input_meets_the_weight_along_the_axes(
    operator: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, weight: Tensor, place: int
) -> None:
    results: list[Tensor] = []
    kind, args, named = recorded(lambda: results.append(operator(inputs, weight)))[-1]
    call = weighted_call(kind, args, named)
    assert call is not None
    assert call.input is inputs
    assert call.weight is weight
    assert (call.place, args[call.place] is inputs) == (place, True)
    consumed, produced = call.ends
    assert (weight.shape[consumed], weight.shape[produced]) == (inputs.shape[1], results[0].shape[1])
    assert call.is_convolution == (inputs is IMAGES)


@pytest.mark.parametrize("operator", [functional.conv2d, functional.conv_transpose2d])
def test_options_go_by_name_in_the_order_of_the_operator(operator: Callable[..., Tensor]) -> None:
    weight = weight_of(3, 1, 1, 1)
    last = (1, 3) if operator is functional.conv2d else (0, 3, 1)
    kind, args, named = recorded(lambda: operator(IMAGES, weight, None, 2, 0, *last))[-1]
    call = weighted_call(kind, args, named)
    assert call is not None
    assert [call.given[key] for key in ("stride", "padding", "dilation", "groups")] == [2, 0, 1, 3]


@pytest.mark.parametrize(
    "run",
    [
        lambda: torch.add(ROWS, ROWS),
        lambda: functional.batch_norm(ROWS, None, None, torch.ones(3), training=True),
        lambda: torch.matmul(ROWS, other=weight_of(3, 4)),
    ],
)
def test_other_calls_are_none(run: Callable[[], object]) -> None:
    assert {weighted_call(*call) for call in recorded(run)} == {None}


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_one_layer_over_sequences_of_one_length(kind: type[nn.RNNBase]) -> None:
    series = torch.zeros(2, 4, 3)

    def layers(module: nn.RNNBase, inputs: object) -> list[bool]:
        calls = recorded(lambda: module(inputs))
        names = ("lstm", "gru", "rnn_tanh")
        return [is_one_layer(name, args) for name, args, _ in calls if name in names]

    assert layers(kind(3, 2), series) == [True]
    assert layers(kind(3, 2, bidirectional=True, batch_first=True), series) == [True]
    assert layers(kind(3, 2, bias=False), series) == [True]
    assert layers(kind(3, 2, num_layers=2), series) == [False]
    assert layers(kind(3, 2), pack_sequence([torch.zeros(4, 3), torch.zeros(2, 3)])) == [False]
