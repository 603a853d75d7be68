"""Find the state dict in a checkpoint, and strip the name prefixes of wrappers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from autoprune.config.weights_file import WeightsFile
from autoprune.errors import ModelError
from autoprune.utils.suggest import did_you_mean

ENTRIES = ("state_dict", "model", "model_state_dict", "net", "params", "module")
"""Entries of checkpoints that may contain the weights; the first one present is used."""
AVERAGED = ("ema", "state_dict_ema", "model_ema", "ema_state_dict", "params_ema")
"""Entries that contain a moving average of the weights, used only on request."""
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
"""Name prefixes of DataParallel, torch.compile and attributes of a LightningModule."""
_COMPILED = "_orig_mod."
_DEEPEST, _SHOWN = 4, 5
_EMA = "ema"

State = Mapping[str, Tensor]


def find_state(loaded: object, source: WeightsFile) -> tuple[State, str]:
    """The state dict in a file, at its top level or in an entry.

    Args:
        loaded: the content of the file.
        source: the file, and the requested entry.

    Returns:
        The state dict, and a phrase that names its entry; empty if it is the whole file.

    Raises:
        ModelError: if there is none, or not the requested one.
    """
    if source.entry is not None:
        return _asked(loaded, source, source.entry)
    found = _descend(loaded)
    if found is None:
        raise ModelError(_no_state(loaded, source))
    state, path = found
    if not path:
        return state, ""
    others = [key for key in _entries(loaded) if key != path[0]]
    besides = f" (for {others[0]} give {source.path}:{others[0]})" if others else ""
    return state, f"took the entry {'.'.join(path)}{besides}"


def without_wrappers(state: State, own: Iterable[str]) -> tuple[State, str]:
    """The state dict with the model's own names.

    Args:
        state: the state dict of a file.
        own: names of the model's tensors; a prefix that all of them have is kept.

    Returns:
        The state dict, and a phrase that names the stripped prefix; empty if nothing was stripped.
    """
    own, removed, front = list(own), [], ""
    while prefix := _common_prefix(state, own):
        state = _renamed(state, partial(_without_start, len(prefix)))
        front += prefix
    if front:
        removed.append(f"{front} before every name")
    inside = f".{_COMPILED}"
    if any(inside in name for name in state) and not any(_COMPILED in name for name in own):
        state = _renamed(state, lambda name: name.replace(inside, "."))
        removed.append(f"{_COMPILED} inside names")
    return state, f"removed {' and '.join(removed)}" if removed else ""


def is_state(value: object) -> bool:
    """Whether a value is a state dict that contains tensors."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items())
    )


def _without_start(length: int, name: str) -> str:
    return name[length:]


def _common_prefix(state: State, own: list[str]) -> str | None:
    for prefix in PREFIXES:
        all_have_it = bool(state) and all(name.startswith(prefix) for name in state)
        if all_have_it and not all(name.startswith(prefix) for name in own):
            return prefix
    return None


def _renamed(state: State, rename: Callable[[str], str]) -> State:
    """The state dict with the modules' version metadata, which torch keeps next to the tensors."""
    renamed = OrderedDict((rename(name), tensor) for name, tensor in state.items())
    if len(renamed) < len(state):
        return state
    versions = getattr(state, "_metadata", None)
    if isinstance(versions, dict):
        renamed._metadata = {  # type: ignore[attr-defined]
            rename(f"{name}.").removesuffix("."): version
            for name, version in versions.items()
            if isinstance(name, str)
        }
    return renamed


def _asked(loaded: object, source: WeightsFile, entry: str) -> tuple[State, str]:
    known = loaded if isinstance(loaded, Mapping) and not is_state(loaded) else {}
    names = (entry, *AVERAGED) if entry == _EMA else (entry,)
    key = next((name for name in names if name in known), None)
    found = None if key is None else _descend(known[key])
    if key is None or found is None:
        holding = _entries(loaded)
        hint = f": weights are under {', '.join(holding[:_SHOWN])}" if holding else ": leave it out"
        raise ModelError(f"{source.path} has no weights under {entry!r}{did_you_mean(entry, holding, hint)}")
    return found[0], f"took the entry {'.'.join((key, *found[1]))}"


def _descend(value: Any, depth: int = 0) -> tuple[State, tuple[str, ...]] | None:
    """The state dict in a value, and the keys that lead to it."""
    if is_state(value):
        return value, ()
    if not isinstance(value, Mapping) or depth == _DEEPEST:
        return None
    for key in ENTRIES:
        found = _descend(value.get(key), depth + 1)
        if found is not None:
            return found[0], (key, *found[1])
    return None


def _entries(loaded: object) -> list[str]:
    """Keys of a checkpoint that contain weights."""
    if not isinstance(loaded, Mapping) or is_state(loaded):
        return []
    return [key for key, value in loaded.items() if isinstance(key, str) and _descend(value) is not None]


def _no_state(loaded: object, source: WeightsFile) -> str:
    entries = _entries(loaded)
    if entries:
        ways = " or ".join(f"{source.path}:{key}" for key in entries[:_SHOWN])
        return f"{source.path} holds no state dict under {', '.join(ENTRIES)}: name the entry, as {ways}"
    kind = type(loaded).__name__
    if isinstance(loaded, Mapping):
        odd = next((key for key, value in loaded.items() if not isinstance(value, Tensor)), None)
        kind = "an empty mapping" if odd is None else f"a mapping in which {str(odd)[:60]!r} is no tensor"
    return f"{source.path} holds no state dict but {kind}: save model.state_dict()"
