"""What a model's groups cost on one device: measured once, kept in a file, used by every later study."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from torch import nn

from autoprune.cost.fingerprint import DeviceFingerprint
from autoprune.cost.latency import Meter
from autoprune.cost.shares import narrowed, work_of
from autoprune.cost.signature import shape_signature
from autoprune.cost.stairs import Stair, climb
from autoprune.errors import ConfigError
from autoprune.structure import Structure
from autoprune.structure.groups import Group

SCHEMA = 2
SAMPLES = 40
"""Random plans that are timed to learn what cutting several groups together does."""
STEPS = (1, 4, 8, 16)
"""The widths of a random plan are multiples of one of these."""


@dataclass(frozen=True)
class Sample:
    """A plan's widths, and its latency relative to the uncut model's."""

    widths: Mapping[str, int]
    ratio: float


@dataclass(frozen=True)
class Profile:
    """Latency against the width of each group, and of random plans.

    Attributes:
        fingerprint: where and how it was measured.
        seconds: latency of the uncut model.
        stairs: group -> its curve.
        samples: random plans.
    """

    fingerprint: DeviceFingerprint
    seconds: float
    stairs: Mapping[str, Stair]
    samples: Sequence[Sample] = ()

    @property
    def edges(self) -> dict[str, tuple[int, ...]]:
        """Group -> the widths worth having on this device, for groups about which the profile says some."""
        return {name: stair.edges for name, stair in self.stairs.items() if len(stair.edges) > 1}


def profiled(model: nn.Module, structure: Structure, meter: Meter) -> Iterator[tuple[str, Stair]]:
    """Group by group, its curve; groups that do the same work are measured once.

    Raises TrialError if a model does not run.
    """
    known: dict[object, Stair] = {}
    for group in structure.groups:
        work = work_of(structure, group)
        if work not in known:
            known[work] = _climb_group(model, structure, group, meter)
        yield group.name, known[work]


def sampled(
    model: nn.Module, structure: Structure, meter: Meter, *, count: int = SAMPLES, seed: int = 0
) -> Iterator[Sample]:
    """Random plans, timed one by one. Raises TrialError if a model does not run."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        widths = random_widths(structure, generator)
        cut = {name: width for name, width in widths.items() if width < structure.widths[name]}
        yield Sample(widths, meter.measure(narrowed(model, structure, cut)).ratio if cut else 1.0)


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
            widths[group.name] = min(group.width, max(least, step * round(wanted / step)))
    return structure.settled(widths)


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
        "stairs": {name: asdict(stair) for name, stair in profile.stairs.items()},
        "samples": [asdict(sample) for sample in profile.samples],
    }
    partial = file.with_suffix(".partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(content, indent=1))
        partial.replace(file)
    except OSError as error:
        raise ConfigError(
            f"cannot write {file} ({error.strerror}): set AUTOPRUNE_CACHE to a folder"
        ) from error


def load_profile(file: Path) -> Profile | None:
    """Read a profile; None when there is none. Raises ConfigError when the file holds something else."""
    try:
        content = json.loads(file.read_text())
        if content["schema"] != SCHEMA:
            raise ValueError(content["schema"])
        return Profile(
            fingerprint=DeviceFingerprint(**content["device"]),
            seconds=float(content["seconds"]),
            stairs={
                name: Stair(tuple(stair["widths"]), tuple(stair["ratios"]), float(stair["error"]))
                for name, stair in content["stairs"].items()
            },
            samples=tuple(Sample(dict(s["widths"]), float(s["ratio"])) for s in content["samples"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"cannot read the latency profile {file}: delete it and measure again") from error


def _climb_group(model: nn.Module, structure: Structure, group: Group, meter: Meter) -> Stair:
    def time(width: int) -> tuple[float, float]:
        measured = meter.measure(narrowed(model, structure, {group.name: width}))
        return measured.ratio, (measured.ratio_high - measured.ratio_low) / 2

    # A tenth of the width is as narrow as a search goes unless it is told otherwise.
    least = 0 if group.least == 0 else max(1, group.width // 10)
    return climb(time, group.width, least)
