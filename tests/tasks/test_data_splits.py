import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from autoprune.errors import DataError
from autoprune.tasks import Data, DatasetSplit, LoaderSplit, TensorSplit, regression


def pair(count=10):
    return torch.arange(count, dtype=torch.float32).unsqueeze(1), torch.arange(count)


def negate(inputs, generator):
    return -inputs


SPLITS = {
    "tensors": lambda augment=None: TensorSplit(*pair(), augment),
    "dataset": lambda augment=None: DatasetSplit(TensorDataset(*pair()), augment),
}


@pytest.fixture(params=SPLITS)
def make(request):
    return SPLITS[request.param]


def test_in_order_every_sample_comes_once_and_unchanged(make):
    batches = list(make(negate).batches(4))
    assert [len(targets) for _, targets in batches] == [4, 4, 2]
    assert torch.cat([targets for _, targets in batches]).tolist() == list(range(10))
    assert torch.cat([inputs for inputs, _ in batches]).flatten().tolist() == list(range(10))


def test_shuffled_batches_are_full_augmented_and_stay_paired(make):
    batches = list(make(negate).batches(4, shuffle=torch.Generator().manual_seed(0)))
    assert [len(targets) for _, targets in batches] == [4, 4]
    for inputs, targets in batches:
        assert torch.equal(inputs.flatten(), -targets.float())
    assert torch.cat([targets for _, targets in batches]).tolist() != list(range(8))


def test_a_split_smaller_than_a_batch_is_not_dropped(make):
    (batch,) = make().batches(64, shuffle=torch.Generator())
    assert sorted(batch[1].tolist()) == list(range(10))


def test_the_generator_decides_the_order(make):
    def order(seed):
        batches = make().batches(4, shuffle=torch.Generator().manual_seed(seed))
        return torch.cat([targets for _, targets in batches]).tolist()

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_a_loader_keeps_its_own_batches():
    split = LoaderSplit(DataLoader(TensorDataset(*pair()), batch_size=5))
    assert [len(targets) for _, targets in split.batches(2)] == [5, 5]
    assert len(split) == 10


def test_items_that_are_no_pair():
    with pytest.raises(DataError, match="pair"):
        next(DatasetSplit(TensorDataset(pair()[0])).batches(2))


def test_inputs_and_targets_of_different_length():
    with pytest.raises(DataError, match="10 inputs but 4 targets"):
        TensorSplit(pair(10)[0], pair(4)[1])


def test_an_empty_split_is_refused_by_name():
    full, empty = TensorSplit(*pair()), TensorSplit(*pair(0))
    with pytest.raises(DataError, match="validation split is empty"):
        Data("mine", full, empty, full, regression())


@pytest.mark.parametrize(("asked", "given"), [(1, 1), (7, 7), (99, 10)])
def test_example_gives_the_first_validation_inputs(asked, given):
    split = LoaderSplit(DataLoader(TensorDataset(*pair()), batch_size=3))
    example = Data("mine", split, split, split, regression()).example(asked)
    assert example.flatten().tolist() == list(range(given))
