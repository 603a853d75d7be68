"""What a model's groups cost on one device: measured once, kept in a file, used by every later study."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from torch import nn

from autoprune.cost.latency.device_fingerprint import DeviceFingerprint
from autoprune.cost.latency.group_shares import narrowed, work_of
from autoprune.cost.latency.meter import Latency, Meter
from autoprune.cost.latency.shape_signature import shape_signature
from autoprune.cost.latency.steps import LatencySteps, find_steps
from autoprune.errors import ConfigError, TrialError
from autoprune.structure import Structure
from autoprune.structure.groups import Group
from autoprune.utils.atomic_files import replace_file
from autoprune.utils.untrusted import is_whole, json_object, read_text

SCHEMA = 2
SAMPLES = 40
"""Random plans that are timed to learn what cutting several groups together does."""
STEPS = (1, 4, 8, 16)
"""The widths of a random plan are multiples of one of these."""


@dataclass(frozen=True)
class Sample:
    """A plan's widths, and its latency relative to the original model's."""

    widths: Mapping[str, int]
    ratio: float


@dataclass(frozen=True)
class Profile:
    """Latency against the width of each group, and of random plans.

    Attributes:
        fingerprint: where and how it was measured.
        seconds: latency of the original model.
        latency_steps: group -> its curve.
        samples: random plans.
    """

    fingerprint: DeviceFingerprint
    seconds: float
    latency_steps: Mapping[str, LatencySteps]
    samples: Sequence[Sample] = ()


Failed = Callable[[str], object]
"""Receives the reason why a cut model does not run."""


def _untold(_reason: str) -> None:
    """For callers who need not know."""


def profiled(
    model: nn.Module,
    structure: Structure,
    meter: Meter,
    known: Mapping[str, LatencySteps] | None = None,
    failed: Failed = _untold,
) -> Iterator[tuple[str, LatencySteps]]:
    """Group by group, its curve where that is not known yet; groups that do the same work are measured once.

    Widths at which the model does not run are left out. Raises ModelError if the original model does not run.
    """
    known = known or {}
    works = {group.name: work_of(structure, group) for group in structure.groups}
    done = {works[name]: steps for name, steps in known.items()}
    for group in structure.groups:
        if group.name not in known:
            if works[group.name] not in done:
                done[works[group.name]] = _steps_of(model, structure, group, meter, failed)
            yield group.name, done[works[group.name]]


def sampled(
    model: nn.Module,
    structure: Structure,
    meter: Meter,
    *,
    count: int = SAMPLES,
    seed: int = 0,
    failed: Failed = _untold,
) -> Iterator[Sample]:
    """Random plans, timed one by one; those that do not run are left out.

    Raises ModelError if the original model does not run.
    """
    generator = np.random.default_rng(seed)
    for _ in range(count):
        widths = random_widths(structure, generator)
        cut = {name: width for name, width in widths.items() if width < structure.widths[name]}
        if not cut:
            yield Sample(widths, 1.0)
        elif (latency := _latency(meter, narrowed(model, structure, cut), failed)) is not None:
            yield Sample(widths, latency.ratio)


def random_widths(structure: Structure, generator: np.random.Generator) -> dict[str, int]:
    """Widths scattered around one density, multiples of one step; blocks go with a chance of that density."""
    density, step = generator.uniform(0.15, 1.0), int(generator.choice(STEPS))
    widths = {}
    for group in structure.groups:
        wanted = group.width * min(1.0, density * generator.uniform(0.6, 1.4))
        if group.least == 0:
            widths[group.name] = int(generator.random() < density)
        else:
            least = max(1, group.width // 10)
            # One step at least: a layer of a single channel says nothing of the plans that are of use.
            widths[group.name] = min(group.width, max(least, step * max(1, round(wanted / step))))
    return structure.canonical(widths)


def profile_key(model: nn.Module, structure: Structure, fingerprint: DeviceFingerprint) -> str:
    """Sixteen hexadecimal digits that stand for a model's shapes, its groups, the device and the setting."""
    groups = [(group.name, group.kind, group.width) for group in structure.groups]
    text = json.dumps([shape_signature(model), groups, fingerprint.key])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def profile_file(folder: Path, key: str) -> Path:
    """Where the profile of that key is kept."""
    return folder / f"{key}.json"


def save_profile(profile: Profile, file: Path) -> None:
    """Write it whole or not at all. Raises ConfigError when the folder cannot be written."""
    content = {
        "schema": SCHEMA,
        "device": asdict(profile.fingerprint),
        "seconds": profile.seconds,
        "latency_steps": {name: asdict(steps) for name, steps in profile.latency_steps.items()},
        "samples": [asdict(sample) for sample in profile.samples],
    }
    try:
        replace_file(file, json.dumps(content, indent=1))
    except OSError as error:
        raise ConfigError(
            f"cannot write {file} ({error.strerror}): set AUTOPRUNE_CACHE to a folder"
        ) from error


def load_profile(file: Path) -> Profile | None:
    """Read a profile; None when there is none. Raises ConfigError when the file holds something else."""
    if not file.exists():
        return None
    try:
        content = json_object(read_text(file, "profile", ConfigError), "the profile", ConfigError)
        if content["schema"] != SCHEMA:
            raise ValueError(content["schema"])
        return Profile(
            fingerprint=DeviceFingerprint(**content["device"]),
            seconds=_positive(content["seconds"]),
            latency_steps={name: _read_steps(**steps) for name, steps in content["latency_steps"].items()},
            samples=tuple(
                Sample(
                    dict(zip(s["widths"], _widths(s["widths"].values()), strict=True)), _positive(s["ratio"])
                )
                for s in content["samples"]
            ),
        )
    except (ConfigError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"cannot read the latency profile {file}: delete it and measure again") from error


def _read_steps(widths: Sequence[object], ratios: Sequence[object], error: object) -> LatencySteps:
    """A curve as a file says it. Raises ValueError unless it is one."""
    read = _widths(widths)
    if not read or len(read) != len(ratios) or list(read) != sorted(set(read)):
        raise ValueError("widths must be ascending, with a ratio each")
    return LatencySteps(read, tuple(map(_positive, ratios)), _positive(error, least=0.0))


def _widths(values: Collection[object]) -> tuple[int, ...]:
    read = tuple(value for value in values if isinstance(value, int) and is_whole(value))
    if len(read) != len(values):
        raise ValueError("a width must be a whole number")
    return read


def _positive(value: object, least: float = sys.float_info.min) -> float:
    if not isinstance(value, int | float) or not least <= value < math.inf:
        raise ValueError(f"{value} is not in range")
    return float(value)


def _steps_of(
    model: nn.Module, structure: Structure, group: Group, meter: Meter, failed: Failed
) -> LatencySteps:
    def time(width: int) -> tuple[float, float] | None:
        latency = _latency(meter, narrowed(model, structure, {group.name: width}), failed)
        return None if latency is None else (latency.ratio, (latency.ratio_high - latency.ratio_low) / 2)

    # A tenth of the width is as narrow as a search goes by default.
    least = 0 if group.least == 0 else max(1, group.width // 10)
    return find_steps(time, group.width, least)


def _latency(meter: Meter, cut: nn.Module, failed: Failed) -> Latency | None:
    """None where the cut model does not run; where the original does not either, that is raised."""
    try:
        return meter.measure(cut)
    except TrialError as error:
        meter.reference_seconds()
        failed(str(error))
        return None
