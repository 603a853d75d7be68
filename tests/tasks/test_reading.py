"""Data sets and loaders that fail in odd ways: one line that names the split and the sample."""

from __future__ import annotations

import gc
import os
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, SubsetRandomSampler, TensorDataset

from autoprune.errors import DataError
from autoprune.tasks import Data, DatasetSplit, LoaderSplit, Split, TensorSplit, data_of, regression
from autoprune.tasks.data import LARGEST_ORDER
from autoprune.tasks.datasets.subset import MOST_SCORED, part, scorable


class Failing(Dataset[Any]):
    """Sample 5 raises; without an exception, its process dies."""

    def __init__(self, failure: BaseException | None, count: int = 12) -> None:
        self.failure, self.count = failure, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index == 5:
            if self.failure is None:
                os._exit(3)
            raise self.failure
        return torch.full((2,), float(index)), torch.tensor(float(index))


def pairs(count: int = 8) -> TensorDataset:
    return TensorDataset(torch.arange(2 * count).reshape(count, 2).float(), torch.arange(count).float())


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (ValueError("broken\nin two lines"), "ValueError: broken"),
        (StopIteration(), "StopIteration"),
        (SystemExit(3), "SystemExit: 3"),
        (GeneratorExit(), "GeneratorExit"),
    ],
)
@pytest.mark.parametrize(
    "make", [DatasetSplit, lambda data, name: LoaderSplit(DataLoader(data, 4), name=name)]
)
def test_what_a_sample_raises_names_it(make: Any, failure: BaseException, cause: str) -> None:
    with pytest.raises(DataError) as caught:
        list(make(Failing(failure), name="train").batches(4))
    assert str(caught.value) == f"reading the data failed: {cause} (train, sample 5)"


def test_ctrl_c_in_a_sample_stays_a_stop() -> None:
    with pytest.raises(KeyboardInterrupt):
        list(DatasetSplit(Failing(KeyboardInterrupt())).batches(4))


def test_a_length_that_promises_too_much_is_named() -> None:
    with pytest.raises(DataError, match=r"IndexError: gone \(validation, sample 5, __len__ is 12\)"):
        list(DatasetSplit(Failing(IndexError("gone")), name="validation").batches(4))


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (ValueError("broken"), "ValueError: broken"),
        (StopIteration(), "StopIteration"),
        (None, "num_workers=0"),
    ],
)
def test_a_worker_process_that_fails_names_its_batch(
    monkeypatch: pytest.MonkeyPatch, failure: BaseException | None, cause: str
) -> None:
    # PyTorch waits so long for a worker whose last batch failed.
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    split = LoaderSplit(DataLoader(Failing(failure), 4, num_workers=1), name="train")
    with pytest.raises(DataError, match=rf"{cause}.*\(train, batch \d\)") as caught:
        list(split.batches(4))
    assert "\n" not in str(caught.value)
    del caught
    gc.collect()


def test_samples_of_several_shapes_are_told_what_to_do() -> None:
    ragged = [(torch.zeros(2 + index % 2), index) for index in range(4)]
    with pytest.raises(DataError, match=r"give samples of one shape.*\(train, batch 0\)"):
        list(DatasetSplit(ragged, name="train").batches(4))  # type: ignore[arg-type]


def test_a_collation_that_fails_names_its_batch() -> None:
    def collate(samples: Any) -> Any:
        raise KeyError("label")

    with pytest.raises(DataError, match=r"KeyError: 'label' \(test, batch 0\)"):
        list(LoaderSplit(DataLoader(pairs(), 4, collate_fn=collate), name="test").batches(4))


def test_batches_without_samples_are_left_out() -> None:
    def collate(samples: Any) -> Any:
        chosen = [sample for sample in samples if sample[1] >= 4]
        return torch.zeros(len(chosen), 2), torch.zeros(len(chosen))

    split = LoaderSplit(DataLoader(pairs(), 4, collate_fn=collate))
    assert [len(inputs) for inputs, _ in split.batches(4)] == [4]


@pytest.mark.parametrize(("count", "sizes"), [(9, [4, 4]), (8, [4, 4]), (10, [4, 4]), (3, [3]), (1, [1])])
def test_a_loader_drops_a_partial_batch_in_training_alone(count: int, sizes: list[int]) -> None:
    split = LoaderSplit(DataLoader(pairs(count), 4))
    assert [len(inputs) for inputs, _ in split.batches(4, shuffle=torch.Generator())] == sizes
    assert sum(len(inputs) for inputs, _ in split.batches(4)) == count


def test_of_batches_of_any_size_one_sample_is_no_batch_to_train_on() -> None:
    split = LoaderSplit(DataLoader(pairs(), batch_sampler=[[0, 1, 2], [3], [4, 5], [6, 7]]))
    assert [len(inputs) for inputs, _ in split.batches(4, shuffle=torch.Generator())] == [3, 2, 2]


def test_samples_that_take_part_in_a_graph_are_taken_out_of_it() -> None:
    inputs = torch.randn(6, 2).requires_grad_()
    for split in (
        TensorSplit(inputs, inputs[:, 0]),
        LoaderSplit(DataLoader(TensorDataset(inputs, inputs), 3)),
    ):
        assert not any(some.requires_grad or its.requires_grad for some, its in split.batches(3))


def test_a_loader_over_chosen_samples_is_read_as_it_is() -> None:
    split = LoaderSplit(DataLoader(pairs(), 2, sampler=SubsetRandomSampler([1, 3])))
    assert len(split) == 2
    assert part(split, torch.tensor([0])) is None


class Endless(Dataset[Any]):
    def __len__(self) -> int:
        return 10**12

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor([float(index)]), index % 3


def test_a_data_set_of_any_length_is_read_without_memory_for_its_order() -> None:
    split = DatasetSplit(Endless())
    first = [next(split.batches(4, shuffle=torch.Generator().manual_seed(seed)))[0] for seed in (0, 0, 1)]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])
    assert float(first[0].max()) > LARGEST_ORDER
    some, note = scorable(DatasetSplit(Endless(), name="test"), seed=0)
    assert len(some) == MOST_SCORED
    assert "test has 1,000,000,000,000 samples" in note


def test_classes_of_a_long_data_set_are_counted_in_some_samples() -> None:
    data = data_of("long", {"train": Endless(), "validation": pairs_of_classes(), "test": pairs_of_classes()})
    assert data.task.classes == 3
    assert "3 classes were counted in 10,000 of 1,000,000,000,000" in data.notes[0]


def pairs_of_classes() -> tuple[Tensor, Tensor]:
    return torch.randn(6, 1), torch.arange(6) % 3


def test_splits_are_called_by_their_place_in_the_data() -> None:
    split: Split = DatasetSplit(pairs())
    data = Data("mine", split, split, split, regression())
    assert [part.name for part in (data.train, data.validation, data.test)] == ["train", "validation", "test"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.tensor([0, 1, 2, -1]), r"class index of -1 \(train, sample 3\)"),
        (torch.eye(4), r"argmax"),
        (torch.arange(4)[:, None], r"squeeze"),
        (torch.arange(4).float(), r"targets.long\(\)"),
    ],
)
def test_targets_that_are_no_class_indices(targets: Tensor, message: str) -> None:
    split = (torch.randn(4, 2), targets)
    with pytest.raises(DataError, match=message):
        data_of("mine", {"train": split, "validation": split, "test": split})
