"""SIGTERM and Ctrl-C: what must be finished is finished, and the command says how to go on."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faulty import environment, search_command, study_in
from optuna.exceptions import StorageInternalError

from autoprune.recovery import Recipe, finetune
from autoprune.tasks import digits_resnet, evaluate, load_data
from autoprune.utils import signals
from autoprune.utils.signals import Terminated, exit_code, finishing, take_signals


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # A process of tests that was started by another one may ignore Ctrl-C, or die of it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    hook = sys.unraisablehook
    yield
    sys.unraisablehook = hook
    for number, handler in before.items():
        signal.signal(number, handler)
    signals._raised.clear()


def ask(number: int) -> None:
    os.kill(os.getpid(), number)


def python(code: str) -> subprocess.CompletedProcess[str]:
    """What a process of its own makes of it."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_must_be_finished_is_finished_first(number: int, code: int) -> None:
    take_signals()
    done = []
    with pytest.raises(KeyboardInterrupt) as stop, finishing():
        ask(number)
        time.sleep(0.01)
        done.append(True)
    assert done
    assert exit_code(stop.value) == code
    assert isinstance(stop.value, Terminated) is (number == signal.SIGTERM)
    # The handlers are back: the next signal comes at once.
    with pytest.raises(KeyboardInterrupt):
        ask(number)
        time.sleep(1)


def test_asked_twice_it_stops_at_once() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), finishing():
        ask(signal.SIGINT)
        time.sleep(0.01)
        ask(signal.SIGINT)
        time.sleep(0.01)
        done.append(True)
    assert not done


def test_what_takes_too_long_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "PATIENCE", 0.1)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt), finishing():
        ask(signal.SIGINT)
        while time.monotonic() - begun < 5:
            time.sleep(0.01)
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_a_stop_that_got_lost_is_not_forgotten(number: int, kind: type[KeyboardInterrupt]) -> None:
    take_signals()
    signals.check()
    model, data = digits_resnet(), load_data("digits")
    one_step = Recipe(steps=1, lr=0.1, batch_size=8)
    evaluate(model, data.test, data.task)
    finetune(model, data, one_step, seed=0)
    with contextlib.suppress(KeyboardInterrupt):
        ask(number)
        time.sleep(1)
    for go_on in (
        signals.check,
        lambda: evaluate(model, data.test, data.task),
        lambda: finetune(model, data, one_step, seed=0),
    ):
        with pytest.raises(KeyboardInterrupt) as stop:
            go_on()
        assert stop.type is kind


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_that_python_drops_is_not_shown_and_what_else_it_drops_is(number: int) -> None:
    code = (
        "import os\nfrom autoprune.utils import signals\nsignals.take_signals()\n"
        "class Stopped:\n"
        f"    def __del__(self): os.kill(os.getpid(), {int(number)})\n"
        "class Faulty:\n"
        "    def __del__(self): raise ValueError('of its own')\n"
        "stopped, faulty = Stopped(), Faulty()\n"
        "del stopped\nprint('goes on', flush=True)\ndel faulty\n"
        "try: signals.check()\n"
        "except KeyboardInterrupt as stop: print(signals.exit_code(stop))\n"
    )
    done = python(code)
    assert done.stdout.split() == ["goes", "on", str(128 + number)]
    assert "ValueError: of its own" in done.stderr
    assert "KeyboardInterrupt" not in done.stderr
    assert "Terminated" not in done.stderr


def test_without_a_signal_nothing_happens() -> None:
    before = signal.getsignal(signal.SIGINT)
    with finishing(), finishing():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_leaving_does_what_is_registered_and_no_more() -> None:
    code = (
        "import atexit, sys\n"
        "from autoprune.utils.signals import is_stop, leave\n"
        "class Slow:\n"
        "    def __del__(self): print('taken apart')\n"
        "slow = Slow()\n"
        "atexit.register(print, 'registered')\n"
        "print('said', is_stop(130), is_stop(143), is_stop(0), is_stop(1))\n"
        "leave(143)\n"
    )
    done = python(code)
    assert done.stdout.split("\n") == ["said True True False False", "registered", ""]
    assert done.returncode == 143


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_again_while_it_leaves_it_ends_at_once_and_without_a_word(number: int) -> None:
    code = (
        "import atexit, os, time\nfrom autoprune.utils import signals\nsignals.take_signals()\n"
        "atexit.register(time.sleep, 60)\n"
        f"atexit.register(os.kill, os.getpid(), {int(number)})\n"
        "signals.leave(143)"
    )
    done = python(code)
    assert (done.returncode, done.stderr) == (-number, "")


def test_a_search_ends_within_five_seconds_and_says_how_to_go_on(project: Path) -> None:
    process = subprocess.Popen(
        search_command(trials=200), cwd=project, env=environment(), stderr=subprocess.PIPE, text=True
    )
    try:
        _wait_for_trials(project, 2, process)
        spent, own = _processor_seconds(process.pid), resource.getrusage(resource.RUSAGE_CHILDREN)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    # By the processor's time: on a busy machine the clock says nothing.
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - own.ru_utime - own.ru_stime - spent < 5
    assert process.returncode == 143
    assert "stopped; all finished trials are saved: run the same command to resume" in errors
    assert "Traceback" not in errors
    trials = study_in(project).trials
    assert "RUNNING" not in [trial.state.name for trial in trials]
    for trial in trials:
        if trial.user_attrs.get("reason") == "interrupted":
            assert [other for other in trials if other.user_attrs.get("retry_of") == trial.number]


def _processor_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _wait_for_trials(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if sum(trial.state.is_finished() for trial in study_in(folder).trials) >= count:
                return
        except (KeyError, StorageInternalError):
            pass
        time.sleep(0.2)
    raise AssertionError(f"the search ended or hung: {process.poll()}")
