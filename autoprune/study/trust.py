"""User code runs only if the user names it; being named in a study or a plan is not enough.

A study keeps its settings, and anyone who can write to its storage, or provide a file, can name any function
or program there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autoprune.config.commands import command_line, flag
from autoprune.config.references import Reference, references_in, runnable_of, texts_of
from autoprune.config.settings import Config, load_config
from autoprune.errors import TrustError
from autoprune.utils.untrusted import MOST_TEXT, short


def user_code(settings: Mapping[str, object]) -> dict[str, list[str]]:
    """Setting -> its values that refer to code or to a program outside this package."""
    return _code_of(references_in(settings))


def config_of_study(
    recorded: Mapping[str, Any],
    named: Mapping[str, Any],
    fixed: Mapping[str, Any],
    *,
    trust: bool,
    source: str,
) -> Config:
    """The settings that a study recorded, with the permit to run the code they name.

    Args:
        recorded: read from the study.
        named: settings that the user gave instead.
        fixed: settings that the command always overrides; none of them refers to code.
        trust: whether the user trusts the source.
        source: the origin of the settings, such as ``"study 'resnet'"``.

    Raises:
        TrustError: with the code that the user did not name, and the flags that name it.
        ConfigError: for invalid settings.
    """
    config = load_config(None, {**recorded, **named, **fixed})
    require_trust(config.named, named, trust=trust, source=source)
    return config


def require_trust(
    named: Mapping[str, Sequence[Reference]], given: Mapping[str, object], *, trust: bool, source: str
) -> None:
    """Ensure that the user agreed to run all user code that settings name.

    Args:
        named: setting -> its references, read from a study or a file.
        given: settings from the command line that replace them; None counts as not given.
        trust: whether the user trusts the source.
        source: the origin of the settings, such as ``"study 'resnet'"``.

    Raises:
        TrustError: with the code that the user did not name, and the flags that name it.
    """
    unnamed = {name: texts for name, texts in _code_of(named).items() if not given.get(name)}
    if unnamed and not trust:
        names = ", ".join(f"{name} {short(text)}" for name, texts in unnamed.items() for text in texts)
        flags = command_line(*code_words({name: [str(part) for part in named[name]] for name in unnamed}))
        raise TrustError(
            f"{source} names user code ({names}), which runs only if you allow it: add {flags}, or --trust"
        )


def code_words(settings: Mapping[str, object]) -> tuple[str, ...]:
    """The flags that name the same user code again, as words of a command.

    A flag replaces all values of its setting, so values that refer to no code are included.
    """
    return tuple(
        word
        for name in user_code(settings)
        for text in texts_of(settings[name])
        for word in flag(f"--{name}", text)
    )


def _code_of(named: Mapping[str, Sequence[Reference]]) -> dict[str, list[str]]:
    found = {name: [str(part) for part in parts if _leads_outside(part)] for name, parts in named.items()}
    return {name: texts for name, texts in found.items() if texts}


def _leads_outside(reference: Reference) -> bool:
    return runnable_of(reference) is not None or len(str(reference)) > MOST_TEXT
