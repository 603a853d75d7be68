"""How candidates are timed, and what the study knows of it already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from torch import Tensor, nn

from autoprune.config.settings import Config
from autoprune.cost import (
    DeviceFingerprint,
    Latency,
    Meter,
    Profile,
    Setting,
    named_runtime,
    shape_signature,
)
from autoprune.cost.latency.device_fingerprint import fingerprint_of
from autoprune.cost.latency.prediction import Predictor, worth_offering
from autoprune.cost.latency.profile import load_profile, profile_file, profile_key
from autoprune.pruning_search.problem.pruning import Origin, Prunable, Pruning
from autoprune.structure import Structure
from autoprune.study.attributes import TIMING
from autoprune.tasks.cache import cache_folder

Timer = Callable[[nn.Module], Latency]
"""Gives the latency of a model."""


def setting_of(config: Config) -> Setting:
    """The configured runtime, the form of the model in it, and the length of a timing.

    Raises ConfigError or MissingExtraError when this machine has no such runtime.
    """
    return Setting(
        named_runtime(config.references.runtime, config.permit),
        config.threads,
        config.latency_dtype,
        config.channels_last,
        config.latency_seconds,
    )


def timing_batch(config: Config, example: Tensor) -> tuple[Tensor, ...]:
    """As many copies of a sample ``[1, ...]`` as are to be timed together."""
    return (example.expand(config.latency_batch, *example.shape[1:]).clone(),)


def profile_path(model: nn.Module, structure: Structure, fingerprint: DeviceFingerprint) -> Path:
    """Where the profile of a model on a device is kept, in the user's cache folder."""
    return profile_file(cache_folder() / "latency", profile_key(model, structure, fingerprint))


def profile_of(meter: Meter, pruning: Pruning) -> Profile | None:
    """The profile of the original model on this device, if it was measured before.

    Raises ConfigError when its file cannot be read.
    """
    if not isinstance(pruning.structure, Structure):
        return None
    return load_profile(profile_path(meter.reference, pruning.structure, meter.fingerprint))


def latency_step_widths(pruning: Pruning, profile: Profile | None) -> dict[str, tuple[int, ...]]:
    """Group -> the widths worth having on the device of a profile; nothing without one."""
    structure = pruning.structure
    if profile is None or not isinstance(structure, Structure):
        return {}
    return worth_offering(structure, profile)


def predictor_for(origin: Origin, structure: Structure) -> Predictor | None:
    """What the profile says of a model that is not timed, or not yet; None where there is none.

    Raises ConfigError when it cannot be read.
    """
    profile = profile_for(origin, structure)
    return None if profile is None else Predictor.of(structure, profile)


def profile_for(origin: Origin, structure: Prunable) -> Profile | None:
    """The profile of a model that is not timed, or not yet; None where there is none.

    Raises ConfigError when it cannot be read.
    """
    if not isinstance(structure, Structure):
        return None
    setting, inputs = setting_of(origin.config), timing_batch(origin.config, origin.example)
    fingerprint = fingerprint_of(setting, origin.model, setting.given(inputs))
    return load_profile(profile_path(origin.model, structure, fingerprint))


class StudyTimer:
    """Measures each shape of the model once in a study, whatever the number of workers.

    A latency depends on shapes alone, so that plans which keep as many units as an earlier one have its
    latency too. What a trial measured is recorded with it at once, so that the other workers find it.
    """

    def __init__(self, study: optuna.Study, trial: optuna.Trial, meter: Meter) -> None:
        self._study, self._trial, self._meter = study, trial, meter

    def __call__(self, model: nn.Module) -> Latency:
        """The latency that a trial of this study recorded for such shapes, else a new measurement."""
        shapes = shape_signature(model)
        timing = self._recorded(shapes)
        if timing is None:
            timing = _timing(self._meter.measure(model), shapes)
        self._trial.set_user_attr(TIMING, timing)
        return _latency(timing, self._meter)

    def _recorded(self, shapes: str) -> dict[str, Any] | None:
        place = shapes, self._meter.fingerprint.key
        for trial in self._study.get_trials(deepcopy=False):
            timing = trial.user_attrs.get(TIMING)
            if timing is not None and (timing["shapes"], timing["device"]) == place:
                return {**timing, "measured_in": timing.get("measured_in", trial.number)}
        return None


def _timing(latency: Latency, shapes: str) -> dict[str, Any]:
    return {
        "ms": latency.seconds * 1e3,
        "original_ms": latency.reference_seconds * 1e3,
        "ratio": latency.ratio,
        "low": latency.ratio_low,
        "high": latency.ratio_high,
        "repeats": latency.repeats,
        "converged": latency.converged,
        "drift": latency.drift,
        "shapes": shapes,
        "device": latency.fingerprint.key,
    }


def _latency(timing: Mapping[str, Any], meter: Meter) -> Latency:
    return Latency(
        seconds=timing["ms"] * 1e-3,
        reference_seconds=timing["original_ms"] * 1e-3,
        ratio=timing["ratio"],
        ratio_low=timing["low"],
        ratio_high=timing["high"],
        repeats=timing["repeats"],
        converged=timing["converged"],
        drift=timing["drift"],
        fingerprint=meter.fingerprint,
    )
