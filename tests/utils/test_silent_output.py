import ctypes
import os

import pytest

from autoprune.utils.silent_output import silent_output


def test_prints_of_compiled_code_in_the_block_alone_are_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    libc = ctypes.CDLL(None)
    libc.puts(b"before")
    with silent_output():
        libc.puts(b"a solver's print")
    libc.puts(b"after")
    libc.fflush(None)
    assert capfd.readouterr().out == "before\nafter\n"


def test_output_comes_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="solver"), silent_output():
        raise ValueError("the solver failed")
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "after\n"
