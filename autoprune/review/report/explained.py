"""One HTML file on what a trial says of the groups of its model."""

from __future__ import annotations

from pathlib import Path

import optuna

from autoprune.review.report.parts import learned_html, page, pictures_html, write_page
from autoprune.study.explanation import Explanation


def write_explanation(study: optuna.Study, told: Explanation, file: Path) -> None:
    """Write the table of an explanation and its pictures to a file.

    Raises:
        UserError: the file cannot be written.
    """
    # Plotly takes a while, and most commands draw nothing.
    from autoprune.review.figures import learned_pictures

    drawn = learned_pictures(study, told.trial)
    sections = [pictures_html(drawn), learned_html(told)]
    write_page(page(f"{told.study}: trial {told.trial}", sections, drawn), file)
