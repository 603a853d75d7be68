"""Bringing what Optuna Dashboard shows of a study up to date: notes, pictures and files."""

from __future__ import annotations

import io
import json
import uuid

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.trial import FrozenTrial

from autoprune.export.card import findings_text
from autoprune.review.artifacts import study_folder, trial_file
from autoprune.review.card import card_of
from autoprune.review.front import front_trials
from autoprune.review.notes import Notes, is_marked
from autoprune.review.picks import picked
from autoprune.review.states import DUPLICATE_OF
from autoprune.review.storage import folder_beside
from autoprune.review.words import study_text, trial_text

CARD, PLAN = "model-card.md", "plan.json"
_STORE = ".dashboard"
"""Folder of the files, hidden beside those that are called as studies are."""


def artifact_store(storage: str) -> FileSystemArtifactStore:
    """Where the files that the dashboard offers are kept, for all studies of a storage."""
    folder = folder_beside(storage) / _STORE
    folder.mkdir(parents=True, exist_ok=True)
    return FileSystemArtifactStore(folder)


def publish(study: optuna.Study, storage: str) -> None:
    """Write the study's note and pictures, and a note and files for each trial of the front or picked.

    What readers wrote into notes stays. May be repeated at any time.

    Raises:
        StudyError: the study was not made by autoprune.
    """
    chosen = {trial.number: trial for trial in front_trials(study)}
    notes, trials = Notes(study), study.get_trials(deepcopy=False)
    chosen |= {trial.number: trial for trial in trials if trial.values and is_marked(notes.of(trial))}
    for trial in chosen.values():
        notes.write(trial_text(study, storage, trial), trial)
        _attach(study, storage, trial)
    write_study_note(study, storage)
    _save_pictures(study)


def write_study_note(study: optuna.Study, storage: str) -> None:
    """Write the study's note anew, with the trials that are picked now."""
    Notes(study).write(study_text(study, storage, picked(study)))


def _save_pictures(study: optuna.Study) -> None:
    # Imported here: Plotly takes a while, and most commands draw nothing.
    from optuna_dashboard import save_plotly_graph_object

    from autoprune.review.figures import pictures, with_title

    for picture in pictures(study):
        save_plotly_graph_object(study, with_title(picture), graph_object_id=picture.name)


def _attach(study: optuna.Study, storage: str, trial: FrozenTrial) -> None:
    """Offer the plan and the model card on the trial's page; what is there already is replaced."""
    files = {CARD: ("text/markdown", (findings_text(card_of(study, trial)) + "\n").encode())}
    number = trial.user_attrs.get(DUPLICATE_OF, trial.number)
    plan = trial_file(study_folder(storage, study.study_name), number, ".plan.json")
    if plan.is_file():
        files[PLAN] = ("application/json", plan.read_bytes())
    store = artifact_store(storage)
    for name, (kind, content) in files.items():
        key = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{study.study_name}/{trial.number}/{name}"))
        store.write(key, io.BytesIO(content))
        meta = {"artifact_id": key, "filename": name, "mimetype": kind, "encoding": None}
        # Optuna's own upload writes to the trial, which no longer takes any; the dashboard looks here too.
        place = f"dashboard:artifacts:{trial._trial_id}:{key}"
        study._storage.set_study_system_attr(study._study_id, place, json.dumps(meta))
