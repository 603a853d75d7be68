from __future__ import annotations

import pytest

from autoprune.utils.suggest import did_you_mean

KNOWN = ("accuracy", "auroc", "F1")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("acuracy", ", did you mean accuracy?"),
        ("Accuracy", ", did you mean accuracy?"),
        ("f1", ", did you mean F1?"),
        ("perplexity", ": there is another"),
    ],
)
def test_the_nearest_name_whatever_its_case(name: str, text: str) -> None:
    assert did_you_mean(name, KNOWN, ": there is another") == text


def test_several_the_nearest_first() -> None:
    known = ("resnet50", "resnet18", "vgg16")
    assert did_you_mean("resnet19", known, most=3) == ", did you mean resnet18 or resnet50?"
    assert did_you_mean("zzz", known, most=3) == ""
