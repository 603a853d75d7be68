"""What a finished trial carries for people and programs to read."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import optuna

from autoprune.cost import Latency, MaskCosts
from autoprune.pruning_search.evaluation.evaluate import EvaluatedCandidate
from autoprune.pruning_search.problem.problem import Problem
from autoprune.study.attributes import (
    EXPECTED,
    FLOPS_RATIO,
    MICRO_BATCHES,
    PLAN,
    PREDICTED,
    REASON,
    STAGES,
    STOPPED,
    WIDTHS,
)
from autoprune.tasks import Score


def attributes(problem: Problem, candidate: EvaluatedCandidate) -> dict[str, Any]:
    """User attributes of an evaluated trial, seconds by stage."""
    full = problem.budget_model.original_costs
    costs = candidate.costs
    recorded: dict[str, Any] = {
        PLAN: candidate.plan.hash if candidate.plan else "original",
        WIDTHS: candidate.widths,
        "flops": costs.flops,
        "parameters": costs.parameters,
        "size": costs.size,
        FLOPS_RATIO: round(costs.flops / full.flops, 6),
        **({MICRO_BATCHES: candidate.micro_batches} if candidate.micro_batches > 1 else {}),
        **_outcome(problem, candidate),
        **candidate.others,
        "seconds": {stage: round(seconds, 4) for stage, seconds in candidate.seconds.items()},
    }
    if isinstance(costs, MaskCosts):
        recorded |= {
            "nonzero": costs.nonzero,
            "nonzero_ratio": round(costs.nonzero / full.parameters, 6),
            "effective_multiply_adds": costs.effective_multiply_adds,
        }
    if candidate.latency is not None:
        recorded |= latency_attributes(problem, candidate.latency)
        if problem.budget_model.predictor is not None:
            recorded[PREDICTED] = round(problem.budget_model.predictor.ratio(candidate.widths), 6)
    return recorded


def _outcome(problem: Problem, candidate: EvaluatedCandidate) -> dict[str, Any]:
    """How good the candidate is, or why that was not found out, with what each stage decided."""
    stages = {STAGES: candidate.stages} if candidate.stages else {}
    stop = candidate.stop
    if stop is not None:
        return {EXPECTED: stop.expected, STOPPED: stop.stage, REASON: stop.reason, **stages}
    return {**quality_attributes(problem, candidate.score), "loss": candidate.score.loss, **stages}


def latency_attributes(problem: Problem, latency: Latency) -> dict[str, float]:
    """Latency in milliseconds, and relative to the original model's with the bounds of its interval.

    The milliseconds are those that the ratio makes of the study's one measurement of the original model: in
    another hour the machine may be half as fast, but the ratio stays.
    """
    original = problem.budget_model.original_latency or latency.reference_seconds
    return {
        "latency_ms": latency.ratio * original * 1e3,
        "latency_ratio": latency.ratio,
        "latency_low": latency.ratio_low,
        "latency_high": latency.ratio_high,
    }


def values(problem: Problem, recorded: dict[str, Any]) -> list[float]:
    """Objective values in the order of ``problem.objectives``."""
    return [
        recorded.get("quality", recorded.get(EXPECTED)),
        *(recorded[name] for name in problem.objectives[1:]),
    ]


def quality_attributes(problem: Problem, score: Score) -> dict[str, float]:
    """Quality with the standard error and the 95 % interval of its estimate, where they are known."""
    noise = score.noise(problem.data.task)
    interval = {} if noise is None else {f"quality_{name}": value for name, value in asdict(noise).items()}
    return {"quality": score.value, **interval}


def write(trial: optuna.Trial, recorded: dict[str, Any]) -> None:
    """Set the user attributes."""
    for key, value in recorded.items():
        if value is not None:
            trial.set_user_attr(key, value)
