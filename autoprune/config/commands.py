"""Command lines for people to copy: the one place that makes them, so that every value in them is quoted."""

from __future__ import annotations

import re
import shlex

from autoprune.config.settings import Config
from autoprune.utils.redact import without_passwords

_PLAIN = re.compile(r"[^\W_]|[ -~]")


def command_line(*words: str | int) -> str:
    """Words as a shell reads them back, whatever is in them: on one line, without control characters."""
    return " ".join(_quoted(str(word)) for word in words)


def autoprune_command(name: str, *words: str | int) -> str:
    """The command ``autoprune NAME WORDS...``, to be copied into a shell."""
    return command_line("autoprune", name, *words)


def flag(name: str, value: str | int) -> tuple[str, ...]:
    """The words of a flag with a value, which stays a value where it begins with ``-``."""
    text = str(value)
    return (f"{name}={text}",) if text.startswith("-") else (name, text)


def storage_words(storage: str) -> tuple[str, ...]:
    """The words that name a storage, without its password; none for the default one."""
    # Read from the settings' class: the default must not be said twice.
    default: str = Config.model_fields["storage"].default
    return () if storage == default else flag("--storage", without_passwords(storage))


def is_plain(word: str) -> bool:
    """Whether a shell reads a word as it stands, without quotes."""
    return _quoted(word) == word


def _quoted(word: str) -> str:
    # Messages are brought to one line, which would join spaces.
    if "  " not in word and all(map(_PLAIN.fullmatch, word)):
        return shlex.quote(word)
    escaped = "".join(map(_escaped, word))
    return "$'" + re.sub(" {2,}", lambda spaces: "\\040" * len(spaces[0]), escaped) + "'"


def _escaped(character: str) -> str:
    """A character between ``$'`` and ``'``, as bash, zsh and POSIX 2024 read it."""
    if character in "\\'":
        return f"\\{character}"
    if _PLAIN.fullmatch(character):
        return character
    encoded = character.encode("utf-8", "surrogateescape" if "\udc80" <= character <= "\udcff" else "replace")
    return "".join(f"\\{byte:03o}" for byte in encoded)
