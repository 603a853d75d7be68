"""The model card: what the model is, what pruning cost, and how to load each file."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version

from torch import Tensor

from autoprune.export.formats import FORMATS
from autoprune.export.records import Card, ExportCandidate, Exported, Numbers, latency_text
from autoprune.structure.masks import MaskPlan
from autoprune.tasks import weights_hash
from autoprune.utils.printable import code_cell, markdown_text
from autoprune.utils.quantities import human_bytes, human_count, human_seconds

CRITERION_FILE = "criterion.json"


@dataclass(frozen=True, eq=False)
class CardContext:
    """The context of a card beyond the numbers.

    Attributes:
        sample: inputs that the model takes.
        exported: the formats that were written.
        left: files of an earlier export that remain in the folder.
        day: date of the export, ISO 8601.
    """

    sample: Tensor
    exported: tuple[Exported, ...]
    left: tuple[str, ...]
    day: str


def card_text(card: Card, candidate: ExportCandidate, context: CardContext) -> str:
    """The card as Markdown."""
    parts = [
        findings_text(card),
        "## Files",
        "\n".join(f"- {line}" for line in _files(candidate, context)),
        *(part for item in context.exported for part in _loading(item, candidate, context.sample)),
        "## Provenance",
        markdown_table(("", ""), list(_provenance(card, candidate, context))),
    ]
    return "\n\n".join(parts) + "\n"


def findings_text(card: Card) -> str:
    """The first part of the card, as Markdown: what was pruned, what it cost, and the remaining widths."""
    parts = [
        f"# {markdown_text(card.title)}, pruned",
        _what_was_done(card),
        markdown_table(("", "before", "after", "change"), plain_rows(cost_rows(card))),
        *([f"Pruning was preceded by {markdown_text(card.sparsified)}."] if card.sparsified else []),
        *([markdown_text(card.finetuned)] if card.finetuned else []),
        *([f"Latency was measured on {markdown_text(card.device)}."] if card.device else []),
        "## Widths",
        markdown_table(("group", "before", "after"), width_rows(card)),
    ]
    return "\n\n".join(parts)


def finetuned_card(
    card: Card, how: str, before: float, quality: float, test: float, others: Mapping[str, float]
) -> Card:
    """The card of a model that was processed further after the search."""
    text = (
        f"After the search it was {how}: {card.metric} on validation data went "
        f"from {before:.4f} to {quality:.4f}."
    )
    return replace(card, after=replace(card.after, quality=quality, test=test, others=others), finetuned=text)


def _what_was_done(card: Card) -> str:
    title = markdown_text(card.title)
    for_data = f" for {markdown_text(card.data)}" if card.data else ""
    if card.granularity and card.after.nonzero is not None:
        share = _percent(card.after.nonzero, card.before.parameters)
        granularity = markdown_text(card.granularity)
        return (
            f"{title}{for_data}, pruned by autoprune to {share} of its parameters: the rest are zero "
            f"(granularity {granularity}). Tensors keep their shapes: dense FLOPs, latency "
            "and the size of these files do not change unless a runtime or a file format exploits the zeros."
        )
    share = _percent(card.after.flops, card.before.flops)
    return (
        f"{title}{for_data}, pruned by autoprune to {share} of its FLOPs: whole units were removed "
        "from its layers, so its tensors are smaller."
    )


def cost_rows(card: Card) -> list[tuple[str, ...]]:
    """Each measurement before and after, and its change: quality first, then the costs."""
    before, after = card.before, card.after
    rows = []
    if before.quality is not None and after.quality is not None:
        rows.append(_quality(f"{card.metric} (validation)", before.quality, after.quality))
    if before.test is not None and after.test is not None:
        rows.append(_quality(f"{card.metric} (test)", before.test, after.test))
    rows += [
        _quality(f"{name} (validation)", value, after.others[name])
        for name, value in before.others.items()
        if name in after.others
    ]
    counted = _masked_rows(before, after) or [
        ("FLOPs of one sample", before.flops, after.flops, human_count),
        ("parameters", before.parameters, after.parameters, human_count),
        ("size of the weights", before.size, after.size, human_bytes),
    ]
    rows += [(what, show(old), show(new), _percent(new, old)) for what, old, new, show in counted]
    if before.latency_ms is not None and after.latency_ms is not None:
        times = [human_seconds(milliseconds / 1e3) for milliseconds in (before.latency_ms, after.latency_ms)]
        rows.append(("latency", *times, _latency_change(after)))
    return rows


def _masked_rows(before: Numbers, after: Numbers) -> list[tuple[str, float, float, Callable[[float], str]]]:
    """Costs of a masked model, including the unchanged ones; empty if units were removed."""
    if after.nonzero is None or after.effective_multiply_adds is None:
        return []
    return [
        ("non-zero parameters", before.nonzero or before.parameters, after.nonzero, human_count),
        ("size if compressed", before.size, after.size, human_bytes),
        ("dense FLOPs of one sample", before.flops, after.flops, human_count),
        ("multiply-adds if zeros are skipped", before.flops, after.effective_multiply_adds, human_count),
        ("parameters, zeros included", before.parameters, after.parameters, human_count),
    ]


def _quality(what: str, before: float, after: float) -> tuple[str, ...]:
    return what, f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}"


def _latency_change(after: Numbers) -> str:
    if after.latency_ratio is None:
        return ""
    if after.latency_low is None or after.latency_high is None:
        return f"{after.latency_ratio:.1%}"
    return f"{after.latency_ratio:.1%} (95 % interval {after.latency_low:.1%} to {after.latency_high:.1%})"


def _percent(new: float, old: float) -> str:
    return f"{new / old:.1%}" if old else "-"


def width_rows(card: Card) -> list[tuple[str, ...]]:
    """Groups with their widths before and after, as Markdown."""
    return [(code_cell(name), str(old), str(new)) for name, (old, new) in card.widths.items()]


def _files(candidate: ExportCandidate, context: CardContext) -> Iterator[str]:
    masked = isinstance(candidate.plan, MaskPlan)
    yield "`plan.json`: " + (
        "how many units of each layer stay" if masked else "which units of each group stay"
    )
    yield "`config.toml`: the settings of the search"
    if candidate.criterion:
        yield (
            f"`{CRITERION_FILE}`: the criterion that the search learned, for other budgets and checkpoints: "
            f"`autoprune apply --criterion {CRITERION_FILE} --budget flops=35%`"
        )
    for item in context.exported:
        difference = f"largest difference from the pruned model {item.max_difference:.2g}"
        timed = "" if item.latency is None else f"; one sample takes {latency_text(item.latency)}"
        yield f"`{item.path.name}`: {difference}; {item.note}{timed}"
    for name in context.left:
        yield f"`{name}` is from an earlier export and not part of this one"


def _loading(item: Exported, candidate: ExportCandidate, sample: Tensor) -> tuple[str, str, str]:
    needs, code = FORMATS[item.format].loading(candidate, sample)
    return f"### Loading `{item.path.name}`", f"Needs {needs}.", f"```python\n{code}\n```"


def _provenance(card: Card, candidate: ExportCandidate, context: CardContext) -> Iterator[tuple[str, str]]:
    yield "model", code_cell(candidate.spec or card.title)
    if card.data:
        yield "data", code_cell(card.data)
    if card.study:
        study = markdown_text(card.study)
        yield "study", study if card.trial is None else f"{study}, trial {card.trial}"
    if card.weights:
        yield "weights before pruning (SHA-256)", code_cell(card.weights)
    yield "weights after pruning (SHA-256)", f"`{weights_hash(candidate.model)}`"
    yield "plan (SHA-256)", f"`{candidate.plan.hash}`"
    packages = ["autoprune", "torch"]
    packages += dict.fromkeys(name for item in context.exported for name in FORMATS[item.format].packages)
    versions = [f"{name} {_version(name)}" for name in packages]
    yield "versions", ", ".join([f"Python {platform.python_version()}", *versions])
    yield "date", context.day


def plain_rows(rows: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    """Rows of plain text, as Markdown."""
    return [tuple(map(markdown_text, row)) for row in rows]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed as a package)"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are already Markdown."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
