from __future__ import annotations

import optuna
import pytest
from handmade_study import create, fill
from typer.testing import CliRunner

from autoprune.cli import app
from autoprune.errors import StudyError
from autoprune.review import pick, picked, publish, unpick
from autoprune.study.notes import FENCE, Notes, is_marked, marked, merged, unmarked
from autoprune.study.open import open_study


@pytest.fixture
def study(url: str) -> optuna.Study:
    made = create(optuna.storages.RDBStorage(url))
    fill(made)
    return made


def note(study: optuna.Study, number: int | None = None) -> str:
    return Notes(study).of(None if number is None else study.trials[number])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#export", True),
        ("good one\n\n#export please", True),
        ("#Export", True),
        ("write `#export` here", False),
        ("##export", False),
        ("#exported", False),
        ("see x#export", False),
        ("", False),
    ],
)
def test_what_marks_a_trial(text: str, expected: bool) -> None:
    assert is_marked(text) is expected


def test_marks_come_and_go() -> None:
    assert marked("") == "#export\n"
    assert marked("#export now") == "#export now"
    assert not is_marked(unmarked(marked("mine")))
    assert unmarked(marked("mine")).strip() == "mine"


def test_the_readers_part_of_a_note_stays() -> None:
    first = merged("ours", "")
    assert first.startswith("ours") and FENCE in first
    second = merged("new", first + "mine #export\n")
    assert second.startswith("new") and second.endswith("mine #export\n")
    assert merged("new", second) == second


def test_a_note_that_was_there_before_becomes_the_readers_part() -> None:
    assert merged("ours", "mine").endswith(f"{FENCE}\n\nmine\n")


def test_a_mark_above_the_line_is_not_lost() -> None:
    edited = "#export\n" + merged("ours", "mine")
    assert is_marked(merged("new", edited))


def test_the_studys_note_tells_what_it_is_and_how_to_export(study: optuna.Study, url: str) -> None:
    publish(study, url)
    text = note(study)
    for part in (
        "**Model**: `digits_resnet`",
        "**Budget**: flops 18.6M, latency 1.50 ms",
        "8 evaluated, 1 over budget, 1 failed",
        "| best | 6 | 96.00% ±0.90 | 95.50% |",
        f"autoprune export --best --storage {url} --study digits -o best/",
        "ignores the budget",
        "**Picked**: none",
    ):
        assert part in text


def test_trials_of_the_front_say_what_was_cut(study: optuna.Study, url: str) -> None:
    publish(study, url)
    text = note(study, 1)
    assert "| `layer1` | 16 | 8 |" in text
    assert "| accuracy (validation) | 0.9700 | 0.9400 | -0.0300 |" in text
    assert "autoprune export --trial 1" in text
    assert note(study, 2) == ""
    assert picked(study) == []


def test_a_mark_in_a_note_picks_and_the_study_shows_it(study: optuna.Study, url: str) -> None:
    publish(study, url)
    notes = Notes(study)
    notes.replace(note(study, 5) + "\n#export\n", study.trials[5])
    assert picked(study) == [5]
    pick(study, [1])
    publish(study, url)
    assert picked(study) == [1, 5]
    assert "**Picked**: trial 1, trial 5" in note(study)
    unpick(study, [5])
    assert picked(study) == [1]


def test_a_picked_trial_that_is_not_on_the_front_gets_its_note(study: optuna.Study, url: str) -> None:
    pick(study, [2])
    publish(study, url)
    assert "## Trial 2 (sampler)" in note(study, 2)
    assert picked(study) == [2]


@pytest.mark.parametrize(("number", "says"), [(3, "was not evaluated"), (99, "there is no trial 99")])
def test_only_evaluated_trials_can_be_picked(study: optuna.Study, number: int, says: str) -> None:
    with pytest.raises(StudyError, match=says):
        pick(study, [1, number])
    assert picked(study) == []


def test_publishing_again_changes_nothing(study: optuna.Study, url: str) -> None:
    publish(study, url)
    before = study._storage.get_study_system_attrs(study._study_id)
    publish(study, url)
    assert study._storage.get_study_system_attrs(study._study_id) == before


def test_the_command_marks_lists_and_takes_back(study: optuna.Study, url: str) -> None:
    def call(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["pick", *arguments, "--storage", url])
        assert result.exit_code == 0, result.output
        return result.stdout

    assert call("6", "1") == "picked in digits: 1, 6\n"
    assert call("--remove", "1") == "picked in digits: 6\n"
    assert call() == "picked in digits: 6\n"
    assert "**Picked**: trial 6" in note(open_study(url, None))
