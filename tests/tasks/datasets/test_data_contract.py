import textwrap

import pytest
import torch

from autoprune.errors import DataError
from autoprune.tasks import DatasetSplit, LoaderSplit, TensorSplit, load_data

HEADER = """
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from autoprune.tasks import Data, TensorSplit, regression

def pair(count=8):
    return torch.randn(count, 3), torch.arange(count) % 4

def parts(**changes):
    return {"train": pair(), "validation": pair(), "test": pair()} | changes
"""


@pytest.fixture
def load(tmp_path):
    def run(body):
        path = tmp_path / "mydata.py"
        path.write_text(HEADER + "def make():\n" + textwrap.indent(textwrap.dedent(body), "    "))
        return load_data(f"{path}:make")

    return run


def test_every_kind_of_split(load):
    data = load("""
        dataset = TensorDataset(*pair())
        return parts(train=dataset, validation=DataLoader(dataset, batch_size=4))
    """)
    assert isinstance(data.train, DatasetSplit)
    assert isinstance(data.validation, LoaderSplit)
    assert isinstance(data.test, TensorSplit)
    assert data.example(2).shape == (2, 3)


def test_classes_are_counted_in_the_training_targets(load):
    metric = load("return parts()").task.new_metric()
    assert metric.num_classes == 4


def test_given_classes_win(load):
    assert load("return parts(classes=9)").task.new_metric().num_classes == 9


def test_regression(load):
    data = load("""
        numbers = torch.randn(6, 3), torch.randn(6, 1)
        return {"train": numbers, "validation": numbers, "test": numbers, "task": "regression"}
    """)
    assert data.task.metric == "mse"


def test_a_data_object_is_taken_as_it_is(load):
    data = load("""
        split = TensorSplit(torch.randn(4, 2), torch.randn(4, 1))
        return Data("mine", split, split, split, regression())
    """)
    assert data.name == "mine"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 3", "returned int"),
        ("return {'train': pair(), 'test': pair()}", "'validation' is missing"),
        ("return parts(tset=pair())", "'tset' is unknown"),
        ("return parts(test=7)", "'test' is a int"),
        ("return parts(test=pair(0))", "test split is empty"),
        ("return parts(train=(torch.randn(8, 3), torch.randn(8)))", "regression"),
        ("return parts(task='ranking')", "unknown task"),
        ("return parts(task=4)", "'task' is a int"),
        ("return parts(classes='four')", "'classes' is a str"),
        (
            "return parts(test=TensorDataset(torch.randn(4, 3)), validation=TensorDataset(torch.randn(4)))",
            "pair",
        ),
        ("raise ValueError('no\\nluck')", "make' failed: ValueError: no"),
        ("return parts(train=DataLoader(IterableDataset()))", "IterableDataset"),
    ],
)
def test_what_a_factory_must_not_return(load, body, message):
    with pytest.raises(DataError, match=message) as caught:
        load(body)
    assert "mydata.py:make" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_error_while_reading_names_the_factory(load):
    with pytest.raises(DataError, match=r"mydata.py:make.*KeyError"):
        load("""
            class Broken(TensorDataset):
                def __getitem__(self, index):
                    raise KeyError("label")
            return parts(validation=Broken(*pair()))
        """)


def test_data_stays_paired(load):
    data = load("return parts()")
    inputs, targets = next(data.train.batches(8))
    assert torch.equal(inputs, data.train.inputs)
    assert torch.equal(targets, data.train.targets)
