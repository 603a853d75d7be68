from __future__ import annotations

import pytest

from autoprune.errors import StudyError
from autoprune.storages import read_address
from autoprune.utils.redact import without_passwords


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ("studies.db", "sqlite", "studies.db"),
        ("./here/studies", "sqlite", "./here/studies"),
        ("sqlite:///studies.db", "sqlite", "studies.db"),
        ("sqlite:////abs/studies.db", "sqlite", "/abs/studies.db"),
        ("journal:/shared/studies.log", "journal", "/shared/studies.log"),
        ("studies.journal", "journal", "studies.journal"),
        ("grpc://node1:13000", "grpc", "grpc://node1:13000"),
        ("grpc://[::1]:13000", "grpc", "grpc://[::1]:13000"),
        ("postgresql://me@host/name", "server", "postgresql://me@host/name"),
        ("postgres://me:pw@host/name", "server", "postgres://me:***@host/name"),
        ("mysql://me:pw@host/name", "server", "mysql://me:***@host/name"),
        ("postgresql+pg8000://host/name", "server", "postgresql+pg8000://host/name"),
    ],
)
def test_what_a_text_names(text: str, kind: str, shown: str) -> None:
    address = read_address(text)
    assert (address.kind, address.shown) == (kind, shown)
    assert address.is_remote == (kind in ("server", "grpc"))
    assert (address.file is not None) == (kind in ("sqlite", "journal"))


@pytest.mark.parametrize(
    "text", ["", "nosuchname", "journal:", "grpc://host", "grpc://host:0", "grpc://host:99999"]
)
def test_texts_that_name_no_storage(text: str) -> None:
    with pytest.raises(StudyError, match=r"^the storage .*: (write|names no file: write) "):
        read_address(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:Secret1@host/name", "postgresql://me:***@host/name"),
        ("postgresql://me:Sec@ret1@host/name", "postgresql://me:***@host/name"),
        ("postgresql://me:a/Secret1@host/name", "postgresql://me:***@host/name"),
        ("postgresql://:Secret1@host/name", "postgresql://:***@host/name"),
        ("postgresql://host/name?password=Secret1&x=1", "postgresql://host/name?password=***&x=1"),
        (
            "postgresql://host/name?sslmode=on&sslPassword=Secret1",
            "postgresql://host/name?sslmode=on&sslPassword=***",
        ),
        ("me:Secret1@host/name", "***@host/name"),
        ("sqlite:///a folder/studies.db", "sqlite:///a folder/studies.db"),
        ("journal:/shared/studies.log", "journal:/shared/studies.log"),
        ("grpc://[::1]:13000", "grpc://[::1]:13000"),
    ],
)
def test_passwords_are_hidden(text: str, shown: str) -> None:
    assert without_passwords(text) == shown
    assert without_passwords(shown) == shown
