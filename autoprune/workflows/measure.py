"""What each group of a model costs on this device, measured once and kept for every later study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from autoprune.config.settings import Config
from autoprune.cost import Profile
from autoprune.cost.latency.prediction import Accuracy, cross_validated, worth_offering
from autoprune.cost.latency.profile import load_profile
from autoprune.errors import ModelError
from autoprune.pruning_search.problem.build import model_spec
from autoprune.pruning_search.problem.latency import profile_path, setting_of, timed_batch
from autoprune.pruning_search.problem.latency_profile import measured_anew, profiling_meter
from autoprune.pruning_search.problem.unit_pruning import discover_for
from autoprune.study.listener import Listener
from autoprune.workflows.inspect import model_and_inputs


@dataclass(frozen=True, eq=False)
class Measurement:
    """A profile and where it is kept.

    Attributes:
        name: the model.
        profile: its groups' curves, and random plans.
        offered: group -> the widths that a search on this device tries; blocks are not among them.
        accuracy: how well the profile predicts plans, by cross-validation; None where too few were timed.
        file: in the user's cache folder.
        known: whether it was there already.
    """

    name: str
    profile: Profile
    offered: dict[str, tuple[int, ...]]
    accuracy: Accuracy | None
    file: Path
    known: bool

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and texts, for JSON."""
        return {
            "model": self.name,
            "device": asdict(self.profile.fingerprint),
            "original_ms": self.profile.seconds * 1e3,
            "file": str(self.file),
            "prediction": None if self.accuracy is None else asdict(self.accuracy),
            "groups": [
                {"name": name, **asdict(steps), "edges": self.offered.get(name, ())}
                for name, steps in self.profile.latency_steps.items()
            ],
        }


def measure(config: Config, inputs: Sequence[str], listener: Listener, *, again: bool = False) -> Measurement:
    """Profile the configured model on the configured runtime, unless that was done before.

    Args:
        config: names the model, what may be cut in it, and how it is timed.
        inputs: texts for :func:`autoprune.tasks.inputs.make_inputs`, batch included; without any, a batch of
            samples of the data, or for a model of torchvision or timm an image.
        listener: is told how far it is.
        again: measure anew what is known.

    Raises:
        UserError: when the model cannot be built, traced, or called, this machine has no such runtime, or the
            runtime cannot run the model.
    """
    name, setting = model_spec(config), setting_of(config)
    listener.phase("structure", name)
    model, example, batch = _subject(config, inputs, listener)
    structure = discover_for(config, model, example)
    if not structure.groups:
        raise ModelError(f"nothing in {name} can be cut: autoprune inspect shows why")
    meter = profiling_meter(model, batch, setting, config.latency_seconds)
    file = profile_path(model, structure, meter.fingerprint)
    known = None if again else load_profile(file)
    profile = known or measured_anew(model, structure, meter, file, listener)
    return Measurement(
        name=name,
        profile=profile,
        offered=worth_offering(structure, profile),
        accuracy=cross_validated(structure, profile),
        file=file,
        known=known is not None,
    )


def _subject(
    config: Config, inputs: Sequence[str], listener: Listener
) -> tuple[nn.Module, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The model, what to trace it with, and what to time it on: all as a search would have them."""
    model, example = model_and_inputs(config, inputs, listener)
    return model, example, example if inputs else timed_batch(config, example[0])
