"""Latency against width, group by group: a table for the terminal, and a figure."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from autoprune.cost import Accuracy, Profile
from autoprune.cost.latency.steps import LatencySteps
from autoprune.errors import ConfigError, MissingExtraError
from autoprune.review.text import share_text
from autoprune.utils.atomic_files import replace_file
from autoprune.utils.console import cell
from autoprune.utils.quantities import human_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Offered = Mapping[str, Sequence[int]]
"""Group -> the efficient widths on a device."""
MOST_WIDTHS = 8
"""Number of widths named in a cell; the rest are counted."""
_COLUMNS, _WIDTH, _HEIGHT = 4, 3.0, 2.2
"""Panels per row, and the size of one in inches."""
_LINE, _EDGE = "#0072b2", "#d55e00"


def profile_table(
    name: str, profile: Profile, offered: Offered, accuracy: Accuracy | None = None
) -> RenderableType:
    """The efficient widths of each group, the latency at the narrowest one, and the prediction error."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("group", overflow="fold")
    for heading in ("width", "points", "at the narrowest", "error"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("efficient widths", overflow="fold")
    for group, steps in profile.latency_steps.items():
        table.add_row(
            cell(group),
            str(steps.widths[-1]),
            str(len(steps.widths)),
            share_text(steps.ratios[0]),
            f"±{share_text(steps.error)}",
            cell(_widths_text(offered.get(group, ()))),
        )
    headline = f"{name}: {human_seconds(profile.seconds)} original, on {profile.fingerprint}"
    return Group(cell(headline, "bold"), table, cell(_accuracy_text(accuracy)))


def _accuracy_text(accuracy: Accuracy | None) -> str:
    if accuracy is None:
        return "too few plans were timed to estimate the prediction error"
    return (
        f"held-out plans are predicted to ±{share_text(accuracy.error)} (median), with Kendall's "
        f"τ = {accuracy.tau:.2f} between predicted and measured order ({accuracy.plans} random plans)"
    )


def check_drawing(file: Path) -> None:
    """Raise MissingExtraError without matplotlib, ConfigError for an unsupported file format."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError:
        raise MissingExtraError("matplotlib", "plot") from None
    if _format(file) not in FigureCanvasBase.get_supported_filetypes():
        raise ConfigError(f"cannot draw {file}: name a file .svg or .png")


def draw_latency_steps(name: str, profile: Profile, offered: Offered, file: Path) -> None:
    """Write a figure, one panel per curve, in the format of the file's suffix; dots mark efficient widths.

    Raises what :func:`check_drawing` raises, and ConfigError if the file cannot be written.
    """
    check_drawing(file)
    from matplotlib.figure import Figure

    curves = _distinct(profile.latency_steps)
    columns = min(_COLUMNS, len(curves))
    rows = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(_WIDTH * columns, _HEIGHT * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (names, steps) in zip(panels, curves.items(), strict=False):
        title = names[0] if len(names) == 1 else f"{names[0]} +{len(names) - 1}"
        _draw(axes, title, steps, offered.get(names[0], ()))
    for axes in list(panels)[len(curves) :]:
        axes.set_axis_off()
    figure.suptitle(f"{name}, {profile.fingerprint}", fontsize=9)
    figure.supxlabel("width, units", fontsize=9)
    figure.supylabel("latency, % of the original model", fontsize=9)
    picture = io.BytesIO()
    try:
        figure.savefig(picture, format=_format(file))
        replace_file(file, picture.getvalue())
    except OSError as error:
        raise ConfigError(f"cannot write the figure {file}: {error}") from error


def _format(file: Path) -> str:
    return file.suffix.removeprefix(".").lower() or "png"


def _draw(axes: Axes, title: str, steps: LatencySteps, widths: Sequence[int]) -> None:
    percent = [100 * ratio for ratio in steps.ratios]
    axes.plot(steps.widths, percent, marker=".", color=_LINE, lw=1)
    axes.plot(widths, [100 * steps.at(width) for width in widths], "o", color=_EDGE, ms=4)
    axes.set_title(title, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _distinct(latency_steps: Mapping[str, LatencySteps]) -> dict[tuple[str, ...], LatencySteps]:
    """Each curve once, under the names of its groups."""
    groups: dict[LatencySteps, list[str]] = {}
    for name, steps in latency_steps.items():
        groups.setdefault(steps, []).append(name)
    return {tuple(names): steps for steps, names in groups.items()}


def _widths_text(widths: Sequence[int]) -> str:
    if not widths:
        return "kept or removed whole"
    shown = [str(width) for width in widths[-MOST_WIDTHS:]]
    more = len(widths) - len(shown)
    return (f"{more} more, " if more else "") + ", ".join(shown)
