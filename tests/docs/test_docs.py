"""Every command of the pages is run, or, where it needs what a test has not, parsed."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from autoprune.cli import app
from autoprune.config.settings import Config, load_config
from autoprune.criteria import registry

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- (?P<mark>[^\n]*?) -->\n)?```(?P<head>[^\n]*)\n(?P<body>.*?)^```", re.DOTALL | re.MULTILINE
)
PROMPT, VARIABLE = re.compile(r"^\w*\$ "), re.compile(r"\$\w+")
PARSED = {"README.md": "the tour runs its commands", "docs/cluster.md": "it needs a cluster"}
QUICK = ("--finetune-steps", "2", "--latency-seconds", "0.02", "--threads", "1")
SMALLER = {
    "timm:mobilenetv3_small_100": "timm:test_resnet",
    "time=5m": "trials=2",
    "trials=20": "trials=5",
    "20": "1",
}
"""Words of commands that would take minutes, and what a test takes in their place."""


@dataclass(frozen=True)
class Block:
    """A block of code on a page."""

    page: str
    mark: str
    head: str
    body: str

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command line."""
        if self.head.split()[:1] not in (["bash"], ["console"]):
            return []
        lines = self.body.replace("\\\n", " ").splitlines()
        typed = [VARIABLE.sub("4", PROMPT.sub("", line)) for line in lines]
        return [words for line in typed if (words := shlex.split(line, comments=True))]

    @property
    def is_run(self) -> bool:
        """Whether its commands are run."""
        return not self.mark.startswith("parse only") and self.page not in PARSED


def blocks() -> Iterator[Block]:
    for page in PAGES:
        for found in BLOCK.finditer(page.read_text(encoding="utf-8")):
            name = str(page.relative_to(ROOT))
            yield Block(name, found["mark"] or "", found["head"], found["body"])


BLOCKS = list(blocks())


def ours(words: list[str]) -> list[str] | None:
    """The arguments of a call of ours."""
    calls = [place for place, word in enumerate(words) if word.rpartition("/")[2] == "autoprune"]
    return words[calls[0] + 1 :] if calls and calls[0] + 1 < len(words) else None


CALLS = [(block, arguments) for block in BLOCKS for words in block.commands if (arguments := ours(words))]


@pytest.mark.parametrize(("block", "arguments"), CALLS, ids=lambda value: getattr(value, "page", None))
def test_every_command_parses(block: Block, arguments: list[str]) -> None:
    group = typer.main.get_command(app)
    name, *rest = [word for word in arguments if word != ">"]
    if name.startswith("-"):
        assert name in {flag for parameter in group.params for flag in parameter.opts} | {"--help"}
        return
    command = group.commands[name]
    if "--help" in rest or "--help-all" in rest:
        return
    context = command.make_context(name, [word for word in rest if not word.endswith(".csv")])
    given = {key: value for key, value in context.params.items() if key in Config.model_fields}
    if name == "search":
        load_config(None, given)


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS if block.page != "README.md"}))
def test_every_command_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = [block for block in BLOCKS if block.page == page]
    if not any(block.is_run and block.commands for block in here):
        pytest.skip("it has no commands that a test can run")
    if any("timm:" in block.body for block in here if block.is_run and block.commands):
        pytest.importorskip("timm")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    # What a page registers is forgotten after it, or the other tests of this process would find it.
    monkeypatch.setattr(registry, "_registered", registry._registered.copy())
    for block in here:
        title = re.search(r'title="([^"]+)"', block.head)
        if title:
            Path(title[1]).write_text(block.body)
        for words in block.commands if block.is_run else []:
            run(words)


def run(words: list[str]) -> None:
    if words[0] == "python" and Path(words[1]).is_file():
        few = [word if not word.isdecimal() else "8" for word in words[1:]]
        subprocess.run([sys.executable, *few], check=True, capture_output=True, timeout=120)
        return
    arguments = ours(words)
    assert arguments is not None, f"not one of our commands, mark its block as 'parse only': {words}"
    arguments = [SMALLER.get(word, word) for word in arguments]
    if arguments[0] == "search":
        arguments += [flag for flag in QUICK if "command:" not in " ".join(arguments) or flag in QUICK[:2]]
    runtime = f"command:{shlex.quote(sys.executable)} "
    arguments = [word.replace("command:python ", runtime) for word in arguments]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, f"{shlex.join(arguments)}\n{result.output}"


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.head.startswith("python")], ids=lambda block: block.page
)
def test_python_is_python(block: Block) -> None:
    ast.parse(block.body)


def test_scripts_that_pages_name_are_there() -> None:
    words = [word for block in BLOCKS for words in block.commands for word in words]
    named = [word for word in words if word.startswith("studies/")]
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)")


def test_links_of_the_readme_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in BLOCK.sub("", text).splitlines()
        if line.startswith("#")
    }
    links = LINK.findall(text)
    assert len(links) > 10
    assert [file for file, _ in links if not (ROOT / file).exists()] == []
    assert [anchor for file, anchor in links if not file and anchor not in headings] == []


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    if shutil.which("mkdocs", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("mkdocs is not installed: it comes with the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "reference" / "commands" / "index.html").read_text()
    plain = re.sub(r"<[^>]+>", "", page)
    assert "autoprune export --best -o out/" in plain
    assert "-o, --output PATH" in plain
