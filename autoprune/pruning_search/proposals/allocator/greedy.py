"""Greedy allocation: the step that loses least for what it saves, again and again."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

from autoprune.pruning_search.proposals.allocator.task import Allocation, AllocationTask, Positions

SHARPNESS = 8
"""Norm that makes one cost of several limits: close to the largest, yet smooth where two are equal."""
WINDOW = 16
"""Steps before the last one that may be given back to use up what it left over."""


class Greedy:
    """Plans for every level of the budget, on one path from the widest plan to the narrowest.

    Each step narrows one group by one width of its curve: the group whose marginal loss is least for its
    marginal exact cost. What a step saves shrinks as other groups become narrower, so a step that was
    dear is never cheap later, and only the head of a heap has to be priced again (Minoux, 1978).

    Which steps are taken does not depend on the level. A level gets the best, by predicted loss, of the
    path's plans and of plans with some of the last steps given back, a collection that does not depend
    on the level either: a higher level never predicts a higher loss.
    """

    def __init__(self, task: AllocationTask) -> None:
        self._task = task
        self._drops = task.drops
        start = task.widest
        self._plans: list[Positions] = [start]
        self._steps: list[int] = []
        self._cost, spent = self._price(start[None])
        self._spent = [float(spent[0])]
        self._heap = self._first_heap(start)

    def at(self, level: float) -> Allocation:
        """The plan for this share of the budget; the narrowest one where none is cheap enough."""
        first = next((k for k, spent in enumerate(self._spent) if spent <= level), None)
        while first is None:
            if not self._extend():
                return self._task.allocation(self._plans[-1])
            if self._spent[-1] <= level:
                first = len(self._steps)
        best, least = self._plans[first], self._task.loss(self._plans[first])
        last = first + WINDOW if first else 0
        while len(self._steps) < last and self._extend():
            pass
        for taken in range(first, min(last, len(self._steps)) + 1):
            filled = self._give_back(taken, level)
            loss = self._task.loss(filled)
            if loss < least:
                best, least = filled, loss
        return self._task.allocation(best)

    def _give_back(self, taken: int, level: float) -> Positions:
        """The plan after so many steps without those before the last one, latest first, that fit in again.

        The group of the last step stays as it is: giving that back would lead back along the path.
        """
        plan = self._plans[taken]
        if self._spent[taken] > level or not taken:
            return plan
        earlier = self._steps[max(0, taken - 1 - WINDOW) : taken - 1]
        others = [group for group in reversed(earlier) if group != self._steps[taken - 1]]
        if not others:
            return plan
        gifts = np.zeros((len(others), len(plan)), dtype=np.int64)
        gifts[np.arange(len(others)), others] = 1
        wider = plan + gifts.cumsum(axis=0)
        over = self._task.spent(wider) > level
        fitting = int(over.argmax()) if over.any() else len(others)
        return plan if fitting == 0 else wider[fitting - 1]

    def _extend(self) -> bool:
        """One step more on the path; false when every group is as narrow as can be."""
        plan = self._plans[-1]
        while self._heap:
            _, group = heappop(self._heap)
            narrower = plan.copy()
            narrower[group] -= 1
            cost, spent = self._price(narrower[None])
            ratio = _ratio(self._drops[group][narrower[group]], self._cost[0] - cost[0])
            if self._heap and (ratio, group) > self._heap[0]:
                heappush(self._heap, (ratio, group))
                continue
            self._plans.append(narrower)
            self._steps.append(group)
            self._spent.append(float(spent[0]))
            self._cost = cost
            if narrower[group] > 0:
                # The next step of this group cannot be better: its true ratio is found when it is its turn.
                heappush(self._heap, (ratio, group))
            return True
        return False

    def _first_heap(self, start: Positions) -> list[tuple[float, int]]:
        groups = np.flatnonzero(start)
        narrower = np.repeat(start[None], len(groups), axis=0)
        narrower[np.arange(len(groups)), groups] -= 1
        costs = self._price(narrower)[0] if len(groups) else np.empty(0)
        heap = [
            (_ratio(self._drops[group][start[group] - 1], self._cost[0] - cost), int(group))
            for group, cost in zip(groups, costs, strict=True)
        ]
        heapify(heap)
        return heap

    def _price(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """One cost of all limits, and the largest share of a limit, of each of n plans."""
        shares = self._task.shares(positions)
        most: NDArray[np.float64] = shares.max(axis=1)
        if shares.shape[1] == 1:
            return most, most
        scale = np.maximum(most, np.finfo(float).tiny)
        return scale * ((shares / scale[:, None]) ** SHARPNESS).sum(axis=1) ** (1 / SHARPNESS), most


def _ratio(loss: float, saved: float) -> float:
    """Loss for cost; a step that saves nothing comes last."""
    return float(loss / saved) if saved > 0 else float("inf")
