"""The command-line flags, generated from the settings so that each has one name and one description."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typer

from autoprune.cli.completion import completer
from autoprune.config.settings import NAMES_CODE, Config

EXAMPLES = "Examples:"
MODEL_SETTINGS = ("model", "weights", "data")
"""Settings of every command that takes a model."""
TRAINING_SETTINGS = ("train_epochs", "train_lr", "train_batch_size")
"""Settings of commands that can train a model without weights."""
RECORDED_SETTINGS = (*MODEL_SETTINGS, *(name for name in NAMES_CODE if name not in MODEL_SETTINGS))
"""Settings of commands on a recorded study: where model, weights and data are now, and which code may run."""
_METAVARS = {str: "TEXT", list[str]: "TEXT", int: "N", float: "X"}

Command = TypeVar("Command", bound=Callable[..., None])


def with_settings(*names: str) -> Callable[[Command], Command]:
    """Add these settings (all, if none is named) to a command as flags.

    The decorated function receives them as keyword arguments; None for a flag that was not given.
    """
    chosen = names or tuple(Config.model_fields)

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        flags = [_flag(name) for name in chosen]
        command.__signature__ = signature.replace(parameters=[*own, *flags])  # type: ignore[attr-defined]
        return command

    return decorate


def _flag(name: str) -> inspect.Parameter:
    field = Config.model_fields[name]
    extra = field.json_schema_extra
    assert isinstance(extra, dict), name
    kind = _flag_type(field.annotation)
    option = typer.Option(
        help=field.description,
        rich_help_panel=str(extra["panel"]),
        metavar=_METAVARS.get(kind),
        autocompletion=completer(name),
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, option],
    )


def _flag_type(annotation: Any) -> Any:
    """The type that typer parses; the settings validate the value."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return str
    if origin is tuple:
        return list[str]
    if origin in (Union, UnionType):
        return _flag_type(next(part for part in inner if part is not type(None)))
    if origin is Annotated:
        return _flag_type(inner[0])
    return annotation


def examples(*commands: str) -> str:
    """The examples below a command's help."""
    return "\n".join([EXAMPLES, *(f"  autoprune {command}" for command in commands)])
