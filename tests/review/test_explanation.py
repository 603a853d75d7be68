from __future__ import annotations

import io
import json
from pathlib import Path

import optuna
import pytest
from handmade_study import create, tell
from rich.console import Console
from typer.testing import CliRunner

from autoprune import review
from autoprune.cli import app
from autoprune.errors import StudyError
from autoprune.review.figures import pictures

GROUPS = {"stem": 16, "block.1": 32, "block.2": 32, "head": 8}


@pytest.fixture
def study(url: str) -> optuna.Study:
    """Ten trials with coefficients of three parameters, of which one is shared by two groups."""
    made = create(optuna.storages.RDBStorage(url))
    record = made.user_attrs["autoprune"]
    ties = {"stem": ["stem"], "block.1 to block.2": ["block.1", "block.2"], "head": ["head"]}
    config = {"criterion": "l2", "mix": ["taylor"]}
    made.set_user_attr("autoprune", record | {"groups": GROUPS, "ties": ties, "config": config})
    points = {"stem": {"4": 2.0, "8": 1.0}, "block.1": {"8": 0.2}, "block.2": {"8": None}, "head": {}}
    made.set_user_attr("sensitivity", {"points": points, "seconds": 1.0})
    for number in range(10):
        widths = {name: max(1, width * (number + 1) // 10) for name, width in GROUPS.items()}
        mixture = {name: {"l2": 1.0, "taylor": 3.0} for name in GROUPS}
        add(made, number, widths, {"mixture": mixture})
    return made


def add(study: optuna.Study, number: int, widths: dict[str, int], more: dict[str, object]) -> None:
    trial = study.ask()
    trial.suggest_float("stem", 0.5, 2.0)
    trial.suggest_float("block.1 to block.2", 0.5, 2.0)
    trial.suggest_float("head", 0.5, 2.0)
    known = {"widths": widths, "plan": f"plan {number}", "origin": "sampler", "parameters": 1, "size": 4}
    flops = 31_000_000 * (number + 1) // 20
    for key, value in (known | {"flops": flops, "flops_ratio": flops / 31e6} | more).items():
        trial.set_user_attr(key, value)
    study.tell(trial, [0.5 + 0.04 * number, flops])


def test_what_a_trial_says_of_each_group(study: optuna.Study) -> None:
    told = review.explain(study)
    trial = study.trials[told.trial]
    assert (told.trial, told.origin, told.metric) == (9, "sampler", "accuracy")
    stem, first, second, head = told.groups
    assert (stem.width, stem.kept, stem.losses) == (16, 16, {4: 2.0, 8: 1.0})
    assert stem.at_half == pytest.approx(1.0, abs=0.05)
    assert stem.scale == trial.params["stem"]
    assert first.scale == second.scale == trial.params["block.1 to block.2"]
    assert stem.criteria == {"l2": 0.25, "taylor": 0.75}
    assert head.at_half is None
    # A cut whose output was not finite is worse than any that was.
    assert [item.group for item in told.by_sensitivity] == ["block.2", "stem", "block.1", "head"]
    assert told.importances is not None
    assert sum(told.importances.shares.values()) == pytest.approx(1)
    other = review.explain(study, 2)
    assert other.groups[0].kept == 4
    for number in (-1, 10):
        with pytest.raises(StudyError, match="was not evaluated"):
            review.explain(study, number)


def test_plans_without_coefficients_have_none(study: optuna.Study) -> None:
    add(study, 10, GROUPS, {"origin": "uniform"})
    add(study, 11, GROUPS, {"origin": "exact by sensitivity"})
    assert {item.scale for item in review.explain(study, 10).groups} == {None}
    assert {item.criteria["l2"] for item in review.explain(study, 11).groups} == {1.0}
    assert {item.scale for item in review.explain(study, 11).groups} == {1.0}


def test_table_and_json_on_the_command_line(study: optuna.Study, url: str) -> None:
    shown = CliRunner().invoke(app, ["explain", "--storage", url])
    assert shown.exit_code == 0, shown.output
    for word in (
        "digits: what trial 9 (sampler) learned about 4 groups",
        "loss at half",
        "taylor 75%",
        "hint",
    ):
        assert word in shown.stdout
    told = CliRunner().invoke(app, ["explain", "--storage", url, "--trial", "3", "--json"])
    document = json.loads(told.stdout)
    assert document["trial"] == 3
    assert document["groups"][0]["losses"] == {"4": 2.0, "8": 1.0}
    assert set(document["importances"]["shares"]) == set(GROUPS)
    missing = CliRunner().invoke(app, ["explain", "--storage", url, "--trial", "99"])
    assert missing.exit_code == 2


def test_pictures_and_a_section_of_the_report(study: optuna.Study, url: str, tmp_path: Path) -> None:
    drawn = {picture.name: picture for picture in pictures(study)}
    assert {"sensitivity", "criterion", "mixture"} <= set(drawn)
    assert "Pruning block.2 costs most" in drawn["sensitivity"].alt
    for name in ("sensitivity", "criterion", "mixture"):
        text = drawn[name].figure.to_json()
        assert len(text) < 20_000
        assert "bdata" not in text
    review.write_report(study, url, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert '<h2 id="learned">What was learned</h2>' in text
    assert ">block.2</td>" in text


def test_a_page_on_one_trial(study: optuna.Study, url: str, tmp_path: Path) -> None:
    file = tmp_path / "explained.html"
    command = ["explain", "--storage", url, "--trial", "3", "--json", "-o", str(file)]
    told = CliRunner().invoke(app, command)
    assert json.loads(told.stdout)["trial"] == 3
    text = file.read_text()
    assert "what trial 3 (sampler) learned about 4 groups" in text
    for title in ("Criterion of trial 3", "What ranks the units in trial 3", "Sensitivity of the groups"):
        assert title in text
    for name in ("sensitivity", "criterion", "mixture", "importances"):
        assert f'id="data-{name}"' in text
    said = CliRunner().invoke(app, ["explain", "--storage", url, "-o", str(file)])
    assert f"wrote {file}" in "".join(said.stdout.splitlines())
    nowhere = CliRunner().invoke(app, ["explain", "--storage", url, "-o", str(tmp_path / "no" / "x.html")])
    assert nowhere.exit_code == 2


def test_order_by_sparse_training_goes_by_its_method(study: optuna.Study) -> None:
    record = study.user_attrs["autoprune"]
    groups = record["groups"] | {"a block": 1}
    config = {"criterion": "l2", "mix": ["taylor"], "sparsify": "hard-concrete"}
    study.set_user_attr("autoprune", record | {"groups": groups, "config": config})
    add(study, 10, GROUPS, {"origin": "uniform"})
    mixture = {name: {"sparsified": 1.0, "taylor": 3.0} for name in GROUPS}
    add(study, 11, GROUPS, {"mixture": mixture})
    *several, block = review.explain(study, 10).groups
    assert [item.criteria for item in several] == [{"hard-concrete training": 1.0}] * 4
    assert block.criteria == {}
    assert review.explain(study, 11).groups[0].criteria == {"hard-concrete training": 0.25, "taylor": 0.75}


def test_a_study_of_before_is_explained_as_far_as_it_goes(url: str) -> None:
    study = create(optuna.storages.RDBStorage(url))
    tell(study, 0.5, 0.9)
    told = review.explain(study)
    assert told.importances is None
    assert [item.at_half for item in told.groups] == [None]
    shown = io.StringIO()
    Console(file=shown, width=80).print(review.explanation_table(told))
    assert "what trial 0 (sampler) learned about 1 groups" in shown.getvalue()
    assert not {"sensitivity", "criterion", "mixture"} & {picture.name for picture in pictures(study)}
