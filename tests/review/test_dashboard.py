from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from handmade_study import create, fill

import autoprune
from autoprune.errors import StudyError, UserError
from autoprune.review import picked, serve
from autoprune.review.dashboard import _announce

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def start(url: str) -> subprocess.Popen[str]:
    program = "import sys; from autoprune.review import serve; serve(sys.argv[1], port=0)"
    root = str(Path(next(iter(autoprune.__path__))).parent)
    return subprocess.Popen(
        [sys.executable, "-c", program, url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
    )


def address(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    return server.stdout.readline().strip()


@pytest.fixture(scope="module")
def served(studied: str) -> Iterator[str]:
    """Address of a dashboard that runs as its own process, without the trailing /dashboard/."""
    server = start(studied)
    try:
        shown = address(server)
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/dashboard/", shown)
        yield shown.removesuffix("/dashboard/")
    finally:
        server.kill()
        server.communicate()


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as response:
        assert response.status == 200
        return json.load(response)


def test_the_study_is_listed(served: str) -> None:
    (study,) = get(f"{served}/api/studies")["study_summaries"]
    assert (study["study_name"], study["directions"]) == ("digits", ["maximize", "minimize"])


def test_the_study_has_its_metric_names_and_trials(served: str) -> None:
    study = get(f"{served}/api/studies/1")
    assert study["objective_names"] == ["accuracy", "flops"]
    assert len(study["trials"]) == 12
    assert study["trials"][6]["values"] == [0.96, 17_980_000.0]


def page(url: str, folder: Path) -> str:
    """What a browser has made of a page, as HTML."""
    assert CHROMIUM is not None
    flags = "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-dev-shm-usage"
    return subprocess.run(
        [
            CHROMIUM,
            *flags.split(),
            f"--user-data-dir={folder}",
            "--virtual-time-budget=20000",
            "--window-size=1400,4000",
            "--dump-dom",
            url,
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    ).stdout


needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@needs_browser
def test_the_page_shows_front_pictures_and_note(served: str, tmp_path: Path) -> None:
    shown = page(f"{served}/dashboard/studies/1", tmp_path)
    choices, plot, *_ = shown[shown.index("Pareto Front") :].split("js-plotly-plot")
    assert plot.lstrip('" ').startswith('id="graph-pareto-front"')
    assert re.findall(r'role="combobox"[^>]*>(\w+)<', choices) == ["accuracy", "flops"]
    assert plot.count('class="point"') == 8

    ids = re.findall(r'id="user-defined-plot:([\w-]+)"', shown)
    assert sorted(ids) == ["front-flops", "front-latency", "hypervolume", "importances", "widths"]
    titles = set(re.findall(r'class="[xy]title"[^>]*>([^<]+)<', shown))
    assert {"FLOPs of one sample", "accuracy (validation)", "latency in milliseconds"} <= titles


@needs_browser
def test_the_studys_note_is_a_page_of_its_own(served: str, tmp_path: Path) -> None:
    shown = page(f"{served}/dashboard/studies/1/note", tmp_path)
    for text in ("autoprune export --best", "digits_resnet", "ignores the budget", "<table"):
        assert text in shown


@needs_browser
def test_a_trials_page_has_its_note_and_files(served: str, tmp_path: Path) -> None:
    shown = page(f"{served}/dashboard/studies/1/trials?numbers=1", tmp_path)
    for text in ("What was pruned", "autoprune export --trial 1", "model-card.md", "#export"):
        assert text in shown


def test_files_can_be_downloaded(served: str) -> None:
    (trial,) = [trial for trial in get(f"{served}/api/studies/1")["trials"] if trial["number"] == 1]
    (artifact,) = trial["artifacts"]
    with urllib.request.urlopen(
        f"{served}/artifacts/1/{trial['trial_id']}/{artifact['artifact_id']}"
    ) as response:
        assert response.headers["Content-Type"] == "text/markdown"
        assert response.read().decode().startswith("# digits_resnet, pruned\n")


def test_a_mark_written_in_the_page_picks_the_trial(url: str) -> None:
    study = create(optuna.storages.RDBStorage(url))
    fill(study)
    server = start(url)
    try:
        served = address(server).removesuffix("/dashboard/")
        (trial,) = [trial for trial in get(f"{served}/api/studies/1")["trials"] if trial["number"] == 5]
        note = {"body": trial["note"]["body"] + "\n#export", "version": trial["note"]["version"] + 1}
        request = urllib.request.Request(
            f"{served}/api/studies/1/{trial['trial_id']}/note",
            data=json.dumps(note).encode(),
            headers={"Content-Type": "application/json"},
            method="PUT",
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            assert response.status == 204
    finally:
        server.kill()
        server.communicate()
    assert picked(study) == [5]


def test_ctrl_c_ends_it_quietly(studied: str) -> None:
    server = start(studied)
    assert address(server).endswith("/dashboard/")
    assert server.stderr is not None
    assert server.stderr.readline() == "Ctrl-C stops the dashboard.\n"
    server.send_signal(signal.SIGINT)
    out, err = server.communicate(timeout=60)
    assert (server.returncode, out, err.strip()) == (0, "", "")


def test_a_missing_file_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"there is no storage .*none\.db: run autoprune search first"):
        serve(f"sqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_named(studied: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is in use: pass --port with another number"):
            serve(studied, port=port)


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [("127.0.0.1", 70_000, "there is no port 70000"), ("192.0.2.1", 0, "cannot listen on 192.0.2.1")],
)
def test_addresses_that_cannot_be_listened_on(studied: str, host: str, port: int, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        serve(studied, host=host, port=port)


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("::1", False), ("0.0.0.0", True)])
def test_an_address_that_others_reach_comes_with_a_warning(
    host: str, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    _announce(host, 8080)
    captured = capsys.readouterr()
    assert captured.out.endswith(":8080/dashboard/\n")
    assert ("Anyone who can reach this address can change and delete studies." in captured.err) is warned
