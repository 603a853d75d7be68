"""Why weights do not fit a model, in one line: what differs, and the likely cause."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

COUNTER = "num_batches_tracked"
"""BatchNorm's counter; weights from PyTorch versions without it are accepted."""
SHOWN_NAMES, MOST_NAME, MOST_AXES = 3, 100, 8

Shapes = Mapping[str, tuple[int, ...]]


def misfit(own: Shapes, given: Shapes, missing: Sequence[str], unexpected: Sequence[str]) -> str:
    """Why tensors cannot be loaded, and the likely cause.

    Args:
        own: name -> shape of the model's tensors.
        given: name -> shape of the file's tensors.
        missing: names that the model needs and the file lacks.
        unexpected: names in the file that the model does not have.

    Returns:
        A sentence without a full stop, and what to do.
    """
    reshaped = [name for name, shape in given.items() if name in own and shape != own[name]]
    return f"{_differences(own, given, reshaped, missing, unexpected)}; " + _cause(
        own, given, reshaped, missing, unexpected
    )


def _differences(
    own: Shapes, given: Shapes, reshaped: Sequence[str], missing: Sequence[str], unexpected: Sequence[str]
) -> str:
    phrases = [
        f"{name} is {list(given[name][:MOST_AXES])} instead of {list(own[name])}"
        for name in reshaped[:SHOWN_NAMES]
    ]
    if not reshaped:
        phrases += [f"{name} is missing" for name in missing[:1]]
        phrases += [f"{name[:MOST_NAME]} is unknown" for name in unexpected[:1]]
    more = len(reshaped) + len(missing) + len(unexpected) - len(phrases)
    shown = " and ".join(phrases) if not reshaped else ", ".join(phrases)
    return shown + (f", and {more} more" if more else "")


def _cause(
    own: Shapes, given: Shapes, reshaped: Sequence[str], missing: Sequence[str], unexpected: Sequence[str]
) -> str:
    if reshaped and _only_first_axis(own, given, reshaped) and len(reshaped) <= 2:
        name = reshaped[0]
        return (
            f"the file is for {given[name][0]} classes and the model has {own[name][0]}: "
            "give weights of this model, or another --model"
        )
    if missing and unexpected:
        # Counters are optional.
        missing, unexpected = (
            [n for n in names if not n.endswith(COUNTER)] for names in (missing, unexpected)
        )
        before = _prefix(missing, unexpected)
        if before:
            return f"the file's names begin with {before!r}: take that off, or give the part that it names"
        before = _prefix(unexpected, missing)
        if before:
            return f"the model's names begin with {before!r}, the file's do not: put it before them"
        if [given[n] for n in unexpected if given[n]] == [own[n] for n in missing if own[n]]:
            return "the shapes agree in order: another code names these layers, rename them as the model does"
    if missing and not unexpected and not reshaped:
        return "the file holds a part of this model, or a smaller one: save all of model.state_dict()"
    if unexpected and not missing and not reshaped:
        return "the file is of a larger model: give weights of this model, or another --model"
    return "give weights of this model, or another --model"


def _only_first_axis(own: Shapes, given: Shapes, reshaped: Iterable[str]) -> bool:
    return all(own[n] and given[n] and own[n][1:] == given[n][1:] for n in reshaped)


def _prefix(names: Sequence[str], longer: Sequence[str]) -> str:
    """The common prefix of all `names` in `longer`; empty if there is none."""
    if not names:
        return ""
    end = f".{names[0]}"
    starts = (name.removesuffix(names[0]) for name in longer if name.endswith(end))
    known = set(longer)
    return next((start for start in starts if all(start + name in known for name in names)), "")
