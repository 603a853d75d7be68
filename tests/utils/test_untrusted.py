import os
from pathlib import Path

import pytest

from autoprune.errors import ConfigError
from autoprune.utils.untrusted import check_keys, is_whole, json_object, read_text, short


def test_a_text_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("größe", encoding="utf-8")
    assert read_text(tmp_path / "a", "file", ConfigError, most_bytes=7) == "größe"


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(11))
    (tmp_path / "binary").write_bytes(b"\xff")
    os.mkfifo(tmp_path / "pipe")
    for name, says in {
        "large": "is larger than 10 bytes",
        "binary": "not a text file in UTF-8",
        "pipe": "it is not a file",
        ".": "it is not a file",
        "missing": "does not exist",
        "large/below": "cannot be read",
        "x" * 300: "cannot be read: .*name too long",
        "nul\0": "cannot be read",
    }.items():
        with pytest.raises(ConfigError, match=says) as caught:
            read_text(tmp_path / name, "file", ConfigError, most_bytes=10)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1]", "is no JSON object"),
        ('{"a": Infinity}', "Infinity is no finite number"),
        ('{"a": {"b": 1, "b": 2}}', "the key 'b' is given twice"),
        ('{"a": ' + "[" * 100_000, "nested too deeply"),
        ('{"a": ' + "1" * 5000 + "}", "is not JSON"),
        ("{" + " " * (8 << 20) + "}", "longer than"),
    ],
)
def test_json_that_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        json_object(text, "the file", ConfigError)


def test_keys_are_named_with_the_nearest() -> None:
    check_keys({"one": 1}, ("one", "two"), "the file", ConfigError)
    with pytest.raises(ConfigError, match=r"unknown keys: 'tow', did you mean two\?"):
        check_keys({"one": 1, "tow": 2}, ("one", "two"), "the file", ConfigError)
    with pytest.raises(ConfigError, match="'a', 'b', 'c' and 2 more: there are one, two"):
        check_keys(dict.fromkeys("abcde"), ("one", "two"), "the file", ConfigError)


def test_whole_numbers_and_short_texts() -> None:
    assert [is_whole(value) for value in (0, 2**31 - 1, -1, 2**31, True, 1.0, "1")] == [True] * 2 + [
        False
    ] * 5
    assert short("x" * 100) == repr("x" * 60 + "...")
    assert "\n" not in short("a\nb")
