"""What objects show of themselves: a few lines, or a small table, with the numbers that matter."""

import torch
from torch import nn

import autoprune
from autoprune.structure.masks import LayerMask, MaskPlan, discover_masks

LONGEST = 1000
X = torch.randn(1, 3, 16, 16)
HOSTILE = "<script>alert(1)</script>"


def network(layers: int = 6) -> nn.Sequential:
    """Convolutions of 8 channels, a frozen part in the middle, and a head."""
    parts = [part for _ in range(layers) for part in (nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())]
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), *parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )


def test_a_structure_shows_its_groups_units_parameters_and_what_is_frozen() -> None:
    model = network()
    structure = autoprune.discover(model, X)
    text, page = repr(structure), structure._repr_html_()
    assert max(len(text), len(page)) < LONGEST
    rows = {line.split()[0]: line for line in text.splitlines()[1:]}
    assert text.splitlines()[0] == "Structure"
    assert f"{len(structure.groups)} (channels)" in rows["groups"]
    assert str(sum(structure.widths.values())) in rows["units"]
    assert f"{sum(p.numel() for p in model.parameters()):,}, " in rows["parameters"]
    assert rows["frozen"].endswith("1 of 8 layers (12%), all: reaches the model's output")
    assert page.count("<tr>") == len(rows) and "reaches the model&#x27;s output" in page
    kept = autoprune.restrict(structure, skip="[024]")
    assert "4 of 8 layers (50%), 3 of them: kept by skip=[024]" in repr(kept)
    assert len(repr(structure.groups[0])) < LONGEST


def test_the_share_that_can_be_cut_leaves_out_what_no_group_holds() -> None:
    model = nn.Sequential(nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 4))
    structure = autoprune.discover(model, torch.randn(1, 10))
    # Of 66 + 28 parameters, the last bias of 4 stays.
    assert "94, 96% of them in tensors that can be cut" in repr(structure)
    assert "groups      0\n" in repr(autoprune.restrict(structure, skip="0"))
    assert "94, 0% of them" in repr(autoprune.restrict(structure, skip="0"))


def test_the_structure_of_masks_shows_its_pattern() -> None:
    structure = discover_masks(network(), X, "2:4")
    text = repr(structure)
    assert max(len(text), len(structure._repr_html_())) < LONGEST
    assert "granularity  2:4" in text and "groups       7 (places)" in text
    assert text.endswith("1 of 8 layers (12%), all: 4 does not divide its 27 inputs")


def test_plans_show_what_stays() -> None:
    many = {f"layer{number}.{'x' * 200}": (0,) for number in range(300)}
    plan = autoprune.Plan({HOSTILE: (0, 1), **many, "block": ()}, HOSTILE, "f" * 64)
    text, page = repr(plan), plan._repr_html_()
    assert max(len(text), len(page)) < LONGEST
    assert "301 groups, of which 302 units stay" in text and "removes  block" in text
    assert "f" * 13 not in text
    assert HOSTILE not in page and "&lt;script&gt;" in page
    assert "1 group, of which 1 unit stay" in repr(autoprune.Plan({"a": (3,)}))


def test_plans_of_masks_show_what_stays() -> None:
    plan = MaskPlan("weights", {HOSTILE: LayerMask(5, "0" * 64)}, "l1\x1b[31m")
    text, page = repr(plan), plan._repr_html_()
    assert max(len(text), len(page)) < LONGEST
    assert "1 weight, of which 5 units stay" in text and "\x1b" not in text
    assert HOSTILE not in page and "&lt;script&gt;" in page


def test_what_is_equal_stays_equal() -> None:
    assert autoprune.Plan({"a": (0,)}) == autoprune.Plan({"a": (0,)}, model="other")
    assert autoprune.Plan({"a": (0,)}) != autoprune.Plan({"a": (1,)})
