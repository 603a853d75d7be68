from __future__ import annotations

import pytest
from handmade_study import create, tell
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from autoprune.review import summary
from autoprune.review.plot import Kind, Point, draw, points_of


def percent(quality: float) -> str:
    return f"{quality:.1%}"


def plain(points: list[Point], **settings: int) -> list[str]:
    return [line.plain for line in draw(points, percent, "FLOPs", width=40, unicode=False, **settings)]


def test_points_stand_where_their_cost_and_quality_are() -> None:
    points = [Point(0.2, 0.90, Kind.FRONT), Point(1.0, 0.95, Kind.ORIGINAL)]
    lines = plain(points, height=5)
    assert lines[0].startswith("95.0% |") and lines[0].endswith("#")
    assert lines[4].startswith("90.0% |o")
    assert lines[5].strip().startswith("+---")
    assert lines[6].split() == ["20%", "FLOPs", "100%"]
    assert lines[7].split() == ["o", "front", "#", "original"]
    assert all(len(line) <= 40 for line in lines)


def test_of_points_on_one_place_the_more_telling_one_is_seen() -> None:
    spot = [Point(0.5, 0.9, kind) for kind in (Kind.BEST, Kind.OTHER, Kind.FRONT)]
    lines = plain([*spot, Point(1.0, 0.95, Kind.ORIGINAL)], height=4)
    area = "".join(lines[:4])
    assert area.count("@") == 1
    assert "o" not in area


def test_others_far_from_the_front_do_not_flatten_it() -> None:
    points = [Point(0.2, 0.90, Kind.FRONT), Point(1.0, 0.95, Kind.ORIGINAL), Point(0.1, 0.10, Kind.OTHER)]
    assert plain(points)[0].startswith("95.0%")
    assert "10.0%" not in "\n".join(plain(points)[:8])


@pytest.mark.parametrize("unicode", [True, False])
def test_equal_points_are_drawn(unicode: bool) -> None:
    lines = draw([Point(1.0, 0.9, Kind.ORIGINAL)] * 2, percent, "FLOPs", width=40, unicode=unicode)
    assert sum(("◆" if unicode else "#") in line.plain for line in lines[:8]) == 1
    assert all(line.plain.isascii() for line in lines) is not unicode


def test_the_points_of_a_study_are_its_scored_plans_and_the_original_model() -> None:
    study = create(InMemoryStorage())
    tell(study, 0.5, 0.94, origin="uniform")
    tell(study, 0.3, 0.80, origin="sampler")
    tell(study, 0.6, 0.70, origin="sampler")
    tell(study, 0.8, state=TrialState.PRUNED, reason="over budget")
    points = points_of(study, summary(study))
    kinds = {point.x: point.kind for point in points}
    assert kinds == {0.5: Kind.BEST, 0.3: Kind.FRONT, 0.6: Kind.OTHER, 1.0: Kind.ORIGINAL}
