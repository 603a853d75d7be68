"""The files of a study's trials.

Names and numbers come from the study, which others may have written, like the files themselves: none of them
can lead out of the folder.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from autoprune.errors import PlanError, StudyError
from autoprune.storages import read_address
from autoprune.structure.plans import AnyPlan, read_plan
from autoprune.utils.contained import ContainedFolder
from autoprune.utils.untrusted import MOST_BYTES

PLAN_ENDING = ".plan.json"
_FOLDER = "autoprune_artifacts"
_PLAIN = re.compile(r"[\w=+%,@ -][\w=+%,@ .-]{0,119}")


def folder_beside(storage: str, name: str) -> ContainedFolder:
    """A folder next to a storage's file; for servers, in the working folder."""
    file = read_address(storage).file
    return ContainedFolder(Path() if file is None else file.parent, (_FOLDER, name))


def study_folder(storage: str, study: str) -> ContainedFolder:
    """The folder of a study's files, named after the study if that is a plain name."""
    return folder_beside(storage, plain_name(study))


def plain_name(text: str) -> str:
    """The text if it is a valid folder name anywhere, else its plain characters and a part of its hash."""
    if _PLAIN.fullmatch(text) and text == text.strip(" ."):
        return text
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9]+', '_', text)[:60]}-{digest}"


def trial_file(number: object, ending: str) -> str:
    """The name of a trial's file. Raises StudyError if the number is invalid."""
    if type(number) is not int or number < 0:
        raise StudyError(f"the study refers to a trial {str(number)[:60]!r}, which is not a number")
    return f"trial-{number}{ending}"


def kept_plan(folder: ContainedFolder, number: object) -> AnyPlan | None:
    """The plan in the file of a trial; None if it is missing or damaged: it can be rebuilt.

    Raises:
        StudyError: the number is invalid, or the folder is a link.
    """
    try:
        with folder.open_file(trial_file(number, PLAN_ENDING)) as file:
            content = file.read(MOST_BYTES + 1)
        return read_plan(content.decode())
    except (OSError, UnicodeDecodeError, PlanError):
        return None
