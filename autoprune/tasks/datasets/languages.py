"""Language identification of single words, from five of Debian's word lists."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor

from autoprune.errors import DataError
from autoprune.tasks.data import Data, TensorSplit
from autoprune.tasks.datasets.split import SPLIT_SEED, three_way
from autoprune.tasks.task import classification
from autoprune.utils.plain_files import read_plain

PACKAGES = {
    "american-english": "wamerican",
    "french": "wfrench",
    "ngerman": "wngerman",
    "italian": "witalian",
    "spanish": "wspanish",
}
"""Word list -> its Debian package, in the order of the classes."""
FOLDER = Path("/usr/share/dict")
"""Folder of the lists in Debian."""

ALPHABET = "abcdefghijklmnopqrstuvwxyzßàáâäåçèéêëìíîïñòóôöùúûü"
PADDING, UNKNOWN = 0, 1
SYMBOLS = len(ALPHABET) + 2
"""Size of the vocabulary: padding, any other letter, and the letters of ``ALPHABET`` from 2 on."""
SHORTEST, LONGEST = 3, 20
"""Maximum length of a word, which is the length of the padded inputs."""
MOST_BYTES = 256 << 20
"""Of a list."""
WORDS = 12_000
"""Maximum number of words per language."""


def language_id(root: str | None) -> Data:
    """Letters of a word, int64 ``[N, 20]`` padded with 0 at the end, to one of five languages.

    48,000 train, 6,000 validation, 6,000 test, always the same. Words are in lower case; words that occur in
    several languages are left out, so no word is in two splits.

    Args:
        root: folder with the five lists in UTF-8, one word a line; Debian's without it.

    Raises:
        DataError: when a list is missing, cannot be read, or holds too few words.
    """
    folder = Path(root).expanduser() if root else FOLDER
    missing = [name for name in PACKAGES if not (folder / name).is_file()]
    if missing:
        packages = " ".join(PACKAGES[name] for name in missing)
        raise DataError(
            f"language-id: {folder} holds no {', '.join(missing)}: apt-get install {packages}, "
            "or give the folder of the word lists as language-id:FOLDER"
        )
    vocabularies = [_read(folder / name) for name in PACKAGES]
    languages = Counter(word for vocabulary in vocabularies for word in vocabulary)
    chosen = [_choose([w for w in vocabulary if languages[w] == 1]) for vocabulary in vocabularies]
    inputs = encode([word for words in chosen for word in words])
    targets = torch.tensor([label for label, words in enumerate(chosen) for _ in words])
    parts = three_way(targets, validation=0.1, test=0.1)
    train, validation, test = (TensorSplit(inputs[part], targets[part]) for part in parts)
    task = classification(len(PACKAGES))
    return Data(name="language-id", train=train, validation=validation, test=test, task=task)


def encode(words: list[str]) -> Tensor:
    """Symbols of lower-case words, int64 ``[N, 20]``: truncated after 20 letters, padded at the end."""
    numbers = {letter: number for number, letter in enumerate(ALPHABET, start=2)}
    rows = [[numbers.get(letter, UNKNOWN) for letter in word[:LONGEST]] for word in words]
    return torch.tensor([row + [PADDING] * (LONGEST - len(row)) for row in rows])


def _read(path: Path) -> set[str]:
    """The list's words that consist only of letters, in lower case and composed characters."""
    try:
        lines = read_plain(path, MOST_BYTES).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path} ({error}): give word lists in UTF-8") from error
    words = {unicodedata.normalize("NFC", line.strip()).lower() for line in lines}
    return {word for word in words if word.isalpha() and SHORTEST <= len(word) <= LONGEST}


def _choose(words: list[str]) -> list[str]:
    """A fixed sample, independent of the order of the words."""
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    ordered = sorted(words)
    return [ordered[place] for place in torch.randperm(len(ordered), generator=generator)[:WORDS]]
