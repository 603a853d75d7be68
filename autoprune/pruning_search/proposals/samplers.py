"""Samplers by name."""

from __future__ import annotations

import warnings

import optuna
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    RandomSampler,
)

from autoprune.pruning_search.proposals.joint_tpe import JointTPE

FEW_GROUPS = 20
"""Up to here a Gaussian process is quick and searches well."""
POPULATION = 20
"""Of the genetic samplers; Optuna's default of 50 would be a whole search."""


def make_sampler(name: str, *, groups: int, seed: int) -> BaseSampler:
    """The sampler of that name; ``auto`` is GP for few groups and TPE for many.

    Over few parameters a Gaussian process reaches a given hypervolume in a fraction of TPE's trials;
    over many, its edge is gone and its cost an ask is not.
    """
    if name == "auto":
        name = "gp" if groups <= FEW_GROUPS else "tpe"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "gp":
            return GPSampler(seed=seed, n_startup_trials=10, warn_independent_sampling=False)
        if name == "tpe":
            return JointTPE(seed)
        if name == "nsga2":
            return NSGAIISampler(seed=seed, population_size=POPULATION)
        if name == "nsga3":
            return NSGAIIISampler(seed=seed, population_size=POPULATION)
        return RandomSampler(seed=seed)
