"""What a model's groups cost on one device: measured once, kept in a file, used by every later study."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

from autoprune.cost.fingerprint import DeviceFingerprint
from autoprune.cost.latency import Meter
from autoprune.cost.shares import narrowed
from autoprune.cost.signature import shape_signature
from autoprune.cost.stairs import Stair, climb
from autoprune.errors import ConfigError
from autoprune.structure import Structure
from autoprune.structure.groups import Extent, Group

SCHEMA = 1


@dataclass(frozen=True)
class Profile:
    """Latency against the width of each group.

    Attributes:
        fingerprint: where and how it was measured.
        seconds: latency of the uncut model.
        stairs: group -> its curve.
    """

    fingerprint: DeviceFingerprint
    seconds: float
    stairs: Mapping[str, Stair]

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
        work = _work(structure, group)
        if work not in known:
            known[work] = _climb_group(model, structure, group, meter)
        yield group.name, known[work]


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


def _work(structure: Structure, group: Group) -> object:
    """What hangs on a group's width: kinds and shapes of the operators, all other groups being whole."""
    full = structure.widths

    def axis(extent: Extent) -> tuple[int, int]:
        return extent.at(full), dict(extent.per_group).get(group.name, 0)

    work = []
    for operation in structure.operations:
        shapes = [tuple(map(axis, shape)) for shape in (*operation.inputs, operation.output)]
        if any(k for shape in shapes for _, k in shape) or operation.block == group.name:
            work.append((operation.kind, tuple(shapes)))
    return group.kind, group.width, tuple(sorted(work))
