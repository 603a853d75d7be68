import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from autoprune.criteria import Context, criterion, score_units
from autoprune.errors import ModelError
from autoprune.structure import Plan, Structure, apply, discover
from autoprune.structure.surgery.slim.recurrent import Layered, LayeredGRU, LayeredLSTM, LayerStates
from autoprune.structure.verification.verify import difference, half_plan

GENERATOR = torch.Generator().manual_seed(0)
SERIES = torch.randn(3, 5, 4, generator=GENERATOR)
SYMBOLS = torch.tensor([[1, 2, 3, 0, 0], [4, 3, 2, 1, 0]])
MODULES = {
    "lstm": lambda: nn.LSTM(4, 6, batch_first=True),
    "lstm-stack": lambda: nn.LSTM(4, 6, 3, batch_first=True),
    "lstm-both-ways": lambda: nn.LSTM(4, 6, 2, bidirectional=True, batch_first=True),
    "lstm-time-first": lambda: nn.LSTM(4, 6, 2, bidirectional=True, bias=False),
    "lstm-projected": lambda: nn.LSTM(4, 6, 2, proj_size=3, bidirectional=True, batch_first=True),
    "lstm-projected-no-bias": lambda: nn.LSTM(4, 6, proj_size=3, bias=False),
    "lstm-dropout": lambda: nn.LSTM(4, 6, 2, dropout=0.5, batch_first=True),
    "gru": lambda: nn.GRU(4, 6),
    "gru-both-ways": lambda: nn.GRU(4, 6, 2, bidirectional=True, batch_first=True),
    "gru-no-bias": lambda: nn.GRU(4, 6, 2, bias=False),
    "rnn-tanh": lambda: nn.RNN(4, 6, 2, bidirectional=True),
    "rnn-relu": lambda: nn.RNN(4, 6, 3, nonlinearity="relu", bias=False, batch_first=True),
}


class Reader(nn.Module):
    """A recurrent module and a linear head on what `read` makes of its result."""

    def __init__(self, rnn: nn.Module, features: int, read: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.rnn = rnn
        self.head = nn.Linear(features, 3)
        self.read = read

    def forward(self, x: Tensor, *states: Tensor) -> Tensor:
        return self.head(self.read(self.rnn, x, *states))


class Unrolled(nn.Module):
    def __init__(self, cell: nn.Module, start: int | None = None) -> None:
        super().__init__()
        self.cell = cell
        self.start = start
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        state = None if self.start is None else x.new_zeros(x.shape[0], self.start)
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state[0] if isinstance(state, tuple) else state)


def output(rnn: nn.Module, x: Tensor) -> Tensor:
    return rnn(x)[0]


def last_hidden(rnn: nn.Module, x: Tensor) -> Tensor:
    """The final hidden state of the last layer, of both directions where there are two."""
    final = rnn(x)[1]
    hidden = final[0] if isinstance(rnn, nn.LSTM) else final
    return torch.cat([hidden[-2], hidden[-1, :, :]], 1) if rnn.bidirectional else hidden[-1]


def features_of(rnn: nn.RNNBase) -> int:
    return (rnn.proj_size or rnn.hidden_size) * (2 if rnn.bidirectional else 1)


def reader(name: str, read: Callable[[Any, Tensor], Tensor] = output) -> Reader:
    torch.manual_seed(0)
    rnn = MODULES[name]()
    return Reader(rnn, features_of(rnn), read)


def worst(model: nn.Module, structure: Structure, *args: Tensor) -> float:
    """Over each group alone, which leaves layers of unequal sizes, and over all of them at once."""
    double = copy.deepcopy(model).double().eval()
    args = tuple(arg.double() if arg.is_floating_point() else arg for arg in args)
    plans = [half_plan(structure, [group], seed=1) for group in structure.groups]
    plans.append(half_plan(structure, structure.groups, seed=2))
    return max(difference(double, structure, plan, args) for plan in plans)


@pytest.mark.parametrize("read", [output, last_hidden])
@pytest.mark.parametrize("name", MODULES)
def test_every_layer_and_direction_is_a_group_and_equals_the_zeroed_model(
    name: str, read: Callable[[Any, Tensor], Tensor]
) -> None:
    model = reader(name, read)
    structure = discover(model, SERIES)
    cells = model.rnn.num_layers * (2 if model.rnn.bidirectional else 1)
    expected = [6, 3] * cells if model.rnn.proj_size else [6] * cells
    assert [group.width for group in structure.groups] == expected
    assert {group.kind for group in structure.groups} == {"hidden"}
    assert structure.frozen == {"head": "reaches the model's output"}
    assert worst(model, structure, SERIES) < 1e-9


def test_a_unit_has_the_rows_of_all_gates_and_all_columns_that_read_it() -> None:
    structure = discover(reader("lstm-stack"), SERIES)
    parts = {(s.parameter, s.axis, s.role): s.index for s in structure.group("rnn").slices}
    assert set(parts) == {
        ("rnn.weight_ih_l0", 0, "out"),
        ("rnn.weight_hh_l0", 0, "out"),
        ("rnn.bias_ih_l0", 0, "pass"),
        ("rnn.bias_hh_l0", 0, "pass"),
        ("rnn.weight_hh_l0", 1, "in"),
        ("rnn.weight_ih_l1", 1, "in"),
    }
    assert parts["rnn.weight_hh_l0", 0, "out"][2].tolist() == [2, 8, 14, 20]
    assert parts["rnn.weight_hh_l0", 1, "in"][2].tolist() == [2]


def test_both_directions_are_read_side_by_side() -> None:
    structure = discover(reader("gru-both-ways"), SERIES)
    backward = {s.parameter: s.index for s in structure.group("rnn#2").slices if s.role == "in"}
    assert backward["rnn.weight_ih_l1"][:, 0].tolist() == list(range(6, 12))
    assert backward["rnn.weight_ih_l1_reverse"][:, 0].tolist() == list(range(6, 12))


def test_a_cut_with_a_wrong_column_does_not_pass_the_proof() -> None:
    model = reader("lstm-stack").double().eval()
    structure = discover(model, SERIES.double())
    plan = Plan({"rnn": (0, 1, 2)})
    assert difference(model, structure, plan, (SERIES.double(),)) < 1e-9
    part = next(s for s in structure.group("rnn").slices if s.parameter == "rnn.weight_ih_l1")
    part.index[:] = part.index[::-1].copy()
    assert difference(model, structure, plan, (SERIES.double(),)) > 1e-3


@pytest.mark.parametrize("name", MODULES)
def test_equal_sizes_keep_the_module_and_its_attributes_follow(name: str) -> None:
    model = reader(name)
    structure = discover(model, SERIES)
    units = {6: (0, 2, 3, 5), 3: (0, 2)}
    pruned = apply(model, Plan({g.name: units[g.width] for g in structure.groups}), structure)
    assert type(pruned.rnn) is type(model.rnn)
    assert pruned.rnn.hidden_size == 4
    assert pruned.rnn.proj_size == (2 if model.rnn.proj_size else 0)
    assert pruned.rnn.input_size == 4
    assert all(a is b for a, b in zip(pruned.rnn._flat_weights, pruned.rnn.parameters(), strict=True))
    pruned.rnn.flatten_parameters()
    assert pruned(SERIES).shape == (3, 5, 3)


@pytest.mark.parametrize("name", ["lstm-both-ways", "gru-both-ways", "rnn-relu", "lstm-projected"])
def test_unequal_sizes_run_layer_by_layer_under_the_same_names(name: str) -> None:
    model = reader(name)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    structure = discover(model, SERIES)
    pruned = apply(model, Plan({"rnn": (1, 4)}), structure)
    assert isinstance(pruned.rnn, Layered)
    assert list(pruned.state_dict()) == list(model.state_dict())
    other = apply(reader(name, output), Plan({"rnn": (0, 1)}), structure)
    other.load_state_dict(pruned.state_dict())
    assert torch.equal(other(SERIES), pruned(SERIES))
    copied = copy.deepcopy(pruned).double()
    copied.rnn.flatten_parameters()
    assert torch.allclose(copied(SERIES.double()), pruned(SERIES).double(), atol=1e-6)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert type(model.rnn) in (nn.LSTM, nn.GRU, nn.RNN)


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("name", ["lstm-both-ways", "lstm-dropout", "gru-both-ways", "rnn-tanh"])
def test_training_after_a_cut_updates_the_weights_that_are_used(name: str, equal: bool) -> None:
    model = reader(name)
    structure = discover(model, SERIES)
    groups = structure.groups if equal else structure.groups[:1]
    pruned = apply(model, half_plan(structure, groups), structure).train()
    optimizer = torch.optim.SGD(pruned.parameters(), lr=0.5)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (pruned(SERIES) - 1).square().mean()
        loss.backward()
        assert all(p.grad is not None and bool(p.grad.any()) for p in pruned.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    assert isinstance(pruned.rnn, Layered) is not equal


def test_dropout_between_layers_stays_after_a_cut() -> None:
    model = reader("lstm-dropout")
    pruned = apply(model, Plan({"rnn": (0, 1, 2)}), discover(model, SERIES))
    assert torch.equal(pruned.eval()(SERIES), pruned(SERIES))
    assert not torch.equal(pruned.train()(SERIES), pruned(SERIES))


@pytest.mark.parametrize("bias", [True, False])
def test_a_projection_as_long_as_the_hidden_state_still_is_one(bias: bool) -> None:
    torch.manual_seed(0)
    model = Reader(nn.LSTM(4, 6, 2, proj_size=3, bias=bias, batch_first=True), 3, output).double().eval()
    structure = discover(model, SERIES.double())
    for kept in ((0, 1, 5), (0, 1)):
        plan = Plan({"rnn": kept})
        assert difference(model, structure, plan, (SERIES.double(),)) < 1e-9
    plan = Plan({"rnn": (0, 1, 5), "rnn#3": (2, 3, 4)})
    pruned = apply(model, plan, structure)
    states = pruned.rnn(SERIES.double())[1]
    assert [state.shape for state in states] == [(2, 3, 3), (2, 3, 3)]
    again = pruned.rnn(SERIES.double(), states)[0]
    assert not torch.equal(again, pruned.rnn(SERIES.double())[0])


def test_the_layered_modules_compute_what_torchs_own_do() -> None:
    torch.manual_seed(0)
    for own, kind in ((nn.LSTM, LayeredLSTM), (nn.GRU, LayeredGRU)):
        plain = own(4, 6, 2, bidirectional=True, batch_first=True).double()
        layered = copy.deepcopy(plain)
        layered.__class__ = kind
        for given in (SERIES.double(), SERIES[0].double()):
            start = plain(given)[1]
            for hx in (None, start):
                ours, theirs = layered(given, hx), plain(given, hx)
                assert torch.allclose(ours[0], theirs[0], atol=1e-12)
                pairs = zip(ours[1], theirs[1], strict=True)
                assert all(torch.allclose(a, b, atol=1e-12) for a, b in pairs)


def test_final_states_of_unequal_sizes_are_indexed_like_a_tensor() -> None:
    model = reader("gru-both-ways")
    pruned = apply(model, Plan({"rnn": (0, 1)}), discover(model, SERIES))
    finals = pruned.rnn(SERIES)[1]
    assert isinstance(finals, LayerStates)
    assert [state.shape for state in finals] == [(3, 2), (3, 6), (3, 6), (3, 6)]
    assert torch.equal(finals[0, :, 1], finals[0][:, 1])
    unbatched = pruned.rnn(SERIES[0])[1]
    assert torch.allclose(unbatched[0], finals[0][0], atol=1e-6)
    assert "sizes=[(2, 2), (6, 6), (6, 6), (6, 6)]" in repr(pruned.rnn)


def test_functional_calls_reach_a_layered_module() -> None:
    model = reader("lstm-both-ways")
    pruned = apply(model, Plan({"rnn": (0, 1)}), discover(model, SERIES))
    zeros = {name: torch.zeros_like(parameter) for name, parameter in pruned.named_parameters()}
    assert not bool(functional_call(pruned, zeros, (SERIES,)).any())


def test_a_cut_model_can_be_discovered_and_cut_again() -> None:
    model = reader("lstm-both-ways", last_hidden)
    once = apply(model, Plan({"rnn": (0, 1, 4), "rnn#3": (2, 3)}), discover(model, SERIES))
    structure = discover(once, SERIES)
    assert structure.widths == {"rnn": 3, "rnn#2": 6, "rnn#3": 2, "rnn#4": 6}
    assert worst(once, structure, SERIES) < 1e-9


def test_final_states_that_are_used_whole_keep_all_layers_equal() -> None:
    def viewed(rnn: nn.LSTM, x: Tensor) -> Tensor:
        hidden = rnn(x)[1][0].view(2, 2, x.shape[0], -1)[-1]
        return torch.cat([hidden[0], hidden[1]], 1)

    model = reader("lstm-both-ways", viewed)
    structure = discover(model, SERIES)
    assert structure.widths == {"rnn": 6}
    assert worst(model, structure, SERIES) < 1e-9


def test_the_shape_of_final_states_holds_layers_that_would_not_have_one() -> None:
    def shaped(rnn: nn.GRU, x: Tensor) -> Tensor:
        hidden = rnn(x)[1]
        return torch.cat([hidden[-2], hidden[-1]], 1).view(hidden.shape[1], -1)

    structure = discover(reader("gru-both-ways", shaped), SERIES)
    assert structure.groups == ()
    assert "'LayerStates' object has no attribute 'shape'" in structure.frozen["rnn"]


def test_directions_that_are_added_lose_the_same_units() -> None:
    def added(rnn: nn.LSTM, x: Tensor) -> Tensor:
        left, right = rnn(x)[0].chunk(2, dim=-1)
        return torch.cat([left[:, -1] + right[:, 0]] * 2, 1)

    model = reader("lstm-both-ways", added)
    structure = discover(model, SERIES)
    assert structure.widths == {"rnn": 6, "rnn#2": 6, "rnn#3": 6}
    assert worst(model, structure, SERIES) < 1e-9


def test_positions_in_the_code_hold_the_layer_that_they_point_into() -> None:
    def ends(rnn: nn.LSTM, x: Tensor) -> Tensor:
        steps = rnn(x)[0]
        return torch.cat([steps[:, -1, :6], steps[:, 0, 6:]], 1)

    structure = discover(reader("lstm-both-ways", ends), SERIES)
    assert structure.widths == {"rnn": 6, "rnn#2": 6}
    cut = {s.parameter for group in structure.groups for s in group.slices if s.role == "out"}
    assert cut == {f"rnn.weight_{which}_l0{suffix}" for which in ("ih", "hh") for suffix in ("", "_reverse")}
    assert any(name.startswith("rnn") for name in structure.frozen)


def test_initial_zeros_of_a_fixed_size_freeze_and_those_that_follow_do_not() -> None:
    def baked(rnn: nn.LSTM, x: Tensor) -> Tensor:
        return rnn(x, (x.new_zeros(3, x.shape[0], 6), x.new_zeros(3, x.shape[0], 6)))[0]

    def following(rnn: nn.LSTM, x: Tensor) -> Tensor:
        zeros = x.new_zeros(3, x.shape[0], rnn.hidden_size)
        return rnn(x, (zeros, zeros))[0]

    frozen = discover(reader("lstm-stack", baked), SERIES)
    assert frozen.groups == ()
    assert frozen.frozen["rnn"].startswith("a shape is baked into forward: Expected hidden[0] size")
    model = reader("lstm-stack", following)
    structure = discover(model, SERIES)
    assert structure.widths == {"rnn": 6}
    assert worst(model, structure, SERIES) < 1e-9


def test_initial_states_from_the_caller_stay_whole() -> None:
    def given(rnn: nn.GRU, x: Tensor, start: Tensor) -> Tensor:
        return rnn(x, start)[0]

    structure = discover(reader("gru", given), (SERIES, torch.zeros(1, 5, 6)))
    assert structure.groups == ()
    assert structure.frozen["rnn"].startswith("reaches the model's input")


def test_a_learned_initial_state_and_an_encoders_are_cut_along() -> None:
    class Translator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.start = nn.Parameter(torch.randn(2, 1, 6))
            self.encoder = nn.GRU(4, 6, 2, batch_first=True)
            self.decoder = nn.GRU(4, 6, 2, batch_first=True)
            self.head = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            _, state = self.encoder(x, self.start.repeat(1, x.shape[0], 1))
            return self.head(self.decoder(x, state)[0])

    torch.manual_seed(0)
    model = Translator()
    structure = discover(model, SERIES)
    assert structure.widths == {"encoder": 6}
    assert {"start", "decoder.weight_hh_l1"} <= {s.parameter for s in structure.groups[0].slices}
    assert worst(model, structure, SERIES) < 1e-9


def test_a_class_of_the_users_own_keeps_its_layers_equal() -> None:
    class Own(nn.LSTM):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[0]

    torch.manual_seed(0)
    model = Reader(Own(4, 6, 2, bidirectional=True), 12, lambda rnn, x: rnn(x))
    structure = discover(model, SERIES)
    assert structure.widths == {"rnn": 6}
    assert worst(model, structure, SERIES) < 1e-9
    projected = Reader(Own(4, 6, proj_size=3), 3, lambda rnn, x: rnn(x))
    structure = discover(projected, SERIES)
    assert structure.widths == {"rnn": 3}
    assert structure.frozen["rnn"] == "must stay longer than its projection"


@pytest.mark.parametrize(
    "cell",
    [
        nn.LSTMCell(4, 6),
        nn.LSTMCell(4, 6, bias=False),
        nn.GRUCell(4, 6),
        nn.RNNCell(4, 6),
        nn.RNNCell(4, 6, bias=False, nonlinearity="relu"),
    ],
    ids=lambda cell: repr(cell),
)
def test_cells_are_cut_once_for_all_steps(cell: nn.RNNCellBase) -> None:
    model = Unrolled(cell)
    structure = discover(model, SERIES)
    assert [(g.name, g.kind, g.width) for g in structure.groups] == [("cell", "hidden", 6)]
    assert worst(model, structure, SERIES) < 1e-9
    pruned = apply(model, Plan({"cell": (1, 2)}), structure)
    assert (pruned.cell.input_size, pruned.cell.hidden_size) == (4, 2)


class Fixed(Unrolled):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x[:, 0], x.new_zeros(x.shape[0], 6)))


def test_a_cells_initial_state_follows_its_size_unless_that_is_written_into_the_code() -> None:
    assert discover(Unrolled(nn.GRUCell(4, 6), start=6), SERIES).widths == {"cell": 6}
    structure = discover(Fixed(nn.GRUCell(4, 6)), SERIES)
    assert structure.groups == ()
    assert structure.frozen["cell"].startswith("a shape is baked into forward: hidden0 has inconsistent")


class Words(nn.Module):
    def __init__(self, read: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 5, padding_idx=0)
        self.rnn = nn.LSTM(5, 6, 2, batch_first=True)
        self.head = nn.Linear(6, 3)
        self.read = read

    def forward(self, symbols: Tensor) -> Tensor:
        return self.head(self.read(self.rnn(self.embedding(symbols))[0], symbols != 0))


def indexed(steps: Tensor, valid: Tensor) -> Tensor:
    return steps[torch.arange(len(steps)), valid.sum(1) - 1]


def gathered(steps: Tensor, valid: Tensor) -> Tensor:
    last = (valid.sum(1) - 1).view(-1, 1, 1).expand(-1, 1, steps.shape[-1])
    return steps.gather(1, last).squeeze(1)


def averaged(steps: Tensor, valid: Tensor) -> Tensor:
    weights = valid.unsqueeze(-1).to(steps.dtype)
    return (steps * weights).sum(1) / weights.sum(1)


@pytest.mark.parametrize("read", [indexed, gathered, averaged])
def test_columns_of_an_embedding_and_the_last_valid_step(read: Callable[[Tensor, Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    model = Words(read)
    structure = discover(model, SYMBOLS)
    assert structure.widths == {"embedding": 5, "rnn": 6, "rnn#2": 6}
    assert [group.kind for group in structure.groups] == ["channels", "hidden", "hidden"]
    assert worst(model, structure, SYMBOLS) < 1e-9
    pruned = apply(model, half_plan(structure, structure.groups), structure)
    assert pruned.embedding.weight.shape == (7, pruned.embedding.embedding_dim) == (7, 2)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_columns_of_an_embedding_bag(mode: str) -> None:
    model = nn.Sequential(nn.EmbeddingBag(7, 6, mode=mode), nn.Linear(6, 3))
    structure = discover(model, SYMBOLS)
    assert structure.widths == {"0": 6}
    assert worst(model, structure, SYMBOLS) < 1e-9
    assert apply(model, Plan({"0": (1, 2)}), structure)[0].embedding_dim == 2


def test_an_embedding_that_is_also_the_head_loses_columns_only() -> None:
    class Language(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(7, 6)
            self.rnn = nn.GRU(6, 6, batch_first=True)
            self.head = nn.Linear(6, 7)
            self.head.weight = self.embedding.weight

        def forward(self, symbols: Tensor) -> Tensor:
            return self.head(self.rnn(self.embedding(symbols))[0])

    model = Language()
    structure = discover(model, SYMBOLS)
    assert structure.widths == {"embedding": 6}
    assert worst(model, structure, SYMBOLS) < 1e-9
    pruned = apply(model, Plan({"embedding": (0, 3)}), structure)
    assert pruned.head.weight is pruned.embedding.weight


def test_packed_sequences_are_refused_in_one_line() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(4, 6, batch_first=True)

        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            return self.rnn(packed)[1][0][-1]

    with pytest.raises(ModelError, match=r"packs its sequences.*leave them padded") as caught:
        discover(Packed(), (SERIES, torch.tensor([3, 5, 1])))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["l1", "l2", "taylor"])
def test_criteria_rank_a_silent_hidden_unit_last(name: str) -> None:
    model = reader("lstm-stack")
    structure = discover(model, SERIES)
    with torch.no_grad():
        for part in structure.group("rnn#2").slices:
            tensor = model.get_parameter(part.parameter)
            tensor.index_fill_(part.axis, torch.from_numpy(part.index[4]), 0.0)
    batches = [(SERIES, torch.ones(3, 5, 3)), (2 * SERIES, torch.zeros(3, 5, 3))]
    context = Context(model, structure, lambda: batches, nn.functional.mse_loss)
    scores = score_units(criterion(name), context)
    assert {group: len(values) for group, values in scores.items()} == structure.widths
    assert int(scores["rnn#2"].argmin()) == 4
    assert int((scores["rnn#2"] == 0).sum()) == 1
