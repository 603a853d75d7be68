"""Exact allocation on an additive model of the cost, by integer programming."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from autoprune.pruning_search.proposals.allocator.greedy import Greedy
from autoprune.pruning_search.proposals.allocator.task import Allocation, AllocationTask, Positions
from autoprune.utils.silent_output import silent_output

REACHES = (1000, 4, 2, 1)
"""How many widths away from the plan around which costs are taken as additive a group may go, in turn."""
GAP = 1e-6
"""Relative distance to the proven optimum at which the solver may stop."""
LEAST_GAIN = 1e-12
"""What an exchange has to gain, so that rounding does not make it go in circles."""
SECONDS = 2.0
"""Most seconds of one run of the solver."""


def exact_plans(task: AllocationTask, levels: Sequence[float]) -> list[Allocation]:
    """For each level of the budget the best plan by predicted loss that is found.

    Costs are products of widths, but near a plan they are almost sums of what each group's width changes.
    The multiple-choice knapsack of these sums is solved to optimality by HiGHS (Huangfu and Hall, 2018),
    first around the greedy plan, then around its own solutions within a reach that shrinks. Every
    solution is repaired and filled by exact costs, and pairs of groups trade a width for another as long as
    that helps. Where costs are sums, the first solution is optimal.

    A level also gets what was found for a lower one if that is better, so that a higher level never
    predicts a higher loss. Where no plan is cheap enough the result is the narrowest one.
    """
    greedy = Greedy(task)
    starts = [task.position(greedy.at(level).widths) for level in levels]
    solutions = [_around(task, level, start) for level, start in zip(levels, starts, strict=True)]
    plans = [task.allocation(positions) for positions in solutions]
    best = []
    for level, own in zip(levels, plans, strict=True):
        fitting = [plan for plan in plans if plan.spent <= level]
        best.append(min(fitting, key=lambda plan: plan.loss, default=own))
    return best


def _around(task: AllocationTask, level: float, start: Positions) -> Positions:
    """The best plan that is found by solving additive models, beginning around `start`."""
    best = start
    if not task.spent(start[None])[0] <= level:
        return best
    best = _trade(task, fill(task, best, level), level)
    for reach in REACHES:
        solved = _solve(task, best, level, reach)
        if solved is None:
            continue
        solved = _trade(task, fill(task, _repair(task, solved, level), level), level)
        if task.spent(solved[None])[0] <= level and task.loss(solved) < task.loss(best):
            best = solved
    return best


def _solve(task: AllocationTask, around: Positions, level: float, reach: int) -> Positions | None:
    """The optimum of the model that is additive around a plan; None where the solver finds none."""
    choices = [
        range(max(0, at - reach), min(top, at + reach) + 1)
        for at, top in zip(around.tolist(), task.widest.tolist(), strict=True)
    ]
    group = np.repeat(np.arange(len(choices)), [len(choice) for choice in choices])
    position = np.concatenate([np.fromiter(choice, dtype=np.int64) for choice in choices])
    plans = np.repeat(around[None], len(group), axis=0)
    plans[np.arange(len(group)), group] = position
    own = task.shares(around[None])[0]
    changes = task.shares(plans) - own
    losses = np.concatenate(
        [
            np.array(curve.losses)[list(choice)]
            for curve, choice in zip(task.curves.values(), choices, strict=True)
        ]
    )
    one_each = csr_array((np.ones(len(group)), (group, np.arange(len(group)))))
    with silent_output():
        solved = milp(
            losses,
            integrality=np.ones(len(group), dtype=np.int64),
            bounds=Bounds(0, 1),
            constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(changes.T, -np.inf, level - own)],
            options={"mip_rel_gap": GAP, "time_limit": SECONDS},
        )
    if solved.x is None:
        return None
    chosen: Positions = around.copy()
    taken = np.flatnonzero(solved.x > 0.5)
    chosen[group[taken]] = position[taken]
    return chosen


def _repair(task: AllocationTask, positions: Positions, level: float) -> Positions:
    """The plan, narrowed by the steps that lose least for what they save until it is cheap enough."""
    while task.spent(positions[None])[0] > level:
        steps = _neighbours(positions, np.flatnonzero(positions > 0), -1)
        if not len(steps):
            return positions
        saved = task.spent(positions[None])[0] - task.spent(steps)
        lost = task.losses(steps) - task.loss(positions)
        positions = steps[np.argmin(_per(lost, saved))]
    return positions


def fill(task: AllocationTask, positions: Positions, level: float) -> Positions:
    """The plan, widened by the steps that gain most for what they cost as long as one is affordable."""
    while True:
        steps = _neighbours(positions, np.flatnonzero(positions < task.widest), 1)
        spent = task.spent(steps) if len(steps) else np.empty(0)
        steps, spent = steps[spent <= level], spent[spent <= level]
        if not len(steps):
            return positions
        gained = task.loss(positions) - task.losses(steps)
        positions = steps[np.argmax(_per(gained, spent - task.spent(positions[None])[0]))]


def _trade(task: AllocationTask, positions: Positions, level: float) -> Positions:
    """The plan after the best exchange of one group's width for another's, again and again."""
    while True:
        wider = _neighbours(positions, np.flatnonzero(positions < task.widest), 1)
        trades = np.concatenate(
            [_neighbours(plan, np.flatnonzero((plan > 0) & (plan == positions)), -1) for plan in wider]
            or [wider]
        )
        losses = task.losses(trades)
        better = losses < task.loss(positions) - LEAST_GAIN
        trades, losses = trades[better], losses[better]
        order = np.argsort(losses, kind="stable")
        trades = trades[order]
        fitting = np.flatnonzero(task.spent(trades) <= level) if len(trades) else np.empty(0, dtype=np.intp)
        if not len(fitting):
            return positions
        positions = fill(task, trades[fitting[0]], level)


def _neighbours(positions: Positions, groups: NDArray[np.intp], step: int) -> NDArray[np.int64]:
    """The plans with one of the groups a step away, ``[len(groups), groups of the task]``."""
    steps = np.repeat(positions[None], len(groups), axis=0)
    steps[np.arange(len(groups)), groups] += step
    return steps


def _per(loss: NDArray[np.float64], cost: NDArray[np.float64]) -> NDArray[np.float64]:
    """Loss for cost; infinite where nothing is saved or spent."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(cost > 0, loss / cost, np.inf)
