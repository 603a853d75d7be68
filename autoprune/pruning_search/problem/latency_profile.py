"""Profiles of models, measured group by group: a run that was stopped goes on where it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from autoprune.cost import Meter, Profile, Setting
from autoprune.cost.latency.profile import SAMPLES, Sample, load_profile, profiled, sampled, save_profile
from autoprune.cost.latency.setting import Inputs
from autoprune.pruning_search.problem.latency import latency_step_widths, profile_path
from autoprune.pruning_search.problem.problem import Problem
from autoprune.structure import Structure
from autoprune.study.listener import Listener

TOLERANCE = 0.005
"""Relative half-width of an interval at which a timing ends: many groups are a few percent of a model."""


def profiling_meter(model: nn.Module, inputs: Inputs, setting: Setting) -> Meter:
    """Times cut copies of a model."""
    warmup = min(0.1, setting.max_seconds / 5)
    return Meter(model, inputs, setting, tolerance=TOLERANCE, warmup=warmup, cuts=True)


def measure_profile(
    model: nn.Module, structure: Structure, meter: Meter, file: Path, listener: Listener
) -> Profile:
    """Time all that a profile holds and keep it in the file; what an earlier run timed is not timed again.

    Cut models that do not run are left out.

    Raises ModelError if the original model does not run, ConfigError when files cannot be read or written.
    """
    failures: list[str] = []
    part = file.with_suffix(".part")
    listener.phase("latency", f"of each group, {meter.setting.runtime.name}")
    profile = load_profile(part) or Profile(meter.fingerprint, meter.reference_seconds(), {})
    for group, steps in profiled(model, structure, meter, profile.latency_steps, failures.append):
        profile = replace(profile, latency_steps={**profile.latency_steps, group: steps})
        save_profile(profile, part)
        listener.progress(len(profile.latency_steps) / len(structure.groups), group)
    listener.phase("latency", f"of {SAMPLES} random plans")
    samples: list[Sample] = []
    for sample in sampled(model, structure, meter, failed=failures.append):
        samples.append(sample)
        listener.progress(len(samples) / SAMPLES)
    if failures:
        listener.note(f"{len(failures)} cut models do not run and are left out; the first: {failures[0]}")
    profile = replace(profile, samples=tuple(samples))
    save_profile(profile, file)
    part.unlink(missing_ok=True)
    return profile


def ensure_profile(problem: Problem, listener: Listener) -> Problem:
    """The problem with a profile of the device, measured now where the budget limits latency.

    Without one a search proposes plans by FLOPs, and may try many before one meets a limit on latency.
    Raises what :func:`measure_profile` raises.
    """
    meter, structure, config = problem.meter, problem.structure, problem.config
    is_needed = (
        config.profile and "latency" in problem.budget_model.limits and problem.budget_model.profile is None
    )
    if not is_needed or meter is None or not isinstance(structure, Structure):
        return problem
    listener.note("latency is limited: what each group costs is measured first, once for this device")
    slow = profiling_meter(problem.model, meter.inputs, meter.setting)
    file = profile_path(problem.model, structure, meter.fingerprint)
    profile = measure_profile(problem.model, structure, slow, file, listener)
    steps = latency_step_widths(problem.pruning, profile)
    budget_model = replace(problem.budget_model, profile=profile, latency_steps=steps)
    return replace(problem, budget_model=budget_model)
