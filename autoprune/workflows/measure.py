"""What each group of a model costs on this device, measured once and kept for every later study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from autoprune.config.settings import Config
from autoprune.cost import Profile
from autoprune.cost.latency.prediction import Accuracy, cross_validated, worth_offering
from autoprune.cost.latency.profile import load_profile
from autoprune.cost.latency.setting import Inputs
from autoprune.errors import ModelError
from autoprune.pruning_search.problem.latency import profile_path, setting_of, timing_batch
from autoprune.pruning_search.problem.latency_profile import measure_profile, profiling_meter
from autoprune.pruning_search.problem.unit_pruning import discover_for
from autoprune.study.listener import Listener
from autoprune.tasks import Data
from autoprune.workflows.inspect import model_and_inputs, name_of


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
    profile: Profile = field(repr=False)
    offered: dict[str, tuple[int, ...]] = field(repr=False)
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


def measure(
    config: Config,
    inputs: Sequence[str] | Inputs,
    listener: Listener,
    *,
    again: bool = False,
    model: nn.Module | None = None,
    data: Data | None = None,
) -> Measurement:
    """Profile the configured model on the configured runtime, unless that was done before.

    Args:
        config: names the model, what may be cut in it, and how it is timed.
        inputs: tensors, or texts for :func:`autoprune.tasks.inputs.make_inputs`, batch included; without any,
            a batch of samples of the data, or for a model of torchvision or timm an image.
        listener: receives progress.
        again: measure even if a profile is stored.
        model: in place of the configured one.
        data: in place of the configured ones.

    Raises:
        UserError: when the model cannot be built, traced, or called, this machine has no such runtime, or the
            runtime cannot run the model.
    """
    name, setting = name_of(config, model), setting_of(config)
    listener.phase("structure", name)
    model, example = model_and_inputs(config, inputs, listener, data, model)
    batch = example if inputs else timing_batch(config, example[0])
    structure = discover_for(config, model, example)
    if not structure.groups:
        raise ModelError(f"nothing in {name} can be cut: autoprune inspect shows why")
    meter = profiling_meter(model, batch, setting)
    file = profile_path(model, structure, meter.fingerprint)
    known = None if again else load_profile(file)
    profile = known or measure_profile(model, structure, meter, file, listener)
    return Measurement(
        name=name,
        profile=profile,
        offered=worth_offering(structure, profile),
        accuracy=cross_validated(structure, profile),
        file=file,
        known=known is not None,
    )
