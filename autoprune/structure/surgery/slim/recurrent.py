"""Recurrent layers whose hidden sizes differ.

:class:`torch.nn.LSTM` and its relatives give every layer and direction the same hidden size. A cut that
leaves different sizes turns the module into one of these: the same parameters under the same names, the
same attributes and results, but one call of the operator a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
"""Blocks of rows in the weights of each ``mode``."""
_OPERATORS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "LSTM": torch.lstm,
    "GRU": torch.gru,
    "RNN_TANH": torch.rnn_tanh,
    "RNN_RELU": torch.rnn_relu,
}


class LayerStates(tuple[Tensor, ...]):
    """States ``[N, size]`` of every layer and direction, where their sizes differ.

    Indexed by a layer, or by a layer and what follows, like the tensor ``[layers, N, size]`` in its place.
    """

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, tuple):
            return super().__getitem__(index[0])[index[1:]]
        return super().__getitem__(index)


class Layered(nn.RNNBase):
    """What the three modules share; ``hidden_size`` and ``proj_size`` are those of the last layer."""

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Any]:  # noqa: A002 - the name in torch
        """Like :class:`torch.nn.LSTM`; states are :class:`LayerStates` where their sizes differ."""
        batched = input.dim() == 3
        time = 1 if self.batch_first else 0
        series = input if batched else input.unsqueeze(1 - time)
        if not batched and hx is not None:
            hx = self._map_states(hx, lambda state: state.unsqueeze(1))
        finals: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            if layer > 0:
                series = functional.dropout(series, self.dropout, self.training)
            outputs = []
            for cells in self._calls(layer):
                backward = len(cells) == 1 and cells[0] % self._directions == 1
                result = self._run(series.flip(time) if backward else series, cells, hx)
                outputs.append(result[0].flip(time) if backward else result[0])
                finals += [tuple(state[k] for state in result[1:]) for k in range(len(cells))]
            series = torch.cat(outputs, 2) if len(outputs) > 1 else outputs[0]
        states = [_gathered(states) for states in zip(*finals, strict=True)]
        if not batched:
            series, states = series.squeeze(1 - time), [_without_batch(state) for state in states]
        return series, (tuple(states) if self.mode == "LSTM" else states[0])

    def flatten_parameters(self) -> None:
        """Nothing: cuDNN keeps the weights of equally large layers together only."""

    def extra_repr(self) -> str:
        """The usual settings, with every layer's sizes."""
        return f"{super().extra_repr()}, sizes={sizes(self)}"

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _calls(self, layer: int) -> list[list[int]]:
        """Which cells of a layer run in one call: both directions where they are equally large."""
        cells = list(range(layer * self._directions, (layer + 1) * self._directions))
        every = sizes(self)
        return [cells] if len({every[cell] for cell in cells}) == 1 else [[cell] for cell in cells]

    def _run(self, series: Tensor, cells: Sequence[int], hx: Any) -> tuple[Tensor, ...]:
        """One layer in one or both directions: output, then the final states ``[cells, N, size]``."""
        weights: list[Sequence[Tensor]] = [self.all_weights[cell] for cell in cells]
        hidden, leaving = sizes(self)[cells[0]]
        batch = series.shape[0 if self.batch_first else 1]
        lengths = (leaving, hidden) if self.mode == "LSTM" else (hidden,)
        given = (hx if self.mode == "LSTM" else (hx,)) if hx is not None else None
        states = [
            torch.stack([given[position][cell] for cell in cells])
            if given is not None
            else series.new_zeros(len(cells), batch, length)
            for position, length in enumerate(lengths)
        ]
        widened = self.proj_size > 0 and hidden == leaving
        if widened:
            weights = [_with_an_idle_unit(cell, self.bias) for cell in weights]
            states[1] = functional.pad(states[1], (0, 1))
        start = tuple(states) if self.mode == "LSTM" else states[0]
        flat = [weight for cell in weights for weight in cell]
        both = len(cells) > 1
        result = _OPERATORS[self.mode](
            series, start, flat, self.bias, 1, 0.0, self.training, both, self.batch_first
        )
        return (*result[:2], result[2][..., :-1]) if widened else result

    def _map_states(self, hx: Any, change: Callable[[Tensor], Tensor]) -> Any:
        return tuple(change(state) for state in hx) if self.mode == "LSTM" else change(hx)


class LayeredLSTM(Layered, nn.LSTM):  # type: ignore[misc]  # nn.LSTM narrows its base's methods
    """:class:`torch.nn.LSTM` with a hidden size for every layer and direction."""


class LayeredGRU(Layered, nn.GRU):  # type: ignore[misc]
    """:class:`torch.nn.GRU` with a hidden size for every layer and direction."""


class LayeredRNN(Layered, nn.RNN):  # type: ignore[misc]
    """:class:`torch.nn.RNN` with a hidden size for every layer and direction."""


LAYERED: dict[type[nn.RNNBase], type[Layered]] = {
    nn.LSTM: LayeredLSTM,
    nn.GRU: LayeredGRU,
    nn.RNN: LayeredRNN,
}
"""What each module turns into; a class of the user's own may do more than these know and does not turn."""


def sizes(module: nn.RNNBase) -> list[tuple[int, int]]:
    """Hidden size and output size (they differ with a projection) of every layer and direction."""
    gates = GATES[module.mode]
    return [(cell[0].shape[0] // gates, cell[1].shape[1]) for cell in module.all_weights]


def resize(module: nn.RNNBase) -> None:
    """Set the size attributes of a module whose parameters were cut, and its class where sizes differ."""
    every = sizes(module)
    hidden, leaving = every[-1]
    module.input_size = module.all_weights[0][0].shape[1]
    module.hidden_size = hidden
    module.proj_size = leaving if module.proj_size else 0
    # The operator takes a state as long as the projection for one without a projection.
    ambiguous = module.proj_size > 0 and any(inner == outer for inner, outer in every)
    if (len(set(every)) > 1 or ambiguous) and type(module) in LAYERED:
        module.__class__ = LAYERED[type(module)]


def _gathered(states: Iterable[Tensor]) -> Tensor | LayerStates:
    states = tuple(states)
    same = all(state.shape[-1] == states[0].shape[-1] for state in states)
    return torch.stack(states) if same else LayerStates(states)


def _without_batch(states: Tensor | LayerStates) -> Tensor | LayerStates:
    return _gathered(state.squeeze(0) for state in states)


def _with_an_idle_unit(cell: Sequence[Tensor], bias: bool) -> list[Tensor]:
    """Weights of a projected LSTM with one more hidden unit, whose state is always zero."""

    def add_row(rows: Tensor) -> Tensor:
        blocks = rows.reshape(GATES["LSTM"], -1, *rows.shape[1:])
        beside = (0, 0) * (rows.dim() - 1)
        return functional.pad(blocks, (*beside, 0, 1)).flatten(0, 1)

    gates = cell[:4] if bias else cell[:2]
    return [*(add_row(rows) for rows in gates), functional.pad(cell[-1], (0, 1))]
