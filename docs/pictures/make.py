"""Draws the figures of the pages: ``python docs/pictures/make.py``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

BLUE, RED, GREEN, INK, PALE = "#0072b2", "#d55e00", "#009e73", "#333333", "#eef4f8"
HERE = Path(__file__).parent


def text(x: float, y: float, words: str, *, size: int = 14, colour: str = INK, anchor: str = "middle") -> str:
    """A line of text."""
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" text-anchor="{anchor}">{words}</text>'


def box(x: float, y: float, width: float, height: float, *, fill: str = PALE, line: str = BLUE) -> str:
    """A rectangle with round corners."""
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}" stroke="{line}" '
        'stroke-width="1.5"/>'
    )


def arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    """A line with a head."""
    return (
        f'<path d="M{x1} {y1} L{x2} {y2}" stroke="{INK}" stroke-width="1.5" fill="none" '
        'marker-end="url(#head)"/>'
    )


def svg(title: str, width: int, height: int, parts: Sequence[str]) -> str:
    """A picture on white, readable on dark pages too."""
    head = (
        '<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0 0 L10 5 L0 10 z" fill="{INK}"/></marker>'
    )
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'font-family="system-ui, sans-serif">\n<title>{title}</title>\n<defs>{head}</defs>\n'
        f'<rect width="{width}" height="{height}" rx="8" fill="white"/>\n{body}\n</svg>\n'
    )


def write(name: str, title: str, width: int, height: int, parts: Sequence[str]) -> None:
    """Write a picture beside this script."""
    (HERE / f"{name}.svg").write_text(svg(title, width, height, parts), encoding="utf-8")


def flow() -> None:
    """The pipeline from a trained model to an exported one."""
    stages = [
        ("trained model", "weights, data, budget"),
        ("structure", "what can be pruned"),
        ("search", "prune, recover, score"),
        ("front", "the best trade-offs"),
        ("export", "checked and timed"),
    ]
    parts = []
    for place, (name, detail) in enumerate(stages):
        x = 16 + place * 160
        parts += [
            box(x, 30, 136, 60),
            text(x + 68, 56, name, size=15, colour=BLUE),
            text(x + 68, 77, detail, size=11),
        ]
        if place:
            parts.append(arrow(x - 22, 60, x - 3, 60))
    write("flow", "From a trained model to an exported one", 816, 120, parts)


def groups() -> None:
    """Channel 2 of a residual stream in four layers."""
    parts = [text(24, 28, "one unit = one channel, in every layer that holds it", anchor="start")]
    layers = [("stem", 60), ("conv1", 230), ("conv2", 400), ("head", 640)]
    for name, x in layers:
        for channel in range(4):
            gone = channel == 2 and name != "conv1"
            y = 60 + channel * 30
            parts.append(box(x, y, 90, 22, fill="#fbe3d6" if gone else PALE, line=RED if gone else BLUE))
        parts.append(text(x + 45, 200, name))
    parts += [arrow(152, 115, 226, 115), arrow(322, 115, 396, 115), arrow(492, 115, 562, 115)]
    parts += [
        '<circle cx="580" cy="115" r="14" fill="white" stroke="#333333" stroke-width="1.5"/>',
        text(580, 121, "+", size=18),
        arrow(596, 115, 636, 115),
        f'<path d="M105 56 C105 30 580 30 580 98" stroke="{INK}" stroke-width="1.5" fill="none" '
        'marker-end="url(#head)"/>',
        text(
            24,
            232,
            "the sum couples stem and conv2: their channels 2 are removed together, with the weights of "
            "head that read them",
            size=12,
            colour=RED,
            anchor="start",
        ),
        text(
            24,
            252,
            "conv1 is a separate group: nothing outside the block reads its channels",
            size=12,
            anchor="start",
        ),
    ]
    write("groups", "Coupled channels in a residual block", 770, 270, parts)


def stages() -> None:
    """The stages of an evaluation by cost."""
    steps = [
        ("cost", "microseconds", 1.0),
        ("proxy", "a thirtieth", 0.75),
        ("checkpoint", "a third", 0.45),
        ("quality", "all", 0.3),
    ]
    parts = []
    for place, (name, price, share) in enumerate(steps):
        x, height = 30 + place * 175, 40 + place * 40
        y = 220 - height
        parts += [
            box(x, y, 150, height),
            text(x + 75, y + 24, name, size=15, colour=BLUE),
            text(x + 75, 240, price, size=12),
            text(x + 75, y - 10, f"{share:.0%} of the candidates", size=12, colour=GREEN),
        ]
    parts.append(
        text(365, 262, "time of each stage as a share of a full evaluation; shares are an example", size=12)
    )
    write("stages", "The stages of early stopping", 730, 275, parts)


def front() -> None:
    """A Pareto front of quality against cost."""
    on_front = [(120, 190), (190, 130), (280, 95), (390, 76)]
    others = [(180, 185), (260, 150), (330, 132), (370, 110), (300, 185)]
    parts = [
        arrow(60, 230, 560, 230),
        arrow(60, 230, 60, 30),
        text(310, 256, "cost"),
        text(56, 22, "quality", anchor="start"),
        f'<path d="M400 40 V230" stroke="{RED}" stroke-width="1.5" stroke-dasharray="4 4"/>',
        text(404, 52, "budget", size=12, colour=RED, anchor="start"),
        '<polyline points="' + " ".join(f"{x},{y}" for x, y in on_front) + f'" fill="none" stroke="{BLUE}"/>',
        *(f'<circle cx="{x}" cy="{y}" r="4" fill="none" stroke="#7f7f7f"/>' for x, y in others),
        *(f'<circle cx="{x}" cy="{y}" r="6" fill="{BLUE}"/>' for x, y in on_front),
        f'<circle cx="390" cy="76" r="11" fill="none" stroke="{GREEN}" stroke-width="3"/>',
        text(384, 106, "best", size=12, colour=GREEN, anchor="end"),
        f'<path d="M520 58 l8 8 l-8 8 l-8 -8 z" fill="{RED}"/>',
        text(520, 48, "original", size=12),
        text(120, 212, "front", size=12, colour=BLUE),
    ]
    write("front", "A Pareto front", 600, 270, parts)


if __name__ == "__main__":
    flow()
    groups()
    stages()
    front()
