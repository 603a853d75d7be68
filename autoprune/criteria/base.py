"""What a criterion is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, cast

from torch import Tensor, nn

from autoprune.errors import CriterionError
from autoprune.structure.groups import Structure

Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Starts one pass over the calibration data: pairs of model input and target."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""Scalar loss of the model's output and the target, averaged over the batch."""

Prices = Callable[[], Mapping[str, float]]
"""Group name -> what one unit of the original model costs, worked out when it is asked for."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Context:
    """What importance may be judged by. A criterion leaves all of it as it was.

    Attributes:
        model: the original model.
        structure: its groups.
        batches: calibration data, the same on every call; None when there is none.
        loss: the task's loss; None when there is none.
        seed: seed of everything random.
        prices: name of a cost -> what a unit of each group costs, for cost-aware criteria.
    """

    model: nn.Module
    structure: Structure
    batches: Batches | None = None
    loss: Loss | None = None
    seed: int = 0
    prices: Mapping[str, Prices] = field(default_factory=dict)
    # Not an argument, so that a context made from another one starts with nothing in it.
    _shared: dict[object, object] = field(default_factory=dict, init=False, repr=False)

    def once(self, key: object, make: Callable[[], T]) -> T:
        """What `make` gives, made on the first call with this key: statistics that several criteria read."""
        if key not in self._shared:
            self._shared[key] = make()
        return cast(T, self._shared[key])

    def data(self, criterion: str) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over the calibration data, for the criterion of that name.

        Raises CriterionError when there is none, or (while it is read) when it yields no batch.
        """
        if self.batches is None:
            raise CriterionError(
                f"criterion {criterion} needs calibration data: give data, or use criterion l2"
            )
        return _at_least_one(criterion, self.batches())

    def labelled(self, criterion: str) -> tuple[Iterator[tuple[Tensor, Tensor]], Loss]:
        """The same, with the loss. Raises CriterionError without either."""
        if self.batches is None or self.loss is None:
            raise CriterionError(
                f"criterion {criterion} needs calibration data and a loss: give data, or use criterion l2"
            )
        return _at_least_one(criterion, self.batches()), self.loss


def _at_least_one(
    criterion: str, batches: Iterable[tuple[Tensor, Tensor]]
) -> Iterator[tuple[Tensor, Tensor]]:
    empty = True
    for batch in batches:
        empty = False
        yield batch
    if empty:
        raise CriterionError(f"criterion {criterion} got no calibration batches: give at least one")


class Criterion(Protocol):
    """Judges how important each unit is.

    A criterion whose scores compare across groups as they are says so with an attribute ``relative = False``;
    those of any other are divided by their group's mean before units of different groups compete.
    """

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Group name -> float64 tensor ``[width]``; the larger, the more important is the unit."""
        ...
