"""The model card: what the model is, what the cut cost, and how to load each file."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from torch import Tensor

from autoprune.export.formats import INPUT
from autoprune.export.records import Candidate, Card, Exported, Numbers
from autoprune.structure.masks import MaskPlan
from autoprune.tasks import weights_hash
from autoprune.units import human_bytes, human_count, human_seconds


@dataclass(frozen=True, eq=False)
class CardContext:
    """What the card needs beyond the numbers.

    Attributes:
        sample: inputs that the model takes.
        exported: the formats that were written.
        left: files of an earlier export that stay in the folder.
        day: date of the export, ISO 8601.
    """

    sample: Tensor
    exported: tuple[Exported, ...]
    left: tuple[str, ...]
    day: str


def card_text(card: Card, candidate: Candidate, context: CardContext) -> str:
    """The card as Markdown."""
    parts = [
        f"# {card.title}, pruned",
        _what_was_done(card, candidate),
        _table(("", "before", "after", "change"), cost_rows(card)),
        *([f"Latency was measured on {card.device}."] if card.device else []),
        "## Widths",
        _table(("group", "before", "after"), _widths(card)),
        "## Files",
        "\n".join(f"- {line}" for line in _files(candidate, context)),
        *(part for item in context.exported for part in _loading(item, candidate, context.sample)),
        "## Provenance",
        _table(("", ""), list(_provenance(card, candidate, context))),
    ]
    return "\n\n".join(parts) + "\n"


def _what_was_done(card: Card, candidate: Candidate) -> str:
    for_data = f" for {card.data}" if card.data else ""
    if isinstance(candidate.plan, MaskPlan) and card.after.nonzero is not None:
        share = _percent(card.after.nonzero, card.before.parameters)
        return (
            f"{card.title}{for_data}, with {share} of its parameters left by autoprune: the rest is zero "
            f"(granularity {candidate.plan.granularity}). Tensors keep their shapes: dense FLOPs, latency "
            "and the size of these files stay as they were, unless a runtime or a file format uses the zeros."
        )
    share = _percent(card.after.flops, card.before.flops)
    return (
        f"{card.title}{for_data}, cut to {share} of its FLOPs by autoprune: whole units were removed "
        "from its layers, so that its tensors are smaller."
    )


def cost_rows(card: Card) -> list[tuple[str, ...]]:
    """What is measured, before, after, and the change: quality first, then the costs."""
    before, after = card.before, card.after
    rows = []
    if before.quality is not None and after.quality is not None:
        rows.append(_quality(f"{card.metric} (validation)", before.quality, after.quality))
    if before.test is not None and after.test is not None:
        rows.append(_quality(f"{card.metric} (test)", before.test, after.test))
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
    """Costs of a masked model, with those that stay; empty for a model that was cut."""
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


def _widths(card: Card) -> list[tuple[str, ...]]:
    return [(f"`{name}`", str(old), str(new)) for name, (old, new) in card.widths.items()]


def _files(candidate: Candidate, context: CardContext) -> Iterator[str]:
    masked = isinstance(candidate.plan, MaskPlan)
    yield "`plan.json`: " + (
        "how many units of each layer stay" if masked else "which units of each group stay"
    )
    yield "`config.toml`: the settings that it was made with"
    for item in context.exported:
        difference = f"largest difference from the pruned model {item.max_difference:.2g}"
        yield f"`{item.path.name}`: {difference}; {item.note}"
    for name in context.left:
        yield f"`{name}` was here before and is not part of this export"


def _loading(item: Exported, candidate: Candidate, sample: Tensor) -> tuple[str, str, str]:
    needs, code = {"state": _load_state, "pt2": _load_pt2, "onnx": _load_onnx}[item.format](candidate, sample)
    return f"### Loading `{item.path.name}`", f"Needs {needs}.", f"```python\n{code}\n```"


def _load_state(candidate: Candidate, sample: Tensor) -> tuple[str, str]:
    classes = "" if candidate.classes is None else f", classes={candidate.classes}"
    lines = [
        "import torch",
        "from autoprune.export import load_exported",
        "from autoprune.tasks import load_model",
        "",
        f"base = load_model({json.dumps(candidate.spec)}{classes})",
        f'model = load_exported(".", base, {_zeros(sample)})',
    ]
    if candidate.spec is None:
        lines[2:5] = ["", "base = ...  # the uncut model, with any weights"]
    return "autoprune", "\n".join(lines)


def _load_pt2(_: Candidate, sample: Tensor) -> tuple[str, str]:
    code = f"""import torch

model = torch.export.load("model.pt2").module()
output = model({_zeros(sample)})"""
    return "torch", code


def _load_onnx(_: Candidate, sample: Tensor) -> tuple[str, str]:
    code = f"""import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
inputs = np.zeros({tuple(sample.shape)}, dtype="{_dtype(sample)}")
outputs = session.run(None, {{"{INPUT}": inputs}})"""
    return "onnxruntime", code


def _zeros(sample: Tensor) -> str:
    shape = ", ".join(map(str, sample.shape))
    dtype = _dtype(sample)
    return f"torch.zeros({shape})" if dtype == "float32" else f"torch.zeros({shape}, dtype=torch.{dtype})"


def _dtype(sample: Tensor) -> str:
    return str(sample.dtype).removeprefix("torch.")


def _provenance(card: Card, candidate: Candidate, context: CardContext) -> Iterator[tuple[str, str]]:
    yield "model", f"`{candidate.spec or card.title}`"
    if card.data:
        yield "data", card.data
    if card.study:
        yield "study", card.study if card.trial is None else f"{card.study}, trial {card.trial}"
    if card.weights:
        yield "weights before the cut (SHA-256)", f"`{card.weights}`"
    yield "weights after the cut (SHA-256)", f"`{weights_hash(candidate.model)}`"
    yield "plan (SHA-256)", f"`{candidate.plan.hash}`"
    packages = ["autoprune", "torch"]
    if any(item.format == "onnx" for item in context.exported):
        packages += ["onnx", "onnxscript", "onnxruntime"]
    versions = [f"{name} {_version(name)}" for name in packages]
    yield "versions", ", ".join([f"Python {platform.python_version()}", *versions])
    yield "date", context.day


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed as a package)"


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
