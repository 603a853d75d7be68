"""Products of an activation and a parameter that no layer owns, such as ``x @ self.weight``."""

from __future__ import annotations

from torch import Tensor

from autoprune.structure.propagation.labels import along, varying
from autoprune.structure.propagation.propagate import Propagation
from autoprune.structure.propagation.rules.products import Factor

ACROSS = "multiplied with parameters along another axis than the units"


def weighted_product(
    state: Propagation, entering: Factor, name: str, letters: str, result: str
) -> Tensor | None:
    """Labels of the product of an activation and a parameter, or None where units lie on a shared axis.

    An axis of the parameter over which the product sums reads the activation's units; one that the
    activation lacks makes new ones. Where there are several, as in a projection to heads and their
    width, one of them is cut. An axis that both have and the result keeps (frequencies, experts) has a
    matrix of its own at every position, and stays.

    Args:
        state: the walk.
        entering: the activation.
        name: state-dict name of the parameter.
        letters: a letter for every axis of the parameter.
        result: letters of the result.
    """
    shared = [letter for letter in letters if letter in entering.letters and letter in result]
    summed = [letter for letter in letters if letter in entering.letters and letter not in result]
    made = [letter for letter in letters if letter in result and letter not in entering.letters]
    labels = state.space.settle(entering.labels)
    if shared and (not made or any(entering.letters[axis] in shared for axis in varying(labels))):
        return None
    reading = [axis for axis in varying(labels) if entering.letters[axis] in summed]
    if reading:
        labels = state.space.straighten(state.space.keep(labels, reading))
    elif varying(labels):
        state.space.freeze(labels, ACROSS)
        labels = state.space.fixed([1] * labels.dim(), ACROSS)
    axis = entering.letters.index(summed[0]) if len(summed) == 1 else next(iter(varying(labels)), None)
    if axis is not None:
        letter = entering.letters[axis]
        units = along(labels, axis, entering.shape[axis])
        state.space.join(units, state.axis(name, letters.index(letter), "in"))
    if not made:
        return state.space.fixed([1] * len(result), "a sum that has no units")
    letter = made[0] if state.attention == "heads" else made[-1]
    leaving = state.axis(name, letters.index(letter), "out")
    return state.space.settle(leaving.reshape([-1 if other == letter else 1 for other in result]))
