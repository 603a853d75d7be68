import torch
from torch.utils.data import DataLoader, TensorDataset

from autoprune.tasks import DatasetSplit, LoaderSplit, TensorSplit
from autoprune.tasks.datasets.in_memory import held
from autoprune.tasks.datasets.subset import classes, part, shuffled

INPUTS = torch.arange(40.0).reshape(20, 2)
TARGETS = torch.arange(20) // 10
CHOSEN = torch.tensor([3, 15, 0])


def read(split):
    batches = list(split.batches(2))
    return torch.cat([inputs for inputs, _ in batches]), torch.cat([targets for _, targets in batches])


def test_every_kind_of_split_gives_the_chosen_samples_in_order():
    dataset = TensorDataset(INPUTS, TARGETS)
    splits = [
        TensorSplit(INPUTS, TARGETS),
        DatasetSplit(dataset),
        LoaderSplit(DataLoader(dataset, batch_size=4)),
    ]
    for split in splits:
        found = part(split, CHOSEN)
        inputs, targets = read(found)
        assert len(found) == 3
        assert torch.equal(inputs, INPUTS[CHOSEN])
        assert torch.equal(targets, TARGETS[CHOSEN])


def test_a_loader_that_shuffles_is_not_read_in_parts():
    loader = DataLoader(TensorDataset(INPUTS, TARGETS), batch_size=4, shuffle=True)
    assert part(LoaderSplit(loader), CHOSEN) is None


def test_every_prefix_of_a_shuffled_order_has_the_shares_of_all_classes():
    targets = torch.cat([torch.zeros(700), torch.ones(200), torch.full((100,), 2)]).long()
    order = shuffled(targets, 1000, seed=1)
    assert torch.equal(order.sort().values, torch.arange(1000))
    for count in (100, 300, 500):
        shares = torch.bincount(targets[order[:count]], minlength=3) / count
        assert torch.allclose(shares, torch.tensor([0.7, 0.2, 0.1]), atol=0.02)
    assert torch.equal(order, shuffled(targets, 1000, seed=1))
    assert not torch.equal(order, shuffled(targets, 1000, seed=2))


def test_classes_are_known_where_targets_are_in_memory():
    assert classes(TensorSplit(INPUTS, TARGETS)) is TARGETS
    assert classes(TensorSplit(INPUTS, INPUTS)) is None
    assert classes(DatasetSplit(TensorDataset(INPUTS, TARGETS))) is None


def test_small_data_sets_are_read_once():
    split = held(DatasetSplit(TensorDataset(INPUTS, TARGETS)), batch_size=8)
    assert isinstance(split, TensorSplit)
    assert torch.equal(split.inputs, INPUTS)
    assert torch.equal(split.targets, TARGETS)


def test_samples_of_unequal_shapes_stay_where_they_are():
    pairs = [(torch.zeros(1, 2), torch.zeros(1)), (torch.zeros(1, 3), torch.zeros(1))]
    ragged = LoaderSplit(DataLoader(pairs, batch_size=None))
    assert held(ragged) is ragged
