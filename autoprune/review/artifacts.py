"""Where the files of a study's trials are kept.

Names and numbers come from the study, which others may have written: none of them leads out of the folder.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from autoprune.errors import StudyError
from autoprune.review.storage import folder_beside

_PLAIN = re.compile(r"[\w=+%,@ -][\w=+%,@ .-]{0,119}")


def study_folder(storage: str, study: str) -> Path:
    """The folder of a study's files, called as the study is where that is a plain name."""
    return folder_beside(storage) / plain_name(study)


def plain_name(text: str) -> str:
    """The text if it can be the name of a folder anywhere, else what is left of it and a part of its hash."""
    if _PLAIN.fullmatch(text) and text == text.strip(" ."):
        return text
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9]+', '_', text)[:60]}-{digest}"


def trial_file(folder: Path, number: object, ending: str) -> Path:
    """The file of a trial. Raises StudyError unless the number is one."""
    if type(number) is not int or number < 0:
        raise StudyError(f"the study refers to a trial {str(number)[:60]!r}, which is no number")
    return folder / f"trial-{number}{ending}"
