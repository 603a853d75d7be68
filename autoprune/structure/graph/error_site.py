"""Where in the caller's own code an error arose."""

from __future__ import annotations

import traceback
from pathlib import Path
from textwrap import shorten

import torch
from torch import nn

_NOT_THEIRS = (Path(torch.__file__).parent, Path(__file__).parents[1])


def fault_site(error: BaseException, model: nn.Module) -> str:
    """`` in MODULE (FILE:LINE)``: the innermost module that ran, and the innermost line of the caller's code.

    The empty text where the error arose in no module.
    """
    paths = {id(module) for module in model.modules()}
    line, running = "", False
    for frame, number in traceback.walk_tb(error.__traceback__):
        running = running or id(frame.f_locals.get("self")) in paths
        file = frame.f_code.co_filename
        if running and not is_internal(file):
            line = f" ({file}:{number})"
    inside = fault_module(error, model)
    return (f" in {inside}" if inside else "") + line


def is_internal(file: str) -> bool:
    """Whether a source file is PyTorch's or of this package, not the caller's."""
    return any(Path(file).is_relative_to(folder) for folder in _NOT_THEIRS)


def fault_module(error: BaseException, model: nn.Module) -> str:
    """Path of the innermost module that ran when the error arose; empty for the model itself or none."""
    paths = {id(module): path for path, module in model.named_modules()}
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    running = [
        paths[id(frame.f_locals.get("self"))] for frame in frames if id(frame.f_locals.get("self")) in paths
    ]
    return running[-1] if running else ""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, shortened, or its kind where it has none."""
    text = str(error).strip()
    return shorten(text.splitlines()[0], 240, placeholder=" ...") if text else type(error).__name__


def kind_and_line(error: BaseException) -> str:
    """Kind and first line of an error that is nobody's message, such as ``IndexError: out of range``."""
    text = first_line(error)
    return text if text == type(error).__name__ else f"{type(error).__name__}: {text}"
