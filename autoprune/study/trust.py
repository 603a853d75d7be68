"""User code runs when the user names it: that a study or a plan names some is no reason to run it.

A study keeps the settings that it was made with, and whoever can write into its storage, or hand over a file,
can put the name of any function or program there.
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
    """Setting -> its texts that lead to code or to a program outside this package."""
    return _code_of(references_in(settings))


def config_of_study(
    recorded: Mapping[str, Any],
    named: Mapping[str, Any],
    fixed: Mapping[str, Any],
    *,
    trust: bool,
    source: str,
) -> Config:
    """The settings that a study recorded, with the permit to run what they name: nothing else gives it.

    Args:
        recorded: read from the study.
        named: what the user named in place of these settings.
        fixed: what this command sets in any case, none of which leads to code.
        trust: whether the user trusts the source.
        source: what the settings come from, such as ``"study 'resnet'"``.

    Raises:
        TrustError: naming the code that the user did not name, and how to.
        ConfigError: for settings that cannot be read.
    """
    config = load_config(None, {**recorded, **named, **fixed})
    require_trust(config.named, named, trust=trust, source=source)
    return config


def require_trust(
    named: Mapping[str, Sequence[Reference]], given: Mapping[str, object], *, trust: bool, source: str
) -> None:
    """Make sure that the user wants to run all user code that settings name.

    Args:
        named: setting -> what it names, read from a study or a file.
        given: what the user named on the command line, in place of the settings; None counts as not given.
        trust: whether the user trusts the source.
        source: what the settings come from, such as ``"study 'resnet'"``.

    Raises:
        TrustError: naming the code that the user did not name, and how to.
    """
    unnamed = {name: texts for name, texts in _code_of(named).items() if not given.get(name)}
    if unnamed and not trust:
        names = ", ".join(f"{name} {short(text)}" for name, texts in unnamed.items() for text in texts)
        flags = command_line(*code_words({name: [str(part) for part in named[name]] for name in unnamed}))
        raise TrustError(
            f"{source} names user code ({names}), which runs only if you say so: add {flags}, or --trust"
        )


def code_words(settings: Mapping[str, object]) -> tuple[str, ...]:
    """The flags that name the same user code again, as words of a command.

    A flag takes the place of all that the setting names, so that the names without code are there as well.
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
