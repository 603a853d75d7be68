"""Recurrent layers against the same layers written out with linear ones, which fvcore counts."""

import warnings

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn

from autoprune.cost import CostModel, uncounted
from autoprune.structure import apply, discover
from autoprune.structure.verification.verify import half_plan

SERIES = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
MODULES = {
    "lstm": lambda: nn.LSTM(4, 6, 2, batch_first=True),
    "lstm-both-ways": lambda: nn.LSTM(4, 6, 2, bidirectional=True, batch_first=True, bias=False),
    "lstm-projected": lambda: nn.LSTM(4, 6, 2, bidirectional=True, proj_size=3, batch_first=True),
    "gru": lambda: nn.GRU(4, 6, 2, bidirectional=True, batch_first=True),
    "rnn": lambda: nn.RNN(4, 6, 3, batch_first=True),
}


class Reader(nn.Module):
    def __init__(self, rnn: nn.RNNBase) -> None:
        super().__init__()
        self.rnn = rnn
        directions = 2 if rnn.bidirectional else 1
        self.head = nn.Linear((rnn.proj_size or rnn.hidden_size) * directions, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0])


class Written(nn.Module):
    """The matrix products of the same layers, step by step; the values are not the same."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.head = reader.head
        self.cells = nn.ModuleList(
            nn.ModuleList(nn.Linear(w.shape[1], w.shape[0]) for w in weights if w.dim() == 2)
            for weights in reader.rnn.all_weights
        )
        self.directions = 2 if reader.rnn.bidirectional else 1

    def forward(self, x: Tensor) -> Tensor:
        for first in range(0, len(self.cells), self.directions):
            layer = [self._direction(cell, x) for cell in self.cells[first : first + self.directions]]
            x = torch.cat(layer, 2)
        return self.head(x)

    def _direction(self, cell: nn.ModuleList, x: Tensor) -> Tensor:
        state = x.new_zeros(x.shape[0], cell[1].in_features)
        states = []
        for step in x.unbind(1):
            gates = cell[0](step) + cell[1](state)
            last = cell[2].in_features if len(cell) == 3 else cell[1].in_features
            state = cell[2](gates[:, :last]) if len(cell) == 3 else gates[:, :last]
            states.append(state)
        return torch.stack(states, 1)


def analysis(model: nn.Module) -> FlopCountAnalysis:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        counts = FlopCountAnalysis(model.eval(), SERIES)
        counts.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()
    return counts


@pytest.mark.parametrize("name", MODULES)
def test_flops_parameters_and_size_of_recurrent_layers(name: str) -> None:
    torch.manual_seed(0)
    model = Reader(MODULES[name]())
    structure = discover(model, SERIES)
    costs = CostModel.of(structure, model)
    plans = [half_plan(structure, structure.groups), half_plan(structure, structure.groups[:1])]
    for plan in plans:
        sliced, widths = apply(model, plan, structure), plan.widths(structure)
        assert costs.flops(widths) == analysis(Written(sliced)).total()
        assert costs.parameters(widths) == sum(p.numel() for p in sliced.parameters())
        assert costs.size(widths) == 4 * sum(p.numel() for p in sliced.parameters())
    assert costs.flops(structure.widths) == analysis(Written(model)).total()
    assert uncounted(structure) == {}


def test_fvcore_alone_would_count_the_head_only() -> None:
    counts = analysis(Reader(MODULES["lstm"]()))
    assert counts.total() == 2 * 5 * 6 * 3
    assert counts.unsupported_ops()["aten::lstm"] == 1


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_flops_of_a_cell_are_counted_at_every_step(kind: type[nn.RNNCellBase]) -> None:
    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = kind(4, 6)
            self.head = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            state = None
            for step in x.unbind(1):
                state = self.cell(step, state)
            return self.head(state[0] if isinstance(state, tuple) else state)

    model = Steps()
    structure = discover(model, SERIES)
    rows = model.cell.weight_ih.shape[0] // 6
    for width in (6, 2):
        expected = 2 * 5 * rows * width * (4 + width) + 2 * width * 3
        assert CostModel.of(structure, model).flops({"cell": width}) == expected


def test_looking_up_an_embedding_is_free() -> None:
    model = nn.Sequential(nn.Embedding(7, 6), nn.Linear(6, 3))
    symbols = torch.tensor([[1, 2, 3]])
    structure = discover(model, symbols)
    assert uncounted(structure) == {}
    assert CostModel.of(structure, model).flops({"0": 4}) == 3 * 4 * 3
