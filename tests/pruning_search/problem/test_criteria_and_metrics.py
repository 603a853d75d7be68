"""What ranks units and what judges candidates, as a search is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from autoprune.config.settings import load_config
from autoprune.errors import CriterionError, DataError
from autoprune.pruning_search import Problem, prepare
from autoprune.review import Listener
from autoprune.tasks import Data

Make = Callable[..., Problem]


class Notes(Listener):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


@pytest.mark.parametrize("spec", ["fisher/flops^0.5", "group-norm:p=1,reduce=max", "entropy:rule=min"])
def test_criterion_with_options_or_a_price_decides(make_problem: Make, spec: str) -> None:
    problem = make_problem(criterion=spec)
    assert next(iter(problem.pruning.rankings)) == spec
    widths = {name: max(1, width // 2) for name, width in problem.structure.widths.items()}
    assert problem.pruning.plan(widths).widths(problem.structure) == widths


def test_criterion_without_what_it_needs(make_problem: Make) -> None:
    with pytest.raises(CriterionError, match="group 'hidden' passes through no BatchNorm"):
        make_problem(criterion="bn-scale")
    with pytest.raises(CriterionError, match="run autoprune measure first"):
        make_problem(criterion="l2/latency")


def test_criterion_that_says_nothing_of_a_group_is_noted(
    tiny: nn.Module, digits: Data, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(
        "import torch\n\ndef score(context):\n"
        "    groups = context.structure.groups\n"
        "    return {g.name: torch.arange(g.width) * (g.name == 'hidden') for g in groups}\n"
    )
    settings = {"criterion": f"{tmp_path}/own.py:score", "latency": False, "calibration_batches": 1}
    notes = Notes()
    prepare(load_config(None, settings), notes, model=tiny, data=digits)
    assert (
        sum("equally important: there, units go in the order of their numbers" in t for t in notes.texts) == 1
    )


def test_metric_takes_the_place_of_the_tasks_own(make_problem: Make) -> None:
    problem = make_problem(metric="f1")
    assert problem.objectives[0] == "f1"
    assert 0.5 < problem.subject.baseline.score.value < 1
    assert problem.subject.baseline.score.value != make_problem().subject.baseline.score.value


def test_metric_that_does_not_go_with_the_task(make_problem: Make) -> None:
    with pytest.raises(DataError, match="classification has no metric 'mse'"):
        make_problem(metric="mse")
