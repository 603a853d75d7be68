"""Reading a DataLoader to its end, with errors that name the place."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Sized
from itertools import count
from types import FrameType
from typing import Any, cast

from torch.utils.data import DataLoader

from autoprune.errors import DataError, UserError
from autoprune.tasks.import_reference import summary
from autoprune.tasks.out_of_memory import is_out_of_memory

_CAUGHT = re.compile(r"Caught (\w+) in DataLoader worker process")
"""Prefix of PyTorch's message for an error in a worker process; its traceback follows."""
_TORCH = "torch/utils/data/"


def read(loader: DataLoader[Any], name: str) -> Iterator[Any]:
    """Batches of a loader, the split of which is called ``name``.

    Raises DataError, with the reason and the place, when the data set or the loader fails: also for what
    would end the loop (``StopIteration``) or the process (``SystemExit``) silently. Ctrl-C stays a stop.
    """
    batches: Iterator[Any] | None = None
    for number in count():
        try:
            batches = iter(loader) if batches is None else batches
            batch = next(batches)
        except (UserError, KeyboardInterrupt):
            raise
        except BaseException as failure:
            if is_out_of_memory(failure):
                raise
            if _is_end(failure):
                return
            where = _sample(failure, loader) or f"batch {number}"
            raise DataError(f"reading the data failed: {_cause(failure)} ({place(name, where)})") from failure
        yield batch


def place(name: str, where: str = "") -> str:
    """``train, sample 3``; what is not known is left out."""
    return ", ".join(filter(None, (name, where)))


def _is_end(failure: BaseException) -> bool:
    """Whether the loader is at its end: a data set's own StopIteration looks the same to a loop."""
    if not isinstance(failure, StopIteration) or failure.args:
        return False
    return not any(frame.f_code.co_name == "fetch" for frame in _frames(failure))


def _sample(failure: BaseException, loader: DataLoader[Any]) -> str:
    """``sample 3`` where the user's data set raised it in this process; else nothing."""
    for frame in _frames(failure):
        code = frame.f_code
        if code.co_name == "__getitem__" and code.co_argcount > 1 and _TORCH not in code.co_filename:
            index = frame.f_locals.get(code.co_varnames[1])
            if isinstance(index, int):
                known = len(cast(Sized, loader.dataset))
                return f"sample {index}" + (
                    f", __len__ is {known}" if isinstance(failure, IndexError) else ""
                )
    return ""


def _frames(failure: BaseException) -> list[FrameType]:
    return [frame for frame, _ in traceback.walk_tb(failure.__traceback__)]


def _cause(failure: BaseException) -> str:
    """Type and first line of the exception, including one from a worker process."""
    text = summary(failure)
    caught = _CAUGHT.search(text)
    if caught:
        lines = [line for line in str(failure).splitlines() if re.match(rf"([\w.]+\.)?{caught[1]}\b", line)]
        return lines[-1] if lines else caught[1]
    if "each tensor to be equal size" in text:
        return f"{text}: give samples of one shape, or a DataLoader whose collate_fn pads them"
    if "exited unexpectedly" in text:
        return f"{text}; set num_workers=0 to see why"
    return text
