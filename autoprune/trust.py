"""User code runs when the user names it: that a study or a plan names some is no reason to run it.

A study keeps the settings that it was made with, and whoever can write into its storage, or hand over a file,
can put the name of any function or program there.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from autoprune.config import NAMES_CODE
from autoprune.cost.runtimes.command import PREFIX
from autoprune.criteria.cost_aware import split_price
from autoprune.documents import MOST_TEXT, short
from autoprune.errors import CriterionError, TrustError
from autoprune.tasks.reference import is_reference
from autoprune.tasks.sources import NAMED

_OWN = "autoprune.tasks.zoo:"
"""What comes with this package needs no trust."""
_LIBRARIES = {"model": ("torchvision", "timm"), "data": (*NAMED, "imagefolder")}
"""What stands before the colon of a name or a folder rather than of code."""


def user_code(settings: Mapping[str, object]) -> dict[str, list[str]]:
    """Setting -> its texts that lead to code or to a program outside this package."""
    texts = {name: _texts(settings.get(name)) for name in NAMES_CODE}
    found = {name: [text for text in some if _leads_outside(name, text)] for name, some in texts.items()}
    return {name: some for name, some in found.items() if some}


def require_trust(
    settings: Mapping[str, object], given: Mapping[str, object], *, trust: bool, source: str
) -> None:
    """Make sure that the user wants to run all user code that these settings name.

    Args:
        settings: read from a study or a file.
        given: what the user named on the command line, in place of the settings; None counts as not given.
        trust: whether the user trusts the source.
        source: what the settings come from, such as ``"study 'resnet'"``.

    Raises:
        TrustError: naming the code that the user did not name, and how to.
    """
    unnamed = {name: texts for name, texts in user_code(settings).items() if not given.get(name)}
    if unnamed and not trust:
        names = ", ".join(f"{name} {short(text)}" for name, texts in unnamed.items() for text in texts)
        raise TrustError(
            f"{source} names user code ({names}), which runs only if you say so: "
            f"add{code_flags(unnamed)}, or --trust"
        )


def code_flags(settings: Mapping[str, object]) -> str:
    """The flags that name the same user code again, each after a space; empty where there is none."""
    named = user_code(settings).items()
    return "".join(f" --{name} {shlex.quote(text)}" for name, texts in named for text in texts)


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [text for text in value if isinstance(text, str)] if isinstance(value, list | tuple) else []


def _leads_outside(setting: str, text: str) -> bool:
    if len(text) > MOST_TEXT:
        return True
    if setting == "runtime":
        return text.startswith(PREFIX)
    if setting in ("criterion", "mix"):
        text = _base(text)
    if setting in ("metric", "objective"):
        # Noise on the inputs follows the metric.
        text = text.rpartition("@")[0] or text
    if text.partition(":")[0] in _LIBRARIES.get(setting, ()):
        return False
    return is_reference(text) and not text.startswith(_OWN)


def _base(criterion: str) -> str:
    """The criterion without the prices that it is divided by."""
    try:
        while (split := split_price(criterion))[1] is not None:
            criterion = split[0]
    except CriterionError:
        pass
    return criterion
