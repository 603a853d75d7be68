"""Study files in TOML, read without trust in them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from autoprune.config.folder_paths import from_folder
from autoprune.errors import ConfigError
from autoprune.utils.untrusted import read_text, short_line

MOST_BYTES = 1 << 16
"""Size of the largest study file that is read."""
MOST_DOTS = 1000


def read_study_file(path: Path) -> dict[str, Any]:
    """Setting -> its value, paths from the file's folder. Raises ConfigError for what is no such file."""
    if ":" in str(path) and not path.exists():
        raise ConfigError(f"{path} is not a study file: name a model with --model {path}")
    text = read_text(path, "study file", ConfigError, MOST_BYTES)
    # Reading a dotted key takes time that grows with the square of its parts.
    if any(line.count(".") > MOST_DOTS for line in text.splitlines()):
        raise ConfigError(f"{path}: a line has more than {MOST_DOTS} dots: no setting needs that")
    try:
        content = tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{path}: not valid TOML: it is nested too deeply") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not valid TOML: {short_line(error)}") from None
    settings: dict[str, Any] = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name in settings:
            raise ConfigError(f"{path}: {name} is given twice, with - and with _: keep one of them")
        settings[name] = from_folder(name, value, path.parent)
    return settings
