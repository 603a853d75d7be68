"""What is said of a setting that cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from autoprune.utils.arguments import described
from autoprune.utils.suggest import did_you_mean

_SHOWN = 60


def explain(key: str, error: Mapping[str, Any], fields: Mapping[str, FieldInfo]) -> str:
    """What is wrong with one setting, in one line with what is allowed.

    Args:
        key: the setting.
        error: as pydantic gives it.
        fields: all settings by name.
    """
    if error["type"] == "extra_forbidden":
        names = tuple(fields)
        return f"unknown setting {_short(key)}" + did_you_mean(key, names, f": there are {', '.join(names)}")
    given = f"{key} = {_short(error['input'])}"
    if error["type"] == "literal_error":
        annotation = fields[key].annotation
        choices = _choices(annotation)
        return f"{given}: use one of {', '.join(choices)}" + did_you_mean(str(error["input"]), choices)
    if error["type"] == "string_type" and callable(error["input"]):
        registered = ", or the one it has by register_criterion" if key == "criterion" else ""
        return (
            f"{key} is {described(error['input'])}: give its name as a string, path/file.py:name{registered}"
        )
    reason = str(error["msg"]).removeprefix("Value error, ").splitlines()[0]
    return f"{given}: {reason[0].lower()}{reason[1:]}"


def _choices(annotation: object) -> tuple[str, ...]:
    """The words of a literal type, which may be optional."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next((words for part in get_args(annotation) if (words := _choices(part))), ())


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
