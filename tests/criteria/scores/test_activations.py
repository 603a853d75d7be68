"""Criteria by what units say: mean activation, zeros, entropy, rank, redundancy."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from other_nets import NETS, context_of
from residual_net import ResidualNet, batches
from torch import Tensor

from autoprune.criteria import Context, criterion, score_units
from autoprune.criteria.scores.redundancy import eliminate
from autoprune.errors import CriterionError


@torch.no_grad()
def _reads(context: Context) -> dict[str, list[Tensor]]:
    """What each consumer reads of each group, all samples: ``[samples, units, height, width]``."""
    net = context.model.eval()
    assert isinstance(net, ResidualNet)
    images = torch.cat([inputs for inputs, _ in batches()])
    stream = net.stem_norm(net.stem(images)).relu()
    inner = net.a_norm(net.a(stream)).relu()
    after = (stream + net.b_norm(net.b(inner))).relu()
    return {"stem": [stream, net.pool(after)], "a": [inner]}


@pytest.fixture
def alive(context: Context) -> Context:
    """No unit is zero for all samples."""
    with torch.no_grad():
        context.model.get_parameter("a_norm.bias").abs_().add_(3.0)
    return context


def test_mean_activation(context: Context) -> None:
    scores = score_units(criterion("activation"), context)
    for name, reads in _reads(context).items():
        means = [read.abs().mean((0, 2, 3)) for read in reads]
        expected = sum(mean / mean.mean() for mean in means) / len(means)
        assert scores[name].tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_share_of_activations_that_are_not_zero(context: Context) -> None:
    scores = score_units(criterion("apoz"), context)
    for name, reads in _reads(context).items():
        for unit in range(len(scores[name])):
            shares = [
                sum(value != 0 for value in read[:, unit].flatten().tolist()) / read[:, unit].numel()
                for read in reads
            ]
            assert float(scores[name][unit]) == pytest.approx(sum(shares) / len(shares))


def _bins(values: list[float], low: float, high: float, bins: int) -> list[float]:
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int((value - low) / (high - low) * bins))] += 1
    return [count / len(values) for count in counts]


@pytest.mark.parametrize("rule", ["max", "min"])
def test_entropy(alive: Context, rule: str) -> None:
    scores = score_units(criterion(f"entropy:rule={rule},bins=4"), alive)
    for name, reads in _reads(alive).items():
        expected = [0.0] * len(scores[name])
        for read in reads:
            pooled = read.double().mean((2, 3)).float().double()
            for unit in range(len(expected)):
                mine = pooled[:, unit]
                around = mine if rule == "max" else pooled
                shares = _bins(mine.tolist(), float(around.min()), float(around.max()), 4)
                entropy = (
                    -sum(s * math.log2(s) for s in shares if s) if rule == "max" else -math.log2(max(shares))
                )
                expected[unit] += entropy / len(reads)
        assert scores[name].tolist() == pytest.approx(expected, abs=1e-9)


def test_unit_that_is_constant_has_no_entropy(alive: Context) -> None:
    with torch.no_grad():
        alive.model.get_parameter("a_norm.weight")[2] = 0
        alive.model.get_parameter("a_norm.bias")[2] = 1
    for rule in ("max", "min"):
        scores = score_units(criterion(f"entropy:rule={rule}"), alive)["a"]
        assert float(scores[2]) == 0
        assert float(scores.max()) > 0


def test_rank_of_feature_maps(context: Context) -> None:
    scores = score_units(criterion("hrank"), context)
    for name, reads in _reads(context).items():
        for unit in range(len(scores[name])):
            # What the head reads is flat: its rank is 1 where anything is not zero.
            ranks = [
                [
                    float(torch.linalg.matrix_rank(image)) if read.shape[-1] > 2 else float(image.any())
                    for image in read[:, unit]
                ]
                for read in reads
            ]
            expected = sum(sum(each) / len(each) for each in ranks) / len(ranks)
            assert float(scores[name][unit]) == pytest.approx(expected)


def test_rank_of_what_heads_say_is_that_of_width_by_tokens() -> None:
    context = context_of("encoder")
    context = dataclasses.replace(context, batches=lambda: [(torch.randn(3, 5, 4), torch.zeros(3).long())])
    with torch.no_grad():
        # Values of one head that lie on a line: whatever is mixed of them has rank 1.
        values = context.model.get_parameter("layers.layers.0.self_attn.in_proj_weight")[32:36]
        values.copy_(torch.outer(torch.ones(4), values[0]))
        context.model.get_parameter("layers.layers.0.self_attn.in_proj_bias")[32:36] = 0
    name = next(g.name for g in context.structure.groups if g.kind == "heads" and ".0." in g.name)
    scores = score_units(criterion("hrank"), context)[name]
    assert scores[0] == 1
    assert scores[1:].tolist() == [4, 4, 4]


def _literal_elimination(matrix: Tensor) -> list[float]:
    left = list(range(len(matrix)))
    scores = [1 + 1 / len(matrix)] * len(matrix)
    while len(left) > 1:
        pairs = [(float(matrix[i, j]), i, j) for i in left for j in left if i < j]
        top = max(pair[0] for pair in pairs)
        _, i, j = next(pair for pair in pairs if pair[0] == top)
        total = {u: sum(float(matrix[u, v]) for v in left if v != u) for u in (i, j)}
        gone = j if total[j] > total[i] + 1e-9 else i
        scores[gone] = 1 - top
        left.remove(gone)
    return scores


def test_elimination_is_greedy() -> None:
    for seed in range(5):
        values = torch.randn(9, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        matrix = torch.corrcoef(values).abs()
        assert eliminate(matrix.numpy()).tolist() == pytest.approx(_literal_elimination(matrix))


def test_redundancy(alive: Context) -> None:
    scores = score_units(criterion("redundancy"), alive)
    for name, reads in _reads(alive).items():
        matrices = [torch.corrcoef(read.double().movedim(1, 0).flatten(1)).abs() for read in reads]
        expected = _literal_elimination(sum(matrices[1:], matrices[0]) / len(matrices))
        assert scores[name].tolist() == pytest.approx(expected, abs=1e-4)


def test_one_of_two_equal_units_goes_first_and_the_other_stays(alive: Context) -> None:
    state = alive.model.state_dict()
    with torch.no_grad():
        for name in ("a.weight", "a_norm.weight", "a_norm.bias", "a_norm.running_mean", "a_norm.running_var"):
            state[name][4] = state[name][1]
    scores = score_units(criterion("redundancy"), alive)["a"]
    order = scores.argsort().tolist()
    assert order[0] in (1, 4)
    assert float(scores[order[0]]) == pytest.approx(0, abs=1e-5)
    assert float(scores[5 - order[0]]) > 0.01


def test_unit_that_is_constant_is_redundant(alive: Context) -> None:
    with torch.no_grad():
        alive.model.get_parameter("a_norm.weight")[2] = 0
    scores = score_units(criterion("redundancy"), alive)["a"]
    assert int(scores.argmin()) == 2
    assert float(scores[2]) == 0


@torch.no_grad()
def _read_by(context: Context, layers: dict[str, int]) -> dict[str, Tensor]:
    """Inputs of modules, with samples first and units second, by the layers' paths."""
    seen: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    handles = [
        context.model.get_submodule(layer).register_forward_pre_hook(
            lambda _, args, layer=layer: seen[layer].append(args[0])  # type: ignore[misc]
        )
        for layer in layers
    ]
    assert context.batches is not None
    for inputs, _ in context.batches():
        context.model(inputs)
    for handle in handles:
        handle.remove()
    return {
        layer: torch.cat([x.movedim(samples, 0).movedim(-1, 1) for x in seen[layer]])
        for layer, samples in layers.items()
    }


@pytest.mark.parametrize(("net", "samples"), [("encoder", 0), ("encoder-time-first", 1)])
def test_hidden_units_of_an_encoder_are_read_by_its_second_layer(net: str, samples: int) -> None:
    context = context_of(net)
    scores = score_units(criterion("activation"), context)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    read = _read_by(context, {"layers.layers.0.linear2": samples})["layers.layers.0.linear2"]
    torch.backends.mha.set_fastpath_enabled(fast)
    mean = read.abs().flatten(2).mean((0, 2)).double()
    torch.testing.assert_close(scores["layers.layers.0.linear1"], mean / mean.mean(), rtol=1e-4, atol=0)


def test_states_of_a_recurrent_layer_are_read_by_itself_and_by_what_follows() -> None:
    context = context_of("rnn")
    scores = score_units(criterion("activation"), context)["rnn"]
    assert context.batches is not None
    means = []
    with torch.no_grad():
        states, ends = [], []
        for symbols, _ in context.batches():
            result = context.model.get_submodule("rnn")(
                context.model.get_submodule("symbols")(symbols).transpose(0, 1)
            )[0]
            states.append(torch.cat([torch.zeros_like(result[:1]), result[:-1]]).flatten(0, 1))
            ends.append(result[0] + result[-1])
        for read in (states, ends):
            mean = torch.cat(read).abs().mean(0).double()
            means.append(mean / mean.mean())
    torch.testing.assert_close(scores, sum(means) / 2, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("net", list(NETS))
@pytest.mark.parametrize("spec", ["activation", "entropy", "entropy:rule=min", "redundancy"])
def test_units_of_every_kind_are_told_apart(net: str, spec: str) -> None:
    context = context_of(net)
    for name, scores in score_units(criterion(spec), context).items():
        assert len(scores) == context.structure.widths[name]
        assert len(scores.unique()) > 1, name


def test_layer_that_hides_its_states(context: Context) -> None:
    context = context_of("lstm")
    model = context.model
    hidden = dataclasses.replace(
        context.structure.groups[1],
        slices=tuple(
            dataclasses.replace(part, parameter=f"{part.parameter}_gone")
            for part in context.structure.groups[1].slices
        ),
    )
    structure = dataclasses.replace(context.structure, groups=(hidden,))
    with pytest.raises(CriterionError, match=r"'rnn' cannot be seen.*--skip rnn, or use criterion taylor"):
        score_units(criterion("activation"), dataclasses.replace(context, model=model, structure=structure))
