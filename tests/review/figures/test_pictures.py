from __future__ import annotations

import json

import optuna
import pytest
from handmade_study import create, fill, tell

from autoprune.errors import StudyError
from autoprune.review.figures import front_picture, pictures, with_title
from autoprune.study.importances import importances


@pytest.fixture(scope="module")
def study(studied: str) -> optuna.Study:
    return optuna.load_study(study_name="digits", storage=studied)


def traces(figure) -> dict[str, object]:
    return {trace.name: trace for trace in figure.data}


def test_every_picture_has_named_axes_and_says_what_it_shows(study: optuna.Study) -> None:
    drawn = {picture.name: picture for picture in pictures(study)}
    assert list(drawn) == ["front-flops", "front-latency", "hypervolume", "widths", "importances"]
    for picture in drawn.values():
        assert picture.figure.layout.xaxis.title.text and picture.figure.layout.yaxis.title.text
        assert picture.title and len(picture.alt) > 40
        assert with_title(picture).layout.title.text == picture.title


def test_pictures_are_small_and_hold_plain_lists(study: optuna.Study) -> None:
    for picture in pictures(study):
        text = picture.figure.to_json()
        assert len(text) < 20_000
        assert "bdata" not in text


def test_the_front_is_the_feasible_one_with_intervals_limit_and_original_model(study: optuna.Study) -> None:
    picture = front_picture(study, "flops")
    assert picture is not None
    drawn = traces(picture.figure)
    front = drawn["front"]
    assert list(front.x) == [2_790_000, 7_750_000, 15_500_000, 17_980_000]
    assert list(front.y) == [0.5, 0.91, 0.94, 0.96]
    assert front.error_y.array == pytest.approx([1.96 * 0.009] * 4)
    assert (list(drawn["original model"].x), list(drawn["original model"].y)) == ([31_000_000], [0.97])
    assert list(drawn["best within the budget"].y) == [0.96]
    (limit,) = picture.figure.layout.shapes
    assert limit.x0 == pytest.approx(0.6 * 31_000_000)
    assert "4 points on the front, from 50.00% at 2.79e+06" in picture.alt


def test_latency_intervals_are_those_of_the_ratio_in_milliseconds(study: optuna.Study) -> None:
    picture = front_picture(study, "latency")
    assert picture is not None
    front = traces(picture.figure)["front"]
    assert list(front.x) == pytest.approx([0.18, 0.5, 1.0])
    assert list(front.error_x.array) == pytest.approx([0.04] * 3)
    assert picture.figure.layout.shapes[0].x0 == pytest.approx(1.5)


def test_intervals_that_trials_have_are_taken_before_the_standard_error(url: str) -> None:
    study = create(optuna.storages.RDBStorage(url))
    tell(study, 0.5, 0.94, more={"quality_low": 0.90, "quality_high": 0.95})
    picture = front_picture(study, "flops")
    assert picture is not None
    bars = traces(picture.figure)["front"].error_y
    assert (list(bars.array), list(bars.arrayminus)) == (pytest.approx([0.01]), pytest.approx([0.04]))


def test_the_hypervolume_never_falls_and_ends_at_all(study: optuna.Study) -> None:
    picture = {picture.name: picture for picture in pictures(study)}["hypervolume"]
    (line,) = picture.figure.data
    assert list(line.y) == sorted(line.y)
    assert line.y[-1] == 1
    assert list(line.x) == sorted(line.x)


def test_the_heat_map_shows_shares_of_units_with_the_cheapest_trial_first(study: optuna.Study) -> None:
    picture = {picture.name: picture for picture in pictures(study)}["widths"]
    (map_,) = picture.figure.data
    assert list(map_.x) == ["8", "5", "1", "6"]
    assert [list(row) for row in map_.z] == [[1 / 16, 4 / 16, 8 / 16, 9 / 16]]


def test_the_group_that_decides_is_the_most_important(url: str) -> None:
    study = create(optuna.storages.RDBStorage(url))
    record = study.user_attrs["autoprune"] | {"groups": {"idle": 16, "decides": 16}}
    study.set_user_attr("autoprune", record)
    for number in range(16):
        widths = {"idle": 1 + 5 * number % 16, "decides": 1 + number % 8}
        tell(study, 0.5, 0.5 + number % 8 / 20, more={"widths": widths})
    found = importances(study)
    assert found is not None
    assert next(iter(found.shares)) == "decides"
    assert found.shares["decides"] > 0.8
    assert (found.trials, found.sampled) == (16, 1.0)
    assert found.predicted > 0.5
    assert "treat them as a hint" in found.caveat


def test_predictions_stages_and_importances_are_drawn_where_they_are_known(url: str) -> None:
    study = create(optuna.storages.RDBStorage(url))
    for number in range(10):
        more = {"latency_predicted": 0.1 + 0.055 * number, "seconds": {"finetune": 2.0, "cut": 0.1}}
        tell(study, 0.1 + 0.05 * number, 0.8 + 0.01 * number, more=more)
    drawn = {picture.name: picture for picture in pictures(study)}
    assert {"latency", "stages", "importances"} <= set(drawn)
    assert "Most of the time, 95%, went into fine-tuning." in drawn["stages"].alt
    assert [trace.name for trace in drawn["stages"].figure.data] == ["pruning", "fine-tuning"]
    assert drawn["stages"].figure.layout.barmode == "stack"
    trials = traces(drawn["latency"].figure)["trial"]
    assert len(trials.x) == 10 and trials.y[0] == pytest.approx(0.1)


def test_a_study_without_trials_has_no_pictures(url: str) -> None:
    assert pictures(create(optuna.storages.RDBStorage(url))) == []


def test_a_study_of_somebody_else_is_refused(url: str) -> None:
    with pytest.raises(StudyError, match="was not made by autoprune"):
        pictures(create(optuna.storages.RDBStorage(url), ours=False))


def test_long_studies_share_bars() -> None:
    study = create(optuna.storages.InMemoryStorage())
    for number in range(250):
        tell(study, 0.5, 0.9, more={"seconds": {"cut": float(number)}})
    picture = {picture.name: picture for picture in pictures(study)}["stages"]
    (bars,) = picture.figure.data
    assert len(bars.x) == 84
    assert (bars.x[0], bars.y[0]) == ("0-2", 1.0)
    assert json.loads(picture.figure.to_json())["layout"]["xaxis"]["title"]["text"] == "trials, means of 3"


def test_a_filled_study_in_memory_gives_the_same_front(study: optuna.Study) -> None:
    copy = create(optuna.storages.InMemoryStorage())
    fill(copy)
    first, second = front_picture(copy, "flops"), front_picture(study, "flops")
    assert first is not None and second is not None
    assert first.figure.to_json() == second.figure.to_json()
