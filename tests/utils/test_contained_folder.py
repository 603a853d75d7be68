import os
from pathlib import Path

import pytest

from autoprune.errors import StudyError
from autoprune.utils.contained import ContainedFolder

SECRET = b"the key of a user"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "key").write_bytes(SECRET)
    return folder


@pytest.fixture
def folder(tmp_path: Path, outside: Path) -> ContainedFolder:
    (tmp_path / "base" / "files").mkdir(parents=True)
    return ContainedFolder(tmp_path / "base", ("files",))


def test_files_are_written_and_read(tmp_path: Path) -> None:
    folder = ContainedFolder(tmp_path / "base", ("made", "by", "writing"))
    folder.check()
    assert not folder.has("a")
    folder.replace("a", b"first")
    folder.replace("a", b"second")
    with folder.open_file("a") as file:
        assert file.read() == b"second"
    assert [path.name for path in folder.path.iterdir()] == ["a"]
    folder.remove("a")
    assert not folder.has("a")


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["link", "hard link"])
def test_writing_replaces_a_link_and_leaves_what_it_leads_to(
    folder: ContainedFolder, outside: Path, link: object
) -> None:
    assert callable(link)
    link(outside / "key", folder.path / "a")
    folder.replace("a", b"new")
    assert (outside / "key").read_bytes() == SECRET
    assert (folder.path / "a").read_bytes() == b"new"


def test_writing_makes_no_file_where_a_link_leads(folder: ContainedFolder, outside: Path) -> None:
    (folder.path / "a").symlink_to(outside / "new")
    folder.replace("a", b"new")
    assert sorted(path.name for path in outside.iterdir()) == ["key"]


@pytest.mark.parametrize("kind", ["link", "loop", "pipe", "folder", "device"])
def test_nothing_but_a_file_is_read(folder: ContainedFolder, outside: Path, kind: str) -> None:
    place = folder.path / "a"
    match kind:
        case "link":
            place.symlink_to(outside / "key")
        case "loop":
            place.symlink_to(place)
        case "pipe":
            os.mkfifo(place)
        case "folder":
            place.mkdir()
        case _:
            place.symlink_to("/dev/zero")
    assert not folder.has("a")
    with pytest.raises(OSError):
        folder.open_file("a")


@pytest.mark.parametrize("depth", [0, 1])
def test_no_folder_on_the_way_is_a_link(tmp_path: Path, outside: Path, depth: int) -> None:
    parts = ("one", "two")
    (tmp_path / "base" / "/".join(parts[:depth])).mkdir(parents=True)
    (tmp_path / "base" / "/".join(parts[: depth + 1])).symlink_to(outside)
    folder = ContainedFolder(tmp_path / "base", parts)
    uses = (folder.check, lambda: folder.replace("key", b"new"), lambda: folder.open_file("key"))
    for use in (*uses, lambda: folder.remove("key")):
        with pytest.raises(
            StudyError, match=f"{parts[depth]} is a link, which may lead anywhere: .* replace it"
        ):
            use()
    assert (outside / "key").read_bytes() == SECRET


def test_the_folder_that_the_user_named_may_be_a_link(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "base").symlink_to(outside)
    ContainedFolder(tmp_path / "base", ("files",)).replace("a", b"new")
    assert (outside / "files" / "a").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["", ".", "..", "../key", "a/b", "/etc/passwd", "nul\0"])
def test_a_name_is_that_of_a_file_in_the_folder(folder: ContainedFolder, name: str) -> None:
    for use in (folder.open_file, folder.has, folder.remove):
        with pytest.raises(ValueError, match="is not a plain file name"):
            use(name)
