"""Options of a criterion, written behind its name: ``group-norm:p=1,reduce=max``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

from autoprune.config.references import Named
from autoprune.errors import CriterionError
from autoprune.utils.suggest import did_you_mean


def options_of(criterion: Named) -> dict[str, str]:
    """The options of ``name:key=value,key=value``; none without a colon.

    Raises CriterionError for an option without a value, or given twice.
    """
    spec, options = str(criterion), dict[str, str]()
    if criterion.argument is None:
        return options
    for text in criterion.argument.split(","):
        key, sign, value = (part.strip() for part in text.partition("="))
        if not key or not sign or not value:
            raise CriterionError(f"criterion {spec!r}: write options as {criterion.name}:key=value,key=value")
        if key in options:
            raise CriterionError(f"criterion {spec!r}: {key} is given twice, keep one of them")
        options[key] = value
    return options


def with_options(name: str, target: Callable[..., Any], options: dict[str, str]) -> Any:
    """An object of a dataclass whose fields have these values.

    Raises CriterionError for a target that takes no options, an unknown option, or a value out of bounds.
    """
    fields = [f.name for f in dataclasses.fields(target)] if dataclasses.is_dataclass(target) else []
    if not fields:
        raise CriterionError(f"criterion {name} takes no options: write {name} alone")
    unknown = next((key for key in options if key not in fields), None)
    if unknown is not None:
        hint = did_you_mean(unknown, fields, ":")
        raise CriterionError(f"criterion {name} has no option {unknown}{hint} there are {', '.join(fields)}")
    kinds = get_type_hints(target)
    return target(**{key: _read(name, key, text, kinds[key]) for key, text in options.items()})


def check_choice(key: str, value: str, choices: Sequence[str]) -> None:
    """Raise CriterionError unless the value of an option is one of the choices."""
    if value not in choices:
        hint = did_you_mean(value, choices)
        raise CriterionError(f"{key}={value}: use one of {', '.join(choices)}{hint}")


def _read(name: str, key: str, text: str, kind: Any) -> object:
    if kind not in (int, float):
        return text
    try:
        return kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise CriterionError(f"criterion {name}: {key}={text} is not {wanted}") from None
