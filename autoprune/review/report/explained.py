"""One HTML file on what a trial learned about the groups of its model."""

from __future__ import annotations

from pathlib import Path

import optuna

from autoprune.review.report.parts import learned_html, page, pictures_html, write_page
from autoprune.study.explanation import Explanation


def write_explanation(study: optuna.Study, explanation: Explanation, file: Path) -> None:
    """Write the table of an explanation and its figures to a file.

    Raises:
        UserError: the file cannot be written.
    """
    # Plotly is slow to import, and most commands draw nothing.
    from autoprune.review.figures import learned_pictures

    drawn = learned_pictures(study, explanation.trial)
    sections = [pictures_html(drawn), learned_html(explanation)]
    write_page(page(f"{explanation.study}: trial {explanation.trial}", sections, drawn), file)
