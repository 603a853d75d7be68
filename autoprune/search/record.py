"""What a finished trial carries for people and programs to read."""

from __future__ import annotations

import math
from typing import Any

import optuna

from autoprune.search.evaluate import Candidate
from autoprune.search.problem import Problem
from autoprune.tasks import Score


def attributes(problem: Problem, candidate: Candidate) -> dict[str, Any]:
    """User attributes of an evaluated trial. Latency in milliseconds, seconds by stage."""
    full = problem.baseline.costs
    costs = candidate.costs
    recorded: dict[str, Any] = {
        "plan": candidate.plan.hash if candidate.plan else "uncut",
        "widths": candidate.widths,
        "flops": costs.flops,
        "parameters": costs.parameters,
        "size": costs.size,
        "flops_ratio": round(costs.flops / full.flops, 6),
        "quality": candidate.score.value,
        "quality_error": standard_error(candidate.score, problem.data.task.metric),
        "loss": candidate.score.loss,
        "seconds": {stage: round(seconds, 4) for stage, seconds in candidate.seconds.items()},
    }
    if candidate.latency is not None:
        recorded |= {
            "latency_ms": candidate.latency.seconds * 1e3,
            "latency_ratio": candidate.latency.ratio,
            "latency_low": candidate.latency.ratio_low,
            "latency_high": candidate.latency.ratio_high,
        }
    return recorded


def values(problem: Problem, recorded: dict[str, Any]) -> list[float]:
    """Objective values in the order of ``problem.objectives``."""
    return [recorded["quality"], *(recorded[name] for name in problem.objectives[1:])]


def standard_error(score: Score, metric: str) -> float | None:
    """Binomial standard error of an accuracy; None for other metrics."""
    if metric != "accuracy":
        return None
    return math.sqrt(score.value * (1 - score.value) / score.samples)


def write(trial: optuna.Trial, recorded: dict[str, Any]) -> None:
    """Set the user attributes."""
    for key, value in recorded.items():
        if value is not None:
            trial.set_user_attr(key, value)
