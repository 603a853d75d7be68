from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from autoprune.config.budget import MODEL_COSTS, Budget, Limit, parse_budget
from autoprune.errors import BudgetError

# Time limits would fail on a busy machine.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _only(text: str) -> Limit:
    budget = parse_budget([text])
    (limit,) = budget.limits
    assert budget.seconds is None
    assert budget.trials is None
    return limit


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("flops=50%", Limit("flops", 0.5, True)),
        ("flops=300M", Limit("flops", 300e6, False)),
        ("flops=1.8G", Limit("flops", 1.8e9, False)),
        ("flops=1200", Limit("flops", 1200.0, False)),
        ("params=1M", Limit("params", 1e6, False)),
        ("params=12.5k", Limit("params", 12_500.0, False)),
        ("params=100%", Limit("params", 1.0, True)),
        ("size=4MB", Limit("size", 4e6, False)),
        ("size=512KiB", Limit("size", 524_288.0, False)),
        ("size=3MiB", Limit("size", 3_145_728.0, False)),
        ("latency=50%", Limit("latency", 0.5, True)),
        ("latency=2ms", Limit("latency", 0.002, False)),
        ("latency=800us", Limit("latency", 0.0008, False)),
        ("latency=800µs", Limit("latency", 0.0008, False)),
        (" latency = 2 ms ", Limit("latency", 0.002, False)),
        ("50%", Limit("flops", 0.5, True)),
    ],
)
def test_model_costs(text: str, limit: Limit) -> None:
    assert _only(text) == limit


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("time=30m", 1800.0),
        ("30m", 1800.0),
        ("90s", 90.0),
        ("2h", 7200.0),
        ("1h30m", 5400.0),
        ("time=1h0m2.5s", 3602.5),
    ],
)
def test_search_time(text: str, seconds: float) -> None:
    assert parse_budget([text]) == Budget((), seconds, None)


@pytest.mark.parametrize("text", ["trials=200", "200"])
def test_trials(text: str) -> None:
    assert parse_budget([text]) == Budget((), None, 200)


def test_several_texts_and_commas() -> None:
    budget = parse_budget(["latency=50%,size=4MB", "30m", "200"])
    assert budget == Budget((Limit("latency", 0.5, True), Limit("size", 4e6, False)), 1800.0, 200)
    assert str(budget) == "latency=50%,size=4MB,time=30m,trials=200"
    assert budget.limit("size") == Limit("size", 4e6, False)
    assert budget.limit("flops") is None


def test_one_string_is_one_text() -> None:
    assert parse_budget("flops=50%") == parse_budget(["flops=50%"])


def test_nothing_is_an_empty_budget() -> None:
    assert parse_budget([]) == Budget((), None, None)


def test_absolute() -> None:
    assert Limit("flops", 0.25, True).absolute(800.0) == 200.0
    assert Limit("flops", 300.0, False).absolute(800.0) == 300.0


def test_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse_budget(["50%"]).trials = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("latncy=2ms", "did you mean latency?"),
        ("macs=50%", "there are flops, params"),
        ("flops=0.5", "did you mean flops=50%?"),
        ("latency=0.5", "did you mean latency=50%?"),
        ("flops=1", "did you mean flops=100%?"),
        ("0.5", "did you mean 50%?"),
        ("flops=300m", "did you mean M?"),
        ("size=4mb", "did you mean MB?"),
        ("size=4", "has no unit"),
        ("latency=2", "has no unit"),
        ("time=30", "has no unit"),
        ("latency=30m1h", "from large to small"),
        ("latency=1h2h", "from large to small"),
        ("latency=2ms!", "not a number"),
        ("time=50%", "not a share"),
        ("flops", "how much"),
        ("flops=", "not a number"),
        ("flops=0%", "more than zero"),
        ("flops=-3M", "more than zero"),
        ("latency=0ms", "more than zero"),
        ("trials=0", "more than zero"),
        ("trials=2.5", "whole number"),
        ("trials=9" + "9" * 5000, "whole number"),
        ("120%", "over 100%"),
        ("flops=100.1%", "over 100%"),
        ("flops=nan", "not a number"),
        ("flops=inf", "not a number"),
        ("flops=1e999", "too large"),
        ("flops=0.0000001M", "more than 1"),
        ("", "empty"),
        ("flops=50%,", "empty"),
        ("flops=50%,flops=300M", "twice"),
        ("30m,time=2h", "twice"),
        ("hello", "not a percentage"),
        ("x" * 10_000, "not a percentage"),
    ],
)
def test_errors_are_one_line_with_examples(text: str, reason: str) -> None:
    with pytest.raises(BudgetError) as caught:
        parse_budget([text])
    line = str(caught.value)
    assert reason in line
    assert "\n" not in line
    assert len(line) < 300
    examples = line.partition("write for example ")[2].replace(" or ", ", ").split(", ")
    assert len(examples) == 3
    for correct in examples:
        parse_budget([correct])


def test_error_names_the_part_that_is_wrong() -> None:
    with pytest.raises(BudgetError, match=r"budget 'size=4' cannot be read"):
        parse_budget(["latency=50%,size=4"])


@pytest.mark.parametrize("texts", [["flops=50%", "flops=300M"], ["50%", "flops=20%"], ["10", "trials=10"]])
def test_duplicates_across_texts(texts: list[str]) -> None:
    with pytest.raises(BudgetError, match="twice"):
        parse_budget(texts)


_positive = st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False)


@st.composite
def _limits(draw: st.DrawFn) -> tuple[Limit, ...]:
    limits = []
    for what in draw(st.lists(st.sampled_from(MODEL_COSTS), unique=True)):
        if draw(st.booleans()):
            limits.append(Limit(what, draw(st.floats(min_value=0, max_value=1, exclude_min=True)), True))
        else:
            counted = what in ("flops", "params", "nonzero")
            amount = draw(_positive.filter(lambda value: value > 1) if counted else _positive)
            limits.append(Limit(what, amount, False))
    return tuple(limits)


_budgets = st.builds(
    Budget,
    _limits(),
    st.none() | _positive,
    st.none() | st.integers(min_value=1, max_value=10**9 - 1),
)


@patient
@given(_budgets)
@example(Budget((Limit("latency", 5e-324, False), Limit("flops", 5e-324, True)), 1e300, 1))
def test_text_round_trip(budget: Budget) -> None:
    texts = [str(budget)] if str(budget) else []
    assert parse_budget(texts) == budget


_characters = st.sampled_from("0123456789.eE+-%=, kMGTBismuhµflopartency\n²٣")


@patient
@given(
    st.lists(st.text() | st.text(_characters) | st.from_regex(r"\A[a-z]{0,7}=?[0-9.]{0,4}[a-zA-Z%]{0,3}\Z"))
)
def test_any_text_is_read_or_refused(texts: list[str]) -> None:
    try:
        budget = parse_budget(texts)
    except BudgetError as error:
        assert len(str(error).splitlines()) == 1
        return
    amounts = [limit.amount for limit in budget.limits]
    assert all(math.isfinite(amount) and amount > 0 for amount in amounts)
    assert all(limit.amount <= 1 for limit in budget.limits if limit.relative)
    assert parse_budget([str(budget)] if str(budget) else []) == budget
