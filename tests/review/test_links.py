"""What others put into the folder of a study's files leads nowhere else."""

import json
import os
import uuid
from pathlib import Path

import optuna
import pytest
from handmade_study import create, tell
from optuna.artifacts.exceptions import ArtifactNotFound
from torch import nn

from autoprune.errors import StudyError
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.review import publish
from autoprune.review.publish import PLAN, artifact_store
from autoprune.structure import Plan

CUT = Plan({"0": (0, 2)})
SECRET = "the key of a user"


@pytest.fixture
def url(tmp_path: Path) -> str:
    (tmp_path / "given").mkdir()
    return f"sqlite:///{tmp_path}/given/study.db"


@pytest.fixture
def study() -> optuna.Study:
    made = create(optuna.storages.InMemoryStorage())
    for share in (0.5, 0.4, 0.3):
        tell(made, share, 0.9 + share / 100, plan=f"{CUT.hash}" if share == 0.5 else None)
    return made


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A file of the user's, beside the folder that was handed over."""
    file = tmp_path / "bashrc"
    file.write_text(SECRET)
    return file


def files(tmp_path: Path) -> Path:
    folder = tmp_path / "given" / "autoprune_artifacts" / "digits"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def key(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"digits/{number}/{PLAN}"))


def offered(study: optuna.Study, number: int) -> set[str]:
    known = study._storage.get_study_system_attrs(study._study_id)
    found = [value for name, value in known.items() if name.startswith(f"dashboard:artifacts:{number}:")]
    return {json.loads(meta)["filename"] for meta in found}


def test_a_plan_is_offered_as_it_was_read(study: optuna.Study, url: str, tmp_path: Path) -> None:
    (files(tmp_path) / "trial-0.plan.json").write_text(CUT.to_json() + "\n\n")
    publish(study, url)
    assert PLAN in offered(study, 0)
    with artifact_store(url).open_reader(key(0)) as file:
        assert file.read().decode() == CUT.to_json()


def test_a_link_with_the_name_of_an_artifact_is_replaced(
    study: optuna.Study, url: str, tmp_path: Path, own: Path
) -> None:
    (files(tmp_path) / "trial-0.plan.json").write_text(CUT.to_json())
    hidden = files(tmp_path).parent / ".dashboard"
    hidden.mkdir()
    (hidden / key(0)).symlink_to(own)
    publish(study, url)
    assert own.read_text() == SECRET
    assert not (hidden / key(0)).is_symlink()


@pytest.mark.parametrize("text", ["#!/bin/sh\ntouch x\n", "{}", Plan({"0": (1, 3)}).to_json()])
def test_what_is_not_the_trials_plan_is_not_offered(
    study: optuna.Study, url: str, tmp_path: Path, text: str
) -> None:
    (files(tmp_path) / "trial-0.plan.json").write_text(text)
    publish(study, url)
    assert offered(study, 0) == {"model-card.md"}


def test_a_plan_that_is_a_link_is_not_offered(
    study: optuna.Study, url: str, tmp_path: Path, own: Path
) -> None:
    own.write_text(CUT.to_json())
    (files(tmp_path) / "trial-0.plan.json").symlink_to(own)
    publish(study, url)
    assert offered(study, 0) == {"model-card.md"}


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["link", "hard link"])
def test_a_file_elsewhere_is_not_served(url: str, tmp_path: Path, own: Path, link: object) -> None:
    assert callable(link)
    hidden = files(tmp_path).parent / ".dashboard"
    hidden.mkdir()
    link(own, hidden / key(0))
    with pytest.raises(ArtifactNotFound):
        artifact_store(url).open_reader(key(0))
    with pytest.raises(ArtifactNotFound):
        artifact_store(url).open_reader("../../../bashrc")


@pytest.mark.parametrize("at", ["autoprune_artifacts", "autoprune_artifacts/.dashboard"])
def test_the_dashboards_folder_is_no_link(study: optuna.Study, url: str, tmp_path: Path, at: str) -> None:
    place, elsewhere = tmp_path / "given" / at, tmp_path / "elsewhere"
    elsewhere.mkdir()
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(elsewhere)
    with pytest.raises(StudyError, match="is a link"):
        artifact_store(url)
    with pytest.raises(StudyError, match="is a link"):
        publish(study, url)
    assert list(elsewhere.iterdir()) == []


def test_weights_are_neither_read_nor_written_through_links(url: str, tmp_path: Path, own: Path) -> None:
    store, model = WeightStore.beside(url, "digits"), nn.Linear(2, 2)
    store.save(0, model, CUT)
    given = files(tmp_path)
    for name in ("trial-0.safetensors", "trial-0.plan.json"):
        (given / name).rename(tmp_path / name)
        (given / name).symlink_to(tmp_path / name)
    (given / "original.safetensors").symlink_to(own)
    assert store.plan(0) is None
    assert not store.load(0, model)
    store.save(0, model, CUT)
    store.save_original(model)
    assert own.read_text() == SECRET
    assert store.plan(0) == CUT and store.load(0, model)
    assert not any(file.is_symlink() for file in given.iterdir())


def test_a_study_whose_folder_is_a_link_keeps_no_weights(url: str, tmp_path: Path) -> None:
    folder = files(tmp_path)
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(StudyError, match=r"digits is a link.* replace it with a folder"):
        WeightStore.beside(url, "digits")
