from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import optuna
import pytest
from handmade_study import create, tell
from typer.testing import CliRunner

from autoprune.cli import app
from autoprune.errors import UserError
from autoprune.review import open_study, write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def report(studied: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("report") / "report.html"
    write_report(open_study(studied, None), studied, file)
    return file


def without_scripts(file: Path) -> str:
    return re.sub(r"<script.*?</script>", "", file.read_text(), flags=re.DOTALL)


def test_it_is_one_file_below_five_megabytes_that_loads_nothing(report: Path) -> None:
    assert [path.name for path in report.parent.iterdir()] == ["report.html"]
    assert report.stat().st_size < 5_000_000
    assert not re.search(r"\b(src|href)\s*=|@import|url\(", without_scripts(report))


def test_elements_are_closed(report: Path) -> None:
    open_, void = [], {"meta", "br", "link"}

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in void:
                open_.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_.pop() == tag

    Parser().feed(report.read_text())
    assert open_ == []


def test_every_picture_is_described(report: Path) -> None:
    page = without_scripts(report)
    labels = re.findall(r'role="img" aria-label="([^"]+)"', page)
    assert len(labels) == 5
    assert labels[0].startswith("Scatter plot of accuracy against FLOPs of one sample. 4 points on the front")


def test_the_table_has_the_front_with_a_command_for_each_row(report: Path, studied: str) -> None:
    page = without_scripts(report)
    assert re.findall(r'data-label="trial">(\d*)<', page) == ["0", "6", "1", "5", "8"]
    for number in (6, 1, 5, 8):
        flags = f"--storage {studied} --study digits -o trial-{number}/"
        assert f"autoprune export --trial {number} {flags}" in page
    assert "<dt>accuracy</dt><dd>96.00% <small>±0.90</small></dd>" in page
    assert "flops 18.6M, latency 1.50 ms" in page


def test_text_of_a_study_stays_text(url: str, tmp_path: Path) -> None:
    study = create(optuna.storages.RDBStorage(url), name="<b>&</script>")
    tell(study, 0.5, 0.9, origin="<script>alert(1)</script>")
    write_report(study, url, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert(1)" not in page and "<b>&</script>" not in page
    assert "&lt;b&gt;&amp;&lt;/script&gt;" in page


def test_a_study_without_a_trial_in_the_budget_says_so(url: str, tmp_path: Path) -> None:
    study = create(optuna.storages.RDBStorage(url))
    write_report(study, url, tmp_path / "report.html")
    assert "No trial is within the budget yet." in (tmp_path / "report.html").read_text()


def test_a_folder_that_is_not_there_is_named(studied: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*none/report\.html .*choose another file with -o"):
        write_report(open_study(studied, None), studied, tmp_path / "none" / "report.html")


def test_the_command_says_where_it_is(studied: str, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    result = CliRunner().invoke(app, ["report", "--storage", studied, "-o", str(file)])
    assert (result.exit_code, result.stdout) == (0, f"wrote {file}\n")
    assert file.read_text().startswith("<!doctype html>")


def browsed(address: str, folder: Path, *flags: str) -> str:
    """What a browser has made of a page, as HTML."""
    assert CHROMIUM is not None
    usual = "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-dev-shm-usage"
    return subprocess.run(
        [
            CHROMIUM,
            *usual.split(),
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={folder / 'profile'}",
            "--virtual-time-budget=20000",
            *flags,
            "--dump-dom",
            address,
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    ).stdout


needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@needs_browser
def test_a_browser_draws_every_picture_without_a_network(report: Path, tmp_path: Path) -> None:
    page = browsed(report.as_uri(), tmp_path)
    assert 'data-drawn="5"' in page
    assert page.count('class="main-svg"') >= 5
    titles = re.findall(r'class="[xy]title"[^>]*>([^<]+)<', page)
    assert {"FLOPs of one sample", "accuracy (validation)", "latency in milliseconds"} <= set(titles)


@needs_browser
@pytest.mark.parametrize("width", [320, 390, 820])
def test_nothing_is_wider_than_the_window(report: Path, tmp_path: Path, width: int) -> None:
    # A window of Chromium cannot be as narrow as a phone: a frame can.
    page = tmp_path / "frame.html"
    page.write_text(
        f'<iframe src="{report.as_uri()}" width="{width}" height="800" frameborder="0"></iframe>\n'
        """<script>
        const timer = setInterval(() => {
          const root = document.querySelector("iframe").contentDocument.documentElement;
          if (root.dataset.drawn === undefined) return;
          clearInterval(timer);
          const texts = [...root.querySelectorAll(".plot text")].filter(text => text.textContent);
          const ends = texts.map(text => text.getBoundingClientRect().right);
          document.body.dataset.widths = [root.scrollWidth, Math.ceil(Math.max(...ends))];
        }, 100);
        </script>"""
    )
    shown = browsed(page.as_uri(), tmp_path, "--allow-file-access-from-files")
    found = re.search(r'data-widths="(\d+),(\d+)"', shown)
    assert found is not None
    assert max(map(int, found.groups())) <= width
