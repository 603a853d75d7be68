"""A study file to begin with: the user's model inspected, and settings that suit it, with comments."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.config.settings import Config
from autoprune.errors import ConfigError, ModelError
from autoprune.pruning_search.problem.subject.configured_model import embedded_of, model_spec
from autoprune.pruning_search.problem.unit_pruning import why_whole
from autoprune.study.listener import Listener
from autoprune.tasks import Data
from autoprune.tasks.datasets.sources import load_named_data
from autoprune.utils.quantities import human_bytes, human_count
from autoprune.workflows.inspect import Inspection, inspect

TRAIN_EPOCHS = 12
"""Suggested to who has no weights."""
GROUPS_SHOWN = 12
"""Groups that the file lists, those with the most FLOPs."""
_COMFORTABLE = 45
"""Percent of the FLOPs that the narrowest plan may keep for half of them to be a budget with a choice."""
_FEW, _MANY = 1_000, 50_000
"""Training samples below which recovery needs few steps, and above which it may take more."""


@dataclass(frozen=True, eq=False)
class Beginning:
    """What a study file is written from.

    Attributes:
        inspection: the model.
        config: the settings that the user gave.
        data: the data, None where none were given.
    """

    inspection: Inspection
    config: Config
    data: Data | None

    @property
    def lacks_data(self) -> bool:
        """Whether the file names no data yet."""
        return self.data is None

    @property
    def lacks_weights(self) -> bool:
        """Whether the file names no weights, and the data bring no training of this model."""
        embedded = embedded_of(self.config)
        trains = embedded is not None and embedded.epochs > 0 and embedded.model == model_spec(self.config)
        return self.config.weights is None and not trains

    def command(self, file: Path) -> str:
        """The search of the file, which runs as it stands once the file names data."""
        train = f" --train-epochs {TRAIN_EPOCHS}" if self.lacks_weights and not self.lacks_data else ""
        return f"autoprune search {shlex.quote(str(file))}{train}"

    def text(self, file: Path) -> str:
        """The content of the file, in TOML."""
        return "\n".join(line.rstrip() for line in _lines(self, file)) + "\n"


def begin(config: Config, inputs: Sequence[str], listener: Listener) -> Beginning:
    """Inspect the configured model as a search builds it, and load the data where some are configured.

    Raises:
        ConfigError: when both inputs and data are given.
        ModelError: when nothing in the model can be cut, or its weights do not fit.
        UserError: when it cannot be built, traced or called, or the data cannot be loaded.
    """
    if inputs and config.data is not None:
        raise ConfigError("the data determines the model's input: omit --input")
    listener.phase("data", config.data or "none given")
    reference = config.references.data
    data = None if reference is None else load_named_data(reference, config.permit)
    found = inspect(config.model_copy(update={"latency": False}), inputs, listener, data=data)
    if not found.structure.groups:
        raise ModelError(f"nothing in {found.name} can be cut: {why_whole(found.structure)}")
    return Beginning(found, config, data)


def _lines(made: Beginning, file: Path) -> Iterator[str]:
    found, config = made.inspection.as_dict(), made.config
    yield f"# A study of {_plain(found['model'])}."
    yield f"# {_lead(made)}Run it, and resume it after a stop, with"
    yield f"#   {_plain(made.command(file))}"
    yield "# Flags of the command override what stands here; autoprune search --help-all explains all."
    yield "# For completion in an editor: autoprune schema -o study.schema.json, and as the first line here"
    yield "# #:schema study.schema.json"
    yield ""
    costs = f"{human_count(found['flops'])} FLOPs a sample, {human_count(found['parameters'])} parameters"
    yield f"# The original model: {costs}, {human_bytes(found['size'])}."
    yield f"model = {_quoted(found['model'])}"
    yield from _weights(config)
    yield ""
    yield from _data(made)
    yield ""
    yield from _budget(made)
    yield ""
    yield from _cut(found)
    yield ""
    yield from _recovery(made.data)
    yield ""
    yield from _latency()


def _lead(made: Beginning) -> str:
    if made.lacks_data:
        return f"Add your data{' and weights' if made.lacks_weights else ''} to it first. "
    return "It names no trained weights: the model is trained first. " if made.lacks_weights else ""


def _weights(config: Config) -> Iterator[str]:
    if config.weights is not None:
        yield f"weights = {_quoted(config.weights)}"
        return
    yield "# The trained weights, a state dict or checkpoint; or train-epochs = 12 to train it here."
    yield '# weights = "weights.safetensors"'


def _data(made: Beginning) -> Iterator[str]:
    data, spec = made.data, made.config.data
    if data is None or spec is None:
        yield "# imagefolder:ROOT, digits, fashion-mnist... or path/file.py:factory, which returns a mapping"
        yield "# with train, validation and test: DataLoaders, datasets, or pairs of tensors."
        yield '# data = "imagefolder:photos"'
        return
    sizes = ", ".join(f"{len(getattr(data, part)):,} {part}" for part in ("train", "validation", "test"))
    yield f"# {sizes} samples of shape {_shape(data)}; judged by {_plain(data.task.metric)}."
    yield f"data = {_quoted(spec)}"


def _budget(made: Beginning) -> Iterator[str]:
    found = made.inspection.as_dict()
    flops, parameters = human_count(found["flops"] / 2), human_count(found["parameters"] / 2)
    yield "# What the pruned model may cost, and the search; half of each in brackets:"
    yield f"#   flops=50% ({flops}), params=50% ({parameters}), size=50% ({human_bytes(found['size'] / 2)}),"
    yield "#   latency=60%, latency=2ms, time=2h, trials=200"
    yield f'budget = ["flops={_reachable(made)}%", "time=30m"]'


def _reachable(made: Beginning) -> int:
    """Half of the FLOPs in percent, or where no plan gets there, a limit that leaves some choice."""
    least = 100 * made.inspection.least
    return 50 if least <= _COMFORTABLE else math.ceil((100 + least) / 2)


def _cut(found: Mapping[str, Any]) -> Iterator[str]:
    groups = sorted(found["groups"], key=lambda group: -float(group["flops_share"]))
    yield f"# What can be pruned: {len(groups)} groups. Those with the most FLOPs:"
    longest = max((len(_plain(group["name"])) for group in groups[:GROUPS_SHOWN]), default=0)
    for group in groups[:GROUPS_SHOWN]:
        yield (
            f"#   {_plain(group['name']):<{longest}}  {group['width']:>5} {group['kind']}, "
            f"{group['flops_share']:.1%} of the FLOPs, {group['parameters_share']:.1%} of the parameters"
        )
    if len(groups) > GROUPS_SHOWN:
        yield f"#   and {len(groups) - GROUPS_SHOWN} more: autoprune inspect THIS-FILE lists them"
    for layer, reason in list(found["frozen"].items())[:GROUPS_SHOWN]:
        yield f"# frozen: {_plain(layer)}: {_plain(reason)}"
    kinds = {group["kind"] for group in groups}
    yield "# To leave layers whole, or to bound groups:"
    yield f"# skip = [{_quoted(groups[0]['layers'][0] if groups else 'head')}]"
    yield f"# bounds = [{_quoted((groups[0]['name'] if groups else 'head') + '=25%..100%')}]"
    if "heads" in kinds:
        yield '# attention = "width"  # a part of the width of all heads, instead of whole heads'
    yield "# depth = true  # residual blocks may go whole"


def _recovery(data: Data | None) -> Iterator[str]:
    yield "# How each candidate is recovered after its cut. More steps: better candidates, but fewer of them."
    if data is None:
        yield "# finetune-steps = 150"
    elif len(data.train) < _FEW:
        yield "# finetune-steps = 50  # the default for so little data is what five epochs take"
    else:
        yield f"finetune-steps = {400 if len(data.train) > _MANY else 150}"
    yield "# lr = 0.02"
    yield '# optimizer = "adamw"  # with lr = 0.0005, for transformers'


def _latency() -> Iterator[str]:
    yield "# What will run the model, for its latency: eager, compile, onnxruntime, openvino, cuda, or"
    yield "# 'command:PROGRAM {file}' for a program of yours."
    yield '# runtime = "onnxruntime"'
    yield "# latency-batch = 1"
    yield "# threads = 4"


def _shape(data: Data) -> str:
    return "x".join(map(str, data.example(1).shape[1:])) or "one number"


def _quoted(text: str) -> str:
    """A TOML string; JSON's is one."""
    return json.dumps(text, ensure_ascii=False)


def _plain(text: str) -> str:
    """In one line, for a comment."""
    return " ".join(text.split())
