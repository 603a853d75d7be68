"""A program of the user's own, which times a model file wherever it can: on a phone or a board."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import IO

import torch
from torch import Tensor, nn

from autoprune.config.references import Program
from autoprune.config.user_code import Permit
from autoprune.cost.latency.runtimes.base import Call, Runtime, require
from autoprune.cost.latency.runtimes.onnx_program import PACKAGES, traced, write_onnx_file
from autoprune.cost.latency.runtimes.quiet import quiet
from autoprune.errors import ConfigError, TrialError

ONNX, PT2 = "{file}", "{pt2}"
"""Stand for the path of the model as an ONNX file, and as a ``torch.export`` program."""
SECONDS = 300.0
"""A program that takes longer is taken for hung."""
_TAIL = 4096
"""Bytes that are kept of what a program prints: the last ones."""


class CommandRuntime(Runtime):
    """``command:PROGRAM ARGUMENTS``: the program gets a file, and prints the milliseconds of one inference.

    An argument with ``{file}`` gets the path of the ONNX file, one with ``{pt2}`` that of a ``torch.export``
    program; where neither is there, the ONNX file is the last argument. What counts is the last line on
    standard output: a number, with or without ``ms``. The program may run the model as often as it likes;
    it is started at least five times, in turns with the original model's file. Its words stand for the device
    in fingerprints: say it in other words where it reaches another one.
    """

    channels_last = False

    def __init__(self, program: Program, permit: Permit, seconds: float = SECONDS) -> None:
        self.name = str(program)
        self._seconds = seconds
        words = permit.words(program)
        if shutil.which(words[0]) is None:
            raise ConfigError(f"--runtime names the program {words[0]!r}, which is not there: give its path")
        if not any(mark in word for word in words for mark in (ONNX, PT2)):
            words.append(ONNX)
        self._words = words
        if self._wants(ONNX):
            require("onnx", *PACKAGES)

    def prepare(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> Call:
        """Write the model's file; a call runs the program on it. Raises TrialError when it prints no time."""
        folder = tempfile.mkdtemp(prefix="autoprune-timing-")
        try:
            onnx, pt2 = Path(folder) / "model.onnx", Path(folder) / "model.pt2"
            if self._wants(ONNX):
                write_onnx_file(model, inputs, onnx)
            if self._wants(PT2):
                with quiet():
                    torch.export.save(traced(model, inputs), pt2)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        command = [word.replace(ONNX, str(onnx)).replace(PT2, str(pt2)) for word in self._words]

        def call() -> float:
            return run_program(command, self._seconds)

        # The file is needed for as long as the call is.
        weakref.finalize(call, shutil.rmtree, folder, ignore_errors=True)
        return call

    def _wants(self, mark: str) -> bool:
        return any(mark in word for word in self._words)


def run_program(command: list[str], seconds: float) -> float:
    """Seconds of one inference, from the milliseconds that the program prints.

    Raises TrialError when it cannot be started, fails, prints no time, or is not done within ``seconds``;
    then it is killed with all that it started.
    """
    program = Path(command[0]).name
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
            start_new_session=True,
        )
    except OSError as error:
        raise TrialError(f"{program} cannot be started: {error.strerror}") from error
    tails = [bytearray(), bytearray()]
    readers = [
        threading.Thread(target=_keep_tail, args=(stream, tail), daemon=True)
        for stream, tail in zip((process.stdout, process.stderr), tails, strict=True)
    ]
    for reader in readers:
        reader.start()
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired as error:
        raise TrialError(f"{program} was not done within {seconds:g} s: make it time fewer runs") from error
    finally:
        _kill(process)
        for reader in readers:
            reader.join(1.0)
    printed, complained = (bytes(tail).decode(errors="replace").strip().splitlines() for tail in tails)
    if code != 0:
        last = (complained or printed or ["it printed nothing"])[-1].strip()
        raise TrialError(f"{program} ended with exit code {code}: {last}")
    return parse_milliseconds(printed[-1] if printed else "", program) * 1e-3


def parse_milliseconds(line: str, program: str) -> float:
    """A positive number, with or without ``ms``. Raises TrialError for anything else."""
    try:
        milliseconds = float(line.strip().removesuffix("ms"))
    except ValueError:
        milliseconds = math.nan
    if not 0 < milliseconds < math.inf:
        shown = line.strip()[:60]
        raise TrialError(f"{program} ended with the line {shown!r}: print the milliseconds of one inference")
    return milliseconds


def _keep_tail(stream: IO[bytes], tail: bytearray) -> None:
    """Read to the end, so that the program never waits, and keep the last bytes."""
    with suppress(ValueError, OSError), stream:
        while chunk := stream.read(_TAIL):
            tail.extend(chunk)
            del tail[:-_TAIL]


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the program and whatever it started that still runs."""
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
