"""The budget of the pruned model and of the search, parsed from short strings."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from autoprune.errors import BudgetError
from autoprune.utils import quantities
from autoprune.utils.arguments import check_type, listed_texts
from autoprune.utils.suggest import did_you_mean

_PERCENT = re.compile(r"([0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})\s*%")
_WHOLE = re.compile(r"[0-9]{1,9}")
_SHOWN, _LONGEST = 60, 1 << 14

_READERS: Mapping[str, Callable[[str], float]] = {
    "flops": quantities.parse_count,
    "params": quantities.parse_count,
    "nonzero": quantities.parse_count,
    "size": quantities.parse_bytes,
    "latency": quantities.parse_seconds,
}
_WRITERS: Mapping[str, Callable[[float], str]] = {
    "flops": quantities.exact_count,
    "params": quantities.exact_count,
    "nonzero": quantities.exact_count,
    "size": quantities.exact_bytes,
    "latency": quantities.exact_seconds,
}
MODEL_COSTS: tuple[str, ...] = tuple(_READERS)
_NAMES = (*MODEL_COSTS, "time", "trials")
_THERE_ARE = f" (there are {', '.join(_NAMES)})"

_EXAMPLES: Mapping[str, str] = {
    "flops": "flops=50%, flops=300M or params=1M",
    "params": "params=50%, params=1M or flops=300M",
    "nonzero": "nonzero=20%, nonzero=50k or size=50%",
    "size": "size=50%, size=4MB or size=512KiB",
    "latency": "latency=50%, latency=2ms or latency=800us",
    "time": "time=30m, time=90s or time=1h30m",
    "trials": "trials=200, 200 or time=30m",
}
_FORMS = (
    "a string such as 'latency=50%', a list of such strings, or a mapping such as "
    "{'latency': 0.5, 'time': '30m'}"
)
_ANY_EXAMPLES = "latency=50%, flops=300M or time=30m"


@dataclass(frozen=True)
class Limit:
    """The maximum of one cost of the pruned model.

    Attributes:
        what: ``"flops"``, ``"params"``, ``"nonzero"`` (parameters), ``"size"`` or ``"latency"``.
        amount: a share of the original model's cost (0 to 1) when ``relative``, otherwise FLOPs,
            parameters, bytes or seconds.
        relative: whether ``amount`` is a share.
    """

    what: str
    amount: float
    relative: bool

    def absolute(self, reference: float) -> float:
        """The limit in the cost's own unit; ``reference`` is the original model's cost in that unit."""
        return self.amount * reference if self.relative else self.amount

    def __str__(self) -> str:
        if self.relative:
            return f"{self.what}={quantities.plain(Decimal(repr(self.amount)) * 100)}%"
        return f"{self.what}={_WRITERS[self.what](self.amount)}"


@dataclass(frozen=True)
class Budget:
    """Limits on the model and the search; ``parse_budget([str(budget)])`` is equal unless it is empty.

    Attributes:
        limits: one limit per model cost, in the order given.
        seconds: time for the search, or None for no limit.
        trials: number of trials of the search, or None for no limit.
    """

    limits: tuple[Limit, ...] = ()
    seconds: float | None = None
    trials: int | None = None

    def limit(self, what: str) -> Limit | None:
        """The limit on one model cost, or None."""
        return next((limit for limit in self.limits if limit.what == what), None)

    def __str__(self) -> str:
        parts = [str(limit) for limit in self.limits]
        if self.seconds is not None:
            parts.append(f"time={quantities.exact_seconds(self.seconds)}")
        if self.trials is not None:
            parts.append(f"trials={self.trials}")
        return ",".join(parts)


def parse_budget(texts: Sequence[str]) -> Budget:
    """Parse ``WHAT=HOW-MUCH`` strings, each of which may hold several limits separated by commas.

    ``flops``, ``params``, ``nonzero``, ``size`` and ``latency`` bound the pruned model, ``time`` and
    ``trials`` the search. A bare duration means time, a bare whole number trials, a bare percentage flops.

    Raises:
        BudgetError: with the invalid text, the reason and correct examples.
    """
    limits: dict[str, Limit] = {}
    search: dict[str, float] = {}
    for text in _pieces([texts] if isinstance(texts, str) else texts):
        name, amount = _split(text)
        if name in limits or name in search:
            raise _error(text, f"{name} is given twice", name)
        try:
            if amount.startswith("-"):
                raise ValueError("it must be more than zero")
            if name in _READERS:
                limits[name] = _limit(name, amount)
            else:
                search[name] = _trials(amount) if name == "trials" else _seconds(amount)
        except ValueError as reason:
            raise _error(text, str(reason), name) from None
    trials = search.get("trials")
    return Budget(tuple(limits.values()), search.get("time"), None if trials is None else int(trials))


def budget_texts(given: object) -> tuple[str, ...]:
    """The strings of a budget given in Python: one, several, or a mapping of costs to amounts.

    In a mapping, a fraction is a share: ``{"latency": 0.5, "time": "30m", "trials": 40}``.

    Raises:
        ArgumentError: for any other type.
        BudgetError: for an invalid amount.
    """
    if not isinstance(given, Mapping):
        return listed_texts("budget", given, _FORMS)
    written = []
    for name, amount in given.items():
        check_type("a cost of the budget", name, str, f"one of {', '.join(_NAMES)}")
        check_type(f"budget[{name!r}]", amount, (str, int, float), "a string such as '50%', or a number")
        written.append(f"{name}={_amount_text(name, amount)}")
    parse_budget(written)
    return tuple(written)


def merged_budgets(
    earlier: Sequence[str], later: Sequence[str]
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Merge two budgets; where both limit a cost, the later limit wins.

    Returns:
        The strings, one per limit; and each replaced limit, before and after.

    Raises:
        BudgetError: if one of them is invalid.
    """
    parse_budget(earlier), parse_budget(later)
    before, after = ({_split(text)[0]: text for text in _pieces(given)} for given in (earlier, later))
    replaced = tuple(
        (text, after[name])
        for name, text in before.items()
        if name in after and parse_budget([text]) != parse_budget([after[name]])
    )
    return tuple((before | after).values()), replaced


def _amount_text(name: str, amount: str | float) -> str:
    if isinstance(amount, float) and name in MODEL_COSTS and 0 < amount <= 1:
        return f"{quantities.plain(Decimal(repr(amount)) * 100)}%"
    if isinstance(amount, float) and amount.is_integer():
        amount = int(amount)
    return str(amount)


def _pieces(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        if len(text) > _LONGEST:
            raise _error(text, f"it is longer than {_LONGEST} characters")
        for piece in text.split(","):
            if not piece.strip():
                raise _error(text, "it has an empty part")
            yield piece.strip()


def _split(text: str) -> tuple[str, str]:
    """Name and amount of one limit; the name of a bare amount follows from its form."""
    name, equals, amount = (part.strip() for part in text.partition("="))
    if equals:
        if name not in _NAMES:
            raise _error(text, f"there is no cost {_short(name)}{did_you_mean(name, _NAMES, _THERE_ARE)}")
        return name, amount
    if _PERCENT.fullmatch(text):
        return "flops", text
    if _WHOLE.fullmatch(text):
        return "trials", text
    if text in _NAMES:
        raise _error(text, "it does not say how much", text)
    try:
        quantities.parse_seconds(text)
    except ValueError:
        reason = "it is not a percentage, a duration or a number of trials"
        hint = _share_hint(text)
        raise _error(text, f"{reason}, {hint}" if hint else reason) from None
    return "time", text


def _limit(what: str, text: str) -> Limit:
    percent = _PERCENT.fullmatch(text)
    if percent:
        share = float(Decimal(percent[1]) / 100)
        if share > 1:
            raise ValueError("a share of the original model cannot be over 100%")
        return Limit(what, _positive(share), relative=True)
    hint = _share_hint(text, f"{what}=")
    if hint:
        raise ValueError(hint)
    amount = _positive(_READERS[what](text))
    if _READERS[what] is quantities.parse_count and amount <= 1:
        raise ValueError("it must be more than 1")
    return Limit(what, amount, relative=False)


def _seconds(text: str) -> float:
    if text.endswith("%"):
        raise ValueError("the time of a search is a duration, not a share")
    return _positive(quantities.parse_seconds(text))


def _trials(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ValueError("trials must be a whole number below a billion")
    return int(_positive(int(text)))


def _positive(amount: float) -> float:
    if not amount > 0:
        raise ValueError("it must be more than zero")
    if not math.isfinite(amount):
        raise ValueError("it is too large")
    return amount


def _share_hint(text: str, prefix: str = "") -> str:
    """Suggest the percentage if a share was written as a fraction: ``0.5`` instead of ``50%``."""
    try:
        share = float(text)
    except ValueError:
        return ""
    if not 0 < share <= 1:
        return ""
    return f"did you mean {prefix}{quantities.plain(Decimal(repr(share)) * 100)}%?"


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def _error(text: str, reason: str, name: str | None = None) -> BudgetError:
    examples = _ANY_EXAMPLES if name is None else _EXAMPLES[name]
    end = "" if reason.endswith("?") else ";"
    return BudgetError(f"budget {_short(text)} cannot be read: {reason}{end} write for example {examples}")
