import pytest
import torch
from torch import nn

from autoprune.errors import UserError
from autoprune.structure import Structure, discover, restrict
from autoprune.structure.restriction import owners


@pytest.fixture(scope="module")
def structure() -> Structure:
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, groups=4),
        nn.Conv2d(12, 12, 3, groups=12),
        nn.Flatten(),
        nn.Linear(12 * 4 * 4, 10),
        nn.Linear(10, 3),
    )
    return discover(model, torch.randn(1, 1, 10, 10))


def test_a_group_is_owned_by_all_layers_that_hold_its_units(structure: Structure) -> None:
    assert [owners(group) for group in structure.groups] == [["0", "1"], ["3", "4"], ["6"]]


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"skip": ["1"]}, ["3", "6"]),
        ({"skip": ["4", "6"]}, ["0"]),
        ({"only": ["3"]}, []),
        ({"only": ["3", "4"]}, ["3"]),
        ({"only": ["[0-4]"], "skip": ["0"]}, ["3"]),
        ({"keep_ends": True}, ["3"]),
        ({}, ["0", "3", "6"]),
    ],
)
def test_what_is_left(structure: Structure, settings: dict[str, object], left: list[str]) -> None:
    limited = restrict(structure, **settings)  # type: ignore[arg-type]
    assert [group.name for group in limited.groups] == left
    assert all("kept" in limited.frozen[name] for name in {"0", "3", "6"} - set(left))


def test_a_pattern_without_a_match_names_what_there_is(structure: Structure) -> None:
    with pytest.raises(UserError, match=r"no layer matches 'conv1': there are .*0"):
        restrict(structure, skip=["conv1"])


def test_a_module_path_stands_for_all_that_is_in_it() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 6)), nn.Linear(6, 5), nn.Linear(5, 2))
    limited = restrict(discover(model, torch.randn(1, 4)), skip=["0"])
    assert [group.name for group in limited.groups] == ["1"]
