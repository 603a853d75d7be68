import shutil
import subprocess
from pathlib import Path

import pytest

from autoprune.pruning_search.persistence.git_commit import commit_of

HASH = "0123456789" * 4


def test_without_a_repository(tmp_path: Path) -> None:
    assert commit_of(tmp_path) == ""


@pytest.mark.parametrize("packed", [False, True])
def test_the_branch_that_is_checked_out(tmp_path: Path, packed: bool) -> None:
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    if packed:
        (git / "packed-refs").write_text(f"# pack-refs with: peeled\n{HASH} refs/heads/main\n")
    else:
        (git / "refs" / "heads" / "main").write_text(HASH + "\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert commit_of(below) == HASH


@pytest.mark.parametrize("head", ["", "ref: ../../secret", "ref: HEAD", "not a hash", "\xff"])
def test_anything_else_is_none(tmp_path: Path, head: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text(head, encoding="latin-1")
    (tmp_path.parent / "secret").write_text("secret")
    assert commit_of(tmp_path) == ""


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_as_git_says(tmp_path: Path) -> None:
    def git(*arguments: str, folder: Path = tmp_path) -> str:
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "one")
    assert commit_of(tmp_path) == git("rev-parse", "HEAD")
    git("worktree", "add", "-q", "tree")
    git("commit", "-q", "--allow-empty", "-m", "two", folder=tmp_path / "tree")
    assert commit_of(tmp_path / "tree") == git("rev-parse", "HEAD", folder=tmp_path / "tree")
    git("pack-refs", "--all")
    git("checkout", "-q", "--detach")
    assert commit_of(tmp_path) == git("rev-parse", "HEAD")
