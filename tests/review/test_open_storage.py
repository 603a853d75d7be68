from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import optuna
import pytest
from handmade_study import create, tell

from autoprune.errors import StudyError
from autoprune.review import open_study
from autoprune.storages import open_storage


def refusal(url: str, *, must_exist: bool = True) -> str:
    with pytest.raises(StudyError) as caught:
        open_storage(url, must_exist=must_exist)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_new_file_is_made_and_opened_again(url: str) -> None:
    create(open_storage(url, must_exist=False))
    assert open_study(url, "digits").user_attrs["autoprune"]["model"] == "digits_resnet"


def test_sqlite_waits_for_other_processes(url: str) -> None:
    storage = open_storage(url, must_exist=False)
    with storage._backend.engine.connect() as connection:  # type: ignore[attr-defined]
        (milliseconds,) = connection.exec_driver_sql("PRAGMA busy_timeout").one()
    assert milliseconds == 60_000


def test_a_path_with_braces_is_taken_literally(tmp_path: Path) -> None:
    create(open_storage(f"sqlite:///{tmp_path}/{{a}}.db", must_exist=False))
    assert (tmp_path / "{a}.db").is_file()


def test_a_missing_file_is_refused_and_not_made(tmp_path: Path) -> None:
    message = refusal(f"sqlite:///{tmp_path}/none.db")
    assert message.endswith("none.db: run autoprune search first, or name another storage")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    message = refusal(f"sqlite:///{tmp_path}/no/study.db", must_exist=False)
    assert f"make the folder {tmp_path}/no first" in message


def test_a_file_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("these are notes")
    for must_exist in (True, False):
        assert "notes.txt is no SQLite database" in refusal(f"sqlite:///{file}", must_exist=must_exist)
    assert file.read_text() == "these are notes"


def test_a_corrupt_database_is_refused(studied: str, tmp_path: Path) -> None:
    whole = Path(studied.removeprefix("sqlite:///"))
    file = tmp_path / "torn.db"
    shutil.copy(whole, file)
    with file.open("r+b") as opened:
        opened.truncate(20_000)
    assert "malformed" in refusal(f"sqlite:///{file}")


def test_a_database_of_another_program_gets_no_tables(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE mine (x)")
    before = file.read_bytes()
    assert "holds no study of autoprune: run autoprune search first" in refusal(f"sqlite:///{file}")
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("study", "is no database URL: write a path or sqlite:///FILE"),
        ("", "is no database URL"),
        ("sqlite://study.db", "too few slashes: write sqlite:///study.db"),
        ("sqlite://", "a storage in memory holds no study"),
        ("sqlite:///file:study.db?uri=true", "write the path alone"),
        ("nosuchbase://host/name", "of an unknown kind"),
        ("postgresql://user:pw@host:port/name", "is no database URL"),
        ("mysql+nosuchdriver://host/name", "of an unknown kind"),
    ],
)
def test_urls_that_cannot_be_used(url: str, expected: str) -> None:
    assert expected in refusal(url)


@pytest.mark.parametrize(
    "url",
    [
        "nosuchbase://user:Secret1@host/name",
        "nosuchbase://host/name?password=Secret1",
        "postgresql://user:Secret1@host:port/name",
        "postgresql://user:x@Secret1@host/name",
        "postgresql://user:Secret1@127.0.0.1:1/name",
        "mysql://user:Secret1@127.0.0.1:1/name",
        "user:Secret1@host/name",
    ],
)
def test_passwords_are_in_no_message(url: str) -> None:
    assert "Secret1" not in refusal(url)


def test_a_folder_is_no_storage(tmp_path: Path) -> None:
    assert "is a folder" in refusal(f"sqlite:///{tmp_path}")


def test_without_a_name_the_study_that_was_active_last(url: str) -> None:
    storage = open_storage(url, must_exist=False)
    first, second = create(storage, "first"), create(storage, "second")
    create(storage, "third")
    create(storage, "theirs", ours=False)
    tell(first, 0.5, 0.9)
    tell(second, 0.5, 0.9)
    assert open_study(url, None).study_name == "second"
    tell(first, 0.4, 0.8)
    assert open_study(url, None).study_name == "first"


def test_an_unknown_name_gets_the_closest_and_the_list(url: str) -> None:
    storage = open_storage(url, must_exist=False)
    create(storage, "digits-flops=50pct")
    create(storage, "resnet18")
    with pytest.raises(StudyError, match=r"did you mean digits-flops=50pct\? there are digits-f"):
        open_study(url, "digits-flops")
    with pytest.raises(StudyError, match=r"no study 'zzz' in .*: there are digits-flops=50pct, resnet18$"):
        open_study(url, "zzz")


def test_a_storage_without_studies_of_ours(url: str) -> None:
    storage = open_storage(url, must_exist=False)
    for name in (None, "digits"):
        with pytest.raises(StudyError, match="holds no study of autoprune: run autoprune search first"):
            open_study(url, name)
    create(storage, "theirs", ours=False)
    with pytest.raises(StudyError, match="holds no study of autoprune"):
        open_study(url, None)
    assert open_study(url, "theirs").study_name == "theirs"


def test_optuna_reads_the_storage_without_us(url: str) -> None:
    create(open_storage(url, must_exist=False))
    assert optuna.get_all_study_names(url) == ["digits"]
