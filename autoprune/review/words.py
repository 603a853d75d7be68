"""The notes on a study and its trials in Optuna Dashboard, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial

from autoprune.config.commands import autoprune_command, flag, storage_words
from autoprune.export.card import cost_rows, markdown_table, plain_rows, width_rows
from autoprune.review.card import card_of, device_text
from autoprune.review.table import counts_text, front_lines, masks_text
from autoprune.review.text import limits_text
from autoprune.study.attributes import attributes_of
from autoprune.study.front import Summary, front, summary
from autoprune.study.notes import MARK
from autoprune.study.origins import SAMPLER
from autoprune.study.record import study_record
from autoprune.study.trust import code_words
from autoprune.utils.printable import code_span, markdown_text

MOST_ROWS = 30
"""Maximum number of rows of the front in a note; the report has all of them."""


def export_command(study: optuna.Study, storage: str, which: str) -> str:
    """The command that exports ``--best``, ``--trial 7`` or ``--picked``, to a folder of that name."""
    code = code_words(study_record(study).get("config", {}))
    folder = "-".join(which.removeprefix("--").split())
    place = (*storage_words(storage), *flag("--study", study.study_name))
    return autoprune_command("export", *which.split(), *place, *code, "-o", f"{folder}/")


def study_text(study: optuna.Study, storage: str, picked: Sequence[int]) -> str:
    """Model, budget, machine, the front, and how to export from it."""
    study_summary = summary(study)
    device = device_text(study)
    pick = autoprune_command("pick", 7, *storage_words(storage), *flag("--study", study.study_name))
    parts = [
        f"# {markdown_text(study_summary.name)}",
        "\n".join(
            [
                f"- **Model**: {code_span(study_summary.model)}",
                f"- **Budget**: {markdown_text(limits_text(study_summary.limits)) or 'no limit'}",
                f"- **Trials**: {counts_text(study_summary)}",
                *([f"- **Machine**: {markdown_text(device)}"] if device else []),
                *(
                    [f"- **Masks**: {markdown_text(masks_text(study_summary))}"]
                    if study_summary.granularity
                    else []
                ),
            ]
        ),
        "## Front",
        _front_table(study, study_summary),
        "The figures named *Front* show these trials. This dashboard's own Pareto plot ignores the budget: "
        "it also shows trials that exceed it.",
        "## Export",
        f"The best: {code_span(export_command(study, storage, '--best'))}",
        f"To select other trials, write `{MARK}` in the note of a trial, or run {code_span(pick)}; then "
        f"run {code_span(export_command(study, storage, '--picked'))}.",
        f"**Picked**: {', '.join(f'trial {number}' for number in picked) or 'none'} (when this was written).",
    ]
    return "\n\n".join(parts)


def trial_text(study: optuna.Study, storage: str, trial: FrozenTrial) -> str:
    """Numbers before and after, what was pruned, and how to export it."""
    card = card_of(study, trial)
    pruned = [row for row in width_rows(card) if row[1] != row[2]]
    parts = [
        f"## Trial {trial.number} ({markdown_text(attributes_of(trial).origin or SAMPLER)})",
        markdown_table(("", "before", "after", "change"), plain_rows(cost_rows(card))),
        "### What was pruned" if pruned else "Nothing was pruned.",
        *([markdown_table(("group", "units before", "after"), pruned)] if pruned else []),
        f"Export: {code_span(export_command(study, storage, f'--trial {trial.number}'))}",
        f"Write `{MARK}` below to mark it for `autoprune export --picked`.",
    ]
    return "\n\n".join(parts)


def _front_table(study: optuna.Study, study_summary: Summary) -> str:
    columns, lines = front_lines(front(study), study_summary)
    rows = [tuple(line.cells[name] for name in columns) for line in lines[: MOST_ROWS + 1]]
    more = len(lines) - 1 - MOST_ROWS
    table = markdown_table(tuple(map(markdown_text, columns)), plain_rows(rows))
    return f"{table}\n\n{more} more are in `autoprune front`." if more > 0 else table
