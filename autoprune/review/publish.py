"""Update what Optuna Dashboard shows of a study: notes, figures and files."""

from __future__ import annotations

import io
import json
import os
import uuid
from dataclasses import dataclass
from typing import BinaryIO

import optuna
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import FrozenTrial

from autoprune.errors import DiskError
from autoprune.export.card import findings_text
from autoprune.review.card import card_of
from autoprune.review.words import study_text, trial_text
from autoprune.storages.optuna_private import storage_of, study_id_of, trial_id_of
from autoprune.study.artifacts import folder_beside, kept_plan, study_folder
from autoprune.study.attributes import attributes_of, trials_of
from autoprune.study.front import front_trials
from autoprune.study.notes import Notes, is_marked
from autoprune.study.picks import picked
from autoprune.utils.atomic_files import why_not_written
from autoprune.utils.contained import ContainedFolder

CARD, PLAN = "model-card.md", "plan.json"
_STORE = ".dashboard"
"""Folder of the files; hidden, so that it cannot clash with the folder of a study."""


@dataclass(frozen=True)
class ArtifactFolder:
    """An artifact store for Optuna that follows no links, because others may have written to the folder.

    Optuna's own store writes through links and serves their targets.

    Attributes:
        folder: where the files are.
    """

    folder: ContainedFolder

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open a file of the folder. Raises ArtifactNotFound if it is missing or has other hard links."""
        try:
            file = self.folder.open_file(artifact_id)
        except (OSError, ValueError) as error:
            raise ArtifactNotFound(f"there is no artifact {artifact_id!r}") from error
        if os.fstat(file.fileno()).st_nlink != 1:
            file.close()
            raise ArtifactNotFound(f"the artifact {artifact_id!r} has other hard links")
        return file

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write a file, replacing a link of that name. Raises DiskError if it cannot be written."""
        try:
            self.folder.replace(artifact_id, content_body.read())
        except OSError as error:
            place = self.folder.path / artifact_id
            raise DiskError(f"cannot write {place} {why_not_written(error)}") from error

    def remove(self, artifact_id: str) -> None:
        """Delete a file. Raises ArtifactNotFound when it is missing."""
        try:
            self.folder.remove(artifact_id)
        except (OSError, ValueError) as error:
            raise ArtifactNotFound(f"there is no artifact {artifact_id!r}") from error


def artifact_store(storage: str) -> ArtifactFolder:
    """The store of the files that the dashboard offers, for all studies of a storage.

    Raises:
        StudyError: the folder is a link.
    """
    folder = folder_beside(storage, _STORE)
    folder.check()
    return ArtifactFolder(folder)


def publish(study: optuna.Study, storage: str) -> None:
    """Write the study's note and figures, and a note and files for each trial on the front or picked.

    Text that users added to notes is kept. It is safe to call this repeatedly.

    Raises:
        StudyError: the study was not made by autoprune.
    """
    chosen = {trial.number: trial for trial in front_trials(study)}
    notes, trials = Notes(study), trials_of(study)
    chosen |= {trial.number: trial for trial in trials if trial.values and is_marked(notes.of(trial))}
    for trial in chosen.values():
        notes.write(trial_text(study, storage, trial), trial)
        _attach(study, storage, trial)
    write_study_note(study, storage)
    _save_pictures(study)


def write_study_note(study: optuna.Study, storage: str) -> None:
    """Rewrite the study's note with the currently picked trials."""
    Notes(study).write(study_text(study, storage, picked(study)))


def _save_pictures(study: optuna.Study) -> None:
    # Imported here because Plotly is slow to import and most commands draw nothing.
    from optuna_dashboard import save_plotly_graph_object

    from autoprune.review.figures import pictures, with_title

    for picture in pictures(study):
        save_plotly_graph_object(study, with_title(picture), graph_object_id=picture.name)


def _attach(study: optuna.Study, storage: str, trial: FrozenTrial) -> None:
    """Attach the plan and the model card to the trial's page, replacing earlier versions."""
    files = {CARD: ("text/markdown", (findings_text(card_of(study, trial)) + "\n").encode())}
    known = attributes_of(trial)
    number = trial.number if known.duplicate_of is None else known.duplicate_of
    plan = kept_plan(study_folder(storage, study.study_name), number)
    if plan is not None and plan.hash == known.plan:
        files[PLAN] = ("application/json", plan.to_json().encode())
    store = artifact_store(storage)
    for name, (kind, content) in files.items():
        key = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{study.study_name}/{trial.number}/{name}"))
        store.write(key, io.BytesIO(content))
        meta = {"artifact_id": key, "filename": name, "mimetype": kind, "encoding": None}
        # Optuna's own upload writes to the trial, which is finished; the dashboard reads this place too.
        place = f"dashboard:artifacts:{trial_id_of(trial)}:{key}"
        storage_of(study).set_study_system_attr(study_id_of(study), place, json.dumps(meta))
