"""Where the time of a search went."""

from __future__ import annotations

from collections import defaultdict

import optuna
from optuna.trial import FrozenTrial
from rich import box
from rich.table import Table

from autoprune.review.text import whole_seconds
from autoprune.study.attributes import (
    REST,
    SAMPLER,
    SENSITIVITY,
    attributes_of,
    sensitivity_of,
    trials_of,
    wall_seconds,
)
from autoprune.utils.console import cell

_WORDS = {
    SENSITIVITY: "measuring sensitivity",
    SAMPLER: "choosing candidates",
    "cut": "pruning",
    "latency": "timing latency",
    "compensate": "compensating weights",
    "rebuild": "fitting layer by layer",
    "recalibrate": "BatchNorm statistics",
    "proxy": "scoring before training",
    "finetune": "fine-tuning",
    "evaluate": "scoring",
    REST: "storage and the rest",
}


def stage_seconds(study: optuna.Study) -> dict[str, float]:
    """Stage -> seconds over all trials, in the order of a candidate's evaluation.

    Time that no trial accounts for is REST, available once a search of the study has ended.
    """
    total: defaultdict[str, float] = defaultdict(float)
    measured = sensitivity_of(study)
    if measured is not None:
        total[SENSITIVITY] = measured.seconds
    for trial in trials_of(study):
        if attributes_of(trial).duplicate_of is None:
            for stage, seconds in attributes_of(trial).seconds.items():
                total[stage] += seconds
    walls = wall_seconds(study)
    if walls:
        total[REST] = max(0.0, sum(walls) - sum(total.values()))
    order = [*(name for name in _WORDS if name in total), *sorted(total.keys() - _WORDS.keys())]
    return {name: total[name] for name in order}


def stage_word(stage: str) -> str:
    """The displayed name of a stage."""
    return _WORDS.get(stage, stage)


def spent_text(trial: FrozenTrial) -> str:
    """The stages of one trial with their times, such as ``fine-tuning 12 s``; without short ones."""
    seconds = attributes_of(trial).seconds
    return ", ".join(
        f"{stage_word(name)} {whole_seconds(spent)}" for name, spent in seconds.items() if spent >= 1
    )


def stages_table(study: optuna.Study) -> Table:
    """The stages with their seconds and shares."""
    seconds = stage_seconds(study)
    total = sum(seconds.values()) or 1.0
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("time of the search")
    table.add_column("", justify="right")
    table.add_column("share", justify="right")
    for name, spent in seconds.items():
        table.add_row(cell(stage_word(name)), whole_seconds(spent), f"{spent / total:.1%}")
    return table
