from pathlib import Path

import pytest

from autoprune.errors import StudyError
from autoprune.study.artifacts import plain_name, study_folder, trial_file


@pytest.mark.parametrize("name", ["resnet", "digits_resnet-digits-flops=50pct", "größe 1", "a.b", "x" * 120])
def test_plain_names_stay(name: str) -> None:
    assert plain_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../up", "/etc/passwd", "a/b", "a\\b", ".dashboard", "-", "nul\0", "two\nlines"),
        *("dot.", " space", "space ", "x" * 121, "x" * 5000, "\ud800", "C:", "~", "$HOME", "%", "*"),
    ],
)
def test_no_name_leads_elsewhere(name: str) -> None:
    folder = study_folder("sqlite:////data/study.db", name).path
    assert folder.parent == Path("/data/autoprune_artifacts")
    assert folder.resolve().parent == Path("/data/autoprune_artifacts")
    assert 0 < len(folder.name) <= 120
    assert not folder.name.startswith(".")


def test_names_that_have_to_change_do_not_meet() -> None:
    names = ["a/b", "a_b", "a\\b", "a:b", "../a/b", "A/B"]
    assert len({plain_name(name).casefold() for name in names}) == len(names)


@pytest.mark.parametrize("number", ["../../x", "3", 3.0, True, -1, None, [1]])
def test_a_number_of_a_trial_is_one(number: object) -> None:
    with pytest.raises(StudyError, match="not a number"):
        trial_file(number, ".plan.json")


def test_files_are_called_after_their_trial() -> None:
    assert trial_file(7, ".plan.json") == "trial-7.plan.json"
