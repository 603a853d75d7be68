import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_nets import Residual

from autoprune.errors import PlanError
from autoprune.structure import Plan, Structure, apply, discover


@pytest.fixture(scope="module")
def structure() -> Structure:
    return discover(Residual(), torch.zeros(1, 3, 8, 8))


@given(
    st.dictionaries(st.text(max_size=8), st.sets(st.integers(0, 99)).map(lambda s: tuple(sorted(s)))),
    st.text(max_size=5),
)
def test_json_round_trip(keep: dict[str, tuple[int, ...]], model: str) -> None:
    plan = Plan(keep, model=model, weights="abc")
    again = Plan.from_json(plan.to_json())
    assert (again.keep, again.model, again.weights, again.hash) == (keep, model, "abc", plan.hash)


def test_the_hash_follows_what_is_kept_only() -> None:
    assert Plan({"a": (1,), "b": (2,)}).hash == Plan({"b": (2,), "a": (1,)}, model="x").hash
    assert Plan({"a": (1,)}).hash != Plan({"a": (2,)}).hash


@pytest.mark.parametrize(
    ("keep", "says"),
    [
        ({}, "removes nothing"),
        ({"stem": tuple(range(8))}, "removes nothing"),
        ({"stem": ()}, "empties 'stem'"),
        ({"steam": (0,)}, "'steam', which this model does not have"),
        ({"stem": (0, 8)}, "numbers from 0 to 7"),
        ({"stem": (1, 1)}, "ascending"),
        ({"stem": (-1, 1)}, "ascending"),
    ],
)
def test_a_plan_that_cannot_be_applied_says_why(
    structure: Structure, keep: dict[str, tuple[int, ...]], says: str
) -> None:
    with pytest.raises(PlanError, match=says):
        apply(Residual(), Plan(keep), structure)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"schema": 2, "keep": {}}',
        '{"schema": 1}',
        '{"schema": 1, "keep": {"a": [true]}}',
        '{"schema": 1, "keep": {"a": 3}}',
        '{"schema": 1, "keep": {}, "extra": 1}',
        '{"schema": 1, "keep": {}, "model": 3}',
        "[" * 100_000,
        '{"schema": 1, "keep": {"a": [' + "9" * 5000 + "]}}",
        '{"schema": 1, "keep": {"a": [2147483648]}}',
        '{"schema": 1, "keep": {"a": [-1]}}',
        '{"schema": 1, "keep": {"a": [NaN]}}',
        '{"schema": 1, "keep": {}, "keep": {}}',
        '{"schema": 1, "keep": {"' + "a" * 5000 + '": []}}',
        '{"schema": 1, "keep": {}, "model": "' + "a" * 5000 + '"}',
        '{"schema": 1, "keep": {}, "' + "x\\n" * 1000 + '": 1}',
        json.dumps({"schema": 1, "keep": {str(number): [0] for number in range(100_001)}}),
        '{"schema": 1, "keep": {"a": [' + "1," * 2_000_000 + "1]}}",
        " " * (9 << 20),
    ],
)
def test_a_malformed_plan_is_one_line(text: str) -> None:
    with pytest.raises(PlanError) as caught:
        Plan.from_json(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_an_unknown_key_gets_the_nearest_one() -> None:
    with pytest.raises(PlanError, match=r"unknown keys: 'kep', did you mean keep\?"):
        Plan.from_json('{"schema": 1, "kep": {}}')


def test_a_plan_gives_the_same_model_wherever_it_is_applied(structure: Structure) -> None:
    model = Residual()
    plan = Plan({"stem": (0, 3, 5), "conv1": (1,)})
    again = Plan.from_json(json.dumps(json.loads(plan.to_json())))
    first, second = apply(model, plan, structure), apply(model, again, structure)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert torch.equal(first.stem.weight, model.stem.weight[[0, 3, 5]])
    assert torch.equal(first.conv1.weight, model.conv1.weight[[1]][:, [0, 3, 5]])
    assert torch.equal(first.bn1.running_var, model.bn1.running_var[[1]])
    assert (first.stem.out_channels, first.conv1.in_channels, first.head.in_features) == (3, 3, 3)


def test_original_tensors_are_copied_unless_shared(structure: Structure) -> None:
    model, plan = Residual(), Plan({"conv1": (1,)})
    assert apply(model, plan, structure).stem.weight is not model.stem.weight
    assert apply(model, plan, structure, share=True).stem.weight is model.stem.weight


def test_frozen_parameters_stay_frozen(structure: Structure) -> None:
    model = Residual()
    model.stem.weight.requires_grad_(False)
    pruned = apply(model, Plan({"stem": (0, 3)}), structure)
    assert not pruned.stem.weight.requires_grad
    assert pruned.conv2.weight.requires_grad
