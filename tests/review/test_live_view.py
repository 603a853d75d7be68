from __future__ import annotations

import io
import os
import pty
import re
import sys
from dataclasses import replace

import optuna
import pytest
from handmade_study import create, tell
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from rich.console import Console

from autoprune.review import Count, Listener, LiveView
from autoprune.review.display import Plot, Progress, ended, render, seconds_left, throughput
from autoprune.review.plot import Kind, Point


@pytest.fixture
def study() -> optuna.Study:
    return create(InMemoryStorage())


def search(view: Listener, study: optuna.Study, total: int | None = 3) -> None:
    with view:
        view.phase("baseline", "digits")
        view.progress(0.5, "epoch 1/2")
        view.phase("search")
        view.note("continues study 'digits': 12 trials are already there")
        view.trial_started(0, "uniform", Count(0, total, None))
        tell(study, 0.5, 0.94, origin="uniform")
        view.trial_finished(study, study.trials[0], Count(1, total, 250.0))
        view.trial_started(1, "sampler", Count(1, total, 250.0))
        tell(study, 0.8, state=TrialState.PRUNED, reason="over budget: flops 20.0% over")
        view.trial_finished(study, study.trials[1], Count(2, total, 12.4))
        view.trial_started(2, "sampler", Count(2, total, 12.4))
        tell(study, 0.3, state=TrialState.FAIL, reason="the loss is not finite")
        view.trial_finished(study, study.trials[2], Count(3, total, None))


def text(renderable: object, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(renderable)
    return console.export_text()


def test_without_a_terminal_one_line_a_phase_and_one_a_trial(study: optuna.Study) -> None:
    file = io.StringIO()
    search(LiveView(Console(file=file, width=40)), study)
    lines = [re.sub(r"\d+ s(?=$|, 3/3)", "N s", line) for line in file.getvalue().splitlines()]
    assert lines == [
        "baseline: digits",
        "baseline:    N s",
        "search",
        "continues study 'digits': 12 trials are already there",
        "1/3  trial 0 (uniform): accuracy 94.00% at 50% FLOPs, 4m 10s left",
        "2/3  trial 1 (sampler): over budget: flops 20.0% over, 12 s left",
        "3/3  trial 2 (sampler): failed: the loss is not finite",
        lines[-1],
    ]
    assert re.fullmatch(r"search:      N s, 3/3 trials, [\d.e+]+ trials a minute", lines[-1])


def test_without_a_number_of_trials_lines_only_count(study: optuna.Study) -> None:
    file = io.StringIO()
    search(LiveView(Console(file=file, width=200)), study, total=None)
    assert file.getvalue().splitlines()[4].startswith("1  trial 0 (uniform)")


def test_everything_goes_to_standard_error(study: optuna.Study, capsys: pytest.CaptureFixture[str]) -> None:
    search(LiveView(), study)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "trial 0 (uniform)" in captured.err


def test_the_quiet_view_shows_nothing(study: optuna.Study, capsys: pytest.CaptureFixture[str]) -> None:
    search(Listener(), study)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def in_a_terminal(study: optuna.Study, monkeypatch: pytest.MonkeyPatch, *, verbose: bool = False) -> str:
    monkeypatch.setenv("TERM", "xterm-256color")
    control, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as file:
        console = Console(file=file, width=80, height=24)
        assert console.is_terminal
        search(LiveView(console, verbose=verbose), study)
    shown = b""
    try:
        while chunk := os.read(control, 65536):
            shown += chunk
    except OSError:  # the end of a pseudo terminal
        pass
    os.close(control)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())


def test_a_terminal_keeps_finished_phases_notes_and_failures(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = in_a_terminal(study, monkeypatch)
    assert re.search(r"^\r?baseline: +\d+ s\r?$", shown, re.MULTILINE)
    assert "continues study 'digits'" in shown
    assert "trial 2 (sampler): failed: the loss is not finite" in shown
    assert re.search(r"search: +\d+ s, 3/3 trials, [\d.e+]+ trials a minute\s*$", shown)
    assert "trial 1 (sampler): over budget" not in shown


def test_a_terminal_has_the_best_trial_and_the_size_of_the_front(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = in_a_terminal(study, monkeypatch)
    assert "best 94.00% at 50% FLOPs (trial 0), front 1, 1 over budget, 1 failed" in shown
    assert "━" in shown


def test_an_interrupted_search_leaves_the_terminal_as_it_was(study: optuna.Study) -> None:
    file = io.StringIO()
    before = sys.stdout, sys.stderr
    console = Console(file=file, force_terminal=True, width=80, _environ={"TERM": "xterm"})
    with pytest.raises(KeyboardInterrupt), LiveView(console) as view:
        view.phase("search")
        view.trial_started(0, "original", Count(0, 10, None))
        raise KeyboardInterrupt
    assert file.getvalue().rstrip().endswith("0/10 trials, stopped")
    assert file.getvalue().count("\x1b[?25l") == file.getvalue().count("\x1b[?25h") == 1
    assert (sys.stdout, sys.stderr) == before


def test_display_counts_down_between_trials() -> None:
    state = Progress(
        started=0.0,
        phase="search",
        trial="trial 7 (sampler)",
        trial_started=95.0,
        finished=7,
        total=10,
        seconds_left=130.0,
        counted=90.0,
        result="best 94.00% at 50% FLOPs (trial 0), front 3",
    )
    shown = text(render(state, 100.0)).splitlines()
    assert shown[0].startswith("search  ━")
    assert shown[0].rstrip().endswith("7/10 trials, 4.67 a minute  about 29 s left")
    assert shown[1].rstrip() == "  trial 7 (sampler)  5 s"
    assert shown[2].rstrip() == "  best 94.00% at 50% FLOPs (trial 0), front 3"


def test_the_bar_follows_time_when_only_time_limits_the_search() -> None:
    state = Progress(started=0.0, phase="search", finished=5, seconds_left=30.0, counted=10.0)
    half, most = (text(render(state, now)).splitlines()[0] for now in (20.0, 38.0))
    assert half.rstrip().endswith("5 trials, 30 a minute  20 s left")
    assert 0 < half.count("━") < most.count("━")


def test_narrow_terminals_cut_lines_instead_of_wrapping_them() -> None:
    state = Progress(started=0.0, phase="search", finished=5, total=9, result="best " + "x" * 100)
    assert all(len(line) <= 40 for line in text(render(state, 1.0), width=40).splitlines())
    assert len(text(render(state, 1.0), width=40).splitlines()) == 2


def test_nothing_is_drawn_before_the_first_phase() -> None:
    assert text(render(Progress(started=0.0), 5.0)).strip() == ""
    assert ended(Progress(started=0.0, phase="ranking"), 2.5, stopped=True) == "ranking:     2 s, stopped"


def test_time_left_is_the_budgets_or_what_the_trials_so_far_let_expect() -> None:
    state = Progress(started=0.0, phase="search", finished=12, before=10, total=20, counted=60.0)
    assert seconds_left(state, 60.0) == (240.0, True)
    assert seconds_left(state, 90.0) == (210.0, True)
    assert seconds_left(replace(state, seconds_left=100.0), 70.0) == (90.0, False)
    assert seconds_left(replace(state, finished=11), 60.0) == (None, False)


def test_throughput_counts_the_trials_of_this_phase() -> None:
    state = Progress(started=0.0, phase="search", finished=12, before=10, total=20, counted=60.0)
    assert throughput(state, 70.0) == "2 trials a minute"
    assert throughput(replace(state, counted=600.0), 600.0) == "12 trials an hour"
    assert throughput(replace(state, finished=11), 60.0) == ""


def test_the_front_is_drawn_where_there_is_room() -> None:
    points = (Point(0.5, 0.94, Kind.BEST), Point(1.0, 0.97, Kind.ORIGINAL))
    plot = Plot(points, lambda quality: f"{quality:.0%}", "FLOPs")
    state = Progress(started=0.0, phase="search", plot=plot)
    assert "◉" in text(render(state, 1.0))
    assert "@" in text(render(state, 1.0, unicode=False))
    assert len(text(render(state, 1.0, height=12)).splitlines()) == 1
    assert all(len(line) <= 40 for line in text(render(state, 1.0, width=40), width=40).splitlines())


def test_a_verbose_view_keeps_a_line_for_every_trial(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = in_a_terminal(study, monkeypatch, verbose=True)
    assert "trial 1 (sampler): over budget: flops 20.0% over" in shown
    file = io.StringIO()
    with LiveView(Console(file=file, width=200), verbose=True) as view:
        view.phase("search")
        tell(study, 0.5, 0.94, more={"seconds": {"cut": 0.2, "finetune": 12.0}})
        view.trial_finished(study, study.trials[-1], Count(1, 3, None))
    assert "accuracy 94.00% at 50% FLOPs [fine-tuning 12 s]" in file.getvalue()


def test_without_colours_nothing_is_coloured(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    tell(study, 0.5, 0.94)
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, height=30)
    with LiveView(console) as view:
        view.phase("search")
        view.trial_finished(study, study.trials[-1], Count(1, 3, None))
    codes = {code for found in re.findall(r"\x1b\[([0-9;]*)m", file.getvalue()) for code in found.split(";")}
    assert not {code for code in codes if code[:1] in ("3", "4", "9") and len(code) > 1}
