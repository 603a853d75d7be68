from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor

from autoprune.errors import DataError
from autoprune.tasks import Data, letter_lstm, load_data
from autoprune.tasks.datasets.languages import ALPHABET, FOLDER, LONGEST, PACKAGES, PADDING, UNKNOWN, encode

ENDINGS = {
    "american-english": "ing",
    "french": "eaux",
    "ngerman": "ung",
    "italian": "zione",
    "spanish": "ción",
}


def made_up(letters: str) -> list[str]:
    return [a + b + c for a in letters for b in letters for c in letters[:3]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five lists of 48 words, each with an ending of its own, and words that must not be used."""
    for name, ending in ENDINGS.items():
        words = [stem + ending for stem in made_up("abcd")]
        unfit = ["hotel", "Hotel", "it's", "ab", "a" * 30, "x2y"]
        (tmp_path / name).write_text("\n".join([words[0].upper(), *words, *unfit]), encoding="utf-8")
    return tmp_path


def words_of(inputs: Tensor) -> list[str]:
    return ["".join(ALPHABET[symbol - 2] for symbol in row if symbol != PADDING) for row in inputs.tolist()]


def parts(data: Data) -> list[list[str]]:
    return [words_of(split.inputs) for split in (data.train, data.validation, data.test)]


def test_words_are_split_without_overlap_and_belong_to_one_language(folder: Path) -> None:
    data = load_data(f"language-id:{folder}")
    train, validation, test = parts(data)
    assert [len(train), len(validation), len(test)] == [192, 24, 24]
    every = train + validation + test
    assert max(Counter(every).values()) == 1
    assert not {"hotel", "ab", "a" * LONGEST, "its", "xy"} & set(every)
    targets = [int(target) for split in (data.train, data.validation, data.test) for target in split.targets]
    endings = list(ENDINGS.values())
    assert all(word.endswith(endings[target]) for word, target in zip(every, targets, strict=True))
    assert torch.bincount(data.test.targets).tolist() == pytest.approx([5] * 5, abs=1)
    assert (data.task.name, data.task.metric) == ("classification", "accuracy")


def test_the_order_of_the_lists_and_the_global_seed_do_not_matter(folder: Path) -> None:
    torch.manual_seed(1)
    before = parts(load_data(f"language-id:{folder}"))
    for name in ENDINGS:
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
        (folder / name).write_text("\n".join(reversed(lines)), encoding="utf-8")
    torch.manual_seed(2)
    assert parts(load_data(f"language-id:{folder}")) == before


def test_symbols_are_padded_at_the_end() -> None:
    symbols = encode(["añb", "ж" + "z" * 30])
    assert symbols.dtype == torch.int64
    assert symbols.shape == (2, LONGEST)
    assert symbols[0].tolist() == [2, ALPHABET.index("ñ") + 2, 3] + [PADDING] * (LONGEST - 3)
    assert symbols[1].tolist() == [UNKNOWN] + [27] * (LONGEST - 1)


def test_missing_lists_name_the_packages_in_one_line(folder: Path) -> None:
    (folder / "french").unlink()
    (folder / "ngerman").unlink()
    with pytest.raises(
        DataError, match=r"holds no french, ngerman: apt-get install wfrench wngerman"
    ) as caught:
        load_data(f"language-id:{folder}")
    assert "language-id:FOLDER" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_encoding_is_refused(folder: Path) -> None:
    (folder / "spanish").write_bytes("acción\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"cannot read .*spanish.*UTF-8"):
        load_data(f"language-id:{folder}")


@pytest.mark.skipif(
    not all((FOLDER / name).is_file() for name in PACKAGES),
    reason=f"apt-get install {' '.join(PACKAGES.values())}",
)
def test_debians_lists() -> None:
    data = load_data("language-id")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [48000, 6000, 6000]
    assert torch.bincount(data.test.targets).tolist() == [1200] * 5
    every = [word for part in parts(data) for word in part]
    assert len(set(every)) == len(every) == 60000
    assert not bool((data.train.inputs == UNKNOWN).any())


def test_more_padding_changes_no_logit() -> None:
    torch.manual_seed(0)
    model = letter_lstm().eval()
    short = encode(["palabra", "mot", "w" * LONGEST])
    longer = torch.nn.functional.pad(short, (0, 7), value=PADDING)
    assert model(short).shape == (3, 5)
    assert torch.equal(model(short), model(longer))
    assert torch.allclose(model(short[1:2, :3]), model(short)[1:2], atol=1e-6)
