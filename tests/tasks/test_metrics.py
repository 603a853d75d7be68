import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from autoprune.errors import DataError
from autoprune.tasks import (
    TensorSplit,
    binary,
    classification,
    evaluate,
    load_data,
    multilabel,
    regression,
    sequence,
    task_by_name,
)

OWN = """
import torch
from torchmetrics import MeanAbsoluteError, Metric

class Halved(MeanAbsoluteError):
    def compute(self):
        return super().compute() / 2

class Undecided(Metric):
    def __init__(self):
        super().__init__()

    def update(self, outputs, targets):
        pass

    def compute(self):
        return torch.tensor(0.0)

def nothing():
    return 3
"""


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def whole(count, high, *shape, seed=1):
    return torch.randint(0, high, (count, *shape), generator=torch.Generator().manual_seed(seed))


def score(task, outputs, targets, batch_size=7):
    return evaluate(nn.Identity(), TensorSplit(outputs, targets), task, batch_size=batch_size).value


def ranked(scores, positive):
    """Share of pairs of a positive and a negative sample that are in the right order."""
    pairs = [
        (p, n)
        for p, is_p in zip(scores, positive, strict=True)
        for n, is_n in zip(scores, positive, strict=True)
        if is_p and not is_n
    ]
    return sum((p > n) + 0.5 * (p == n) for p, n in pairs) / len(pairs)


def f1(predicted, true):
    hits = sum(p and t for p, t in zip(predicted, true, strict=True))
    return 2 * hits / max(1, sum(predicted) + sum(true))


def test_top_k_counts_a_sample_whose_class_is_among_the_k_best():
    outputs, targets = drawn(40, 6), whole(40, 6)
    best = outputs.topk(3).indices
    expected = sum(int(t) in row.tolist() for t, row in zip(targets, best, strict=True)) / 40
    assert score(classification(6, "top3"), outputs, targets) == pytest.approx(expected)


def test_f1_is_the_mean_over_classes():
    outputs, targets = drawn(40, 3), whole(40, 3)
    chosen = outputs.argmax(1)
    expected = sum(f1((chosen == c).tolist(), (targets == c).tolist()) for c in range(3)) / 3
    assert score(classification(3, "f1"), outputs, targets) == pytest.approx(expected)


def test_auroc_is_each_class_against_the_rest():
    outputs, targets = drawn(40, 3), whole(40, 3)
    shares = outputs.softmax(1)
    expected = sum(ranked(shares[:, c].tolist(), (targets == c).tolist()) for c in range(3)) / 3
    assert score(classification(3, "auroc"), outputs, targets) == pytest.approx(expected)


def test_logits_that_look_like_probabilities_are_not_taken_for_them():
    outputs = torch.tensor([[0.2, 0.9], [0.8, 0.1], [5.0, -5.0], [-5.0, 5.0]])
    targets = torch.tensor([1, 0, 0, 1])
    for task in (classification(2, "auroc"), binary("auroc")):
        given = outputs if task.name == "classification" else outputs[:, 1]
        assert score(task, given, targets, 2) == pytest.approx(score(task, given, targets, 4))
    # A logit of 0.2 is above an even chance.
    assert score(binary(), torch.tensor([0.2, 0.4, -0.1]), torch.tensor([1, 1, 0])) == 1


@pytest.mark.parametrize("shape", [(30,), (30, 1)])
def test_binary(shape):
    outputs, targets = drawn(*shape), whole(30, 2)
    flat, labels = outputs.flatten(), targets.bool().tolist()
    positive = (flat > 0).tolist()
    assert score(binary(), outputs, targets) == pytest.approx(
        sum(p == t for p, t in zip(positive, labels, strict=True)) / 30
    )
    assert score(binary("f1"), outputs, targets) == pytest.approx(f1(positive, labels))
    assert score(binary("auroc"), outputs, targets) == pytest.approx(ranked(flat.tolist(), labels))
    expected = functional.softplus(torch.where(targets.bool(), -flat, flat)).mean()
    assert float(binary().loss(outputs, targets)) == pytest.approx(float(expected), rel=1e-5)


def test_multilabel_metrics_are_means_over_the_labels():
    outputs, targets = drawn(40, 3), whole(40, 2, 3)
    assert score(multilabel(3), outputs, targets) == pytest.approx(
        float(((outputs > 0) == targets.bool()).float().mean())
    )
    columns = [(outputs[:, c].tolist(), targets[:, c].bool().tolist()) for c in range(3)]
    expected = sum(ranked(*column) for column in columns) / 3
    assert score(multilabel(3, "auroc"), outputs, targets) == pytest.approx(expected)
    expected = sum(f1([s > 0 for s in scores], true) for scores, true in columns) / 3
    assert score(multilabel(3, "f1"), outputs, targets) == pytest.approx(expected)


def test_regression_metrics():
    outputs, targets = drawn(30, 1), drawn(30, 1, seed=2)
    errors = [float(o - t) for o, t in zip(outputs, targets, strict=True)]
    squared = sum(e**2 for e in errors) / 30
    spread = float(targets.var(correction=0))
    expected = {
        "mse": squared,
        "rmse": math.sqrt(squared),
        "mae": sum(map(abs, errors)) / 30,
        "r2": 1 - squared / spread,
    }
    for name, value in expected.items():
        task = regression(name)
        assert score(task, outputs, targets) == pytest.approx(value, rel=1e-4)
        assert task.higher_is_better == (name == "r2")


def test_sequence_leaves_padding_out():
    outputs, targets = drawn(12, 5, 4), whole(12, 4, 5)
    targets[:, 3:] = -100
    surprise = -outputs[:, :3].log_softmax(-1).gather(2, targets[:, :3, None]).mean()
    assert score(sequence(4), outputs, targets) == pytest.approx(float(surprise.exp()), rel=1e-4)
    right = (outputs[:, :3].argmax(-1) == targets[:, :3]).float().mean()
    assert score(sequence(4, "accuracy"), outputs, targets) == pytest.approx(float(right))
    assert not sequence(4).higher_is_better
    assert float(sequence(4).loss(outputs, targets)) == pytest.approx(float(surprise), rel=1e-5)


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    return f"{tmp_path}/own.py"


def test_metric_of_ones_own(own):
    task = regression(f"{own}:Halved")
    assert (task.metric, task.higher_is_better) == ("Halved", False)
    outputs, targets = drawn(10, 1), drawn(10, 1, seed=2)
    expected = score(regression("mae"), outputs, targets) / 2
    assert score(task, outputs, targets) == pytest.approx(expected)


def test_data_names_its_metric(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torchmetrics import MeanAbsoluteError\n"
        "labels = torch.randn(8, 3), torch.randint(0, 2, (8, 4))\n"
        "def multi():\n"
        "    return dict(train=labels, validation=labels, test=labels, task='multilabel', metric='f1')\n"
        "places = torch.randn(8, 3), torch.tensor([[0, 5, -100]] * 8)\n"
        "def sequence(): return dict(train=places, validation=places, test=places, task='sequence')\n"
        "numbers = torch.randn(8, 3), torch.randn(8, 1)\n"
        "def own(): return dict(train=numbers, validation=numbers, test=numbers, task='regression',\n"
        "                       metric=MeanAbsoluteError)\n"
    )
    tasks = {name: load_data(f"{tmp_path}/mine.py:{name}").task for name in ("multi", "sequence", "own")}
    assert (tasks["multi"].metric, tasks["multi"].classes) == ("f1", 4)
    assert (tasks["sequence"].metric, tasks["sequence"].classes) == ("perplexity", 6)
    assert (tasks["own"].metric, tasks["own"].higher_is_better) == ("MeanAbsoluteError", False)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda own: classification(3, "acuracy"), "no metric 'acuracy', did you mean accuracy?"),
        (lambda own: classification(3, "top3"), "top3 of 3 classes: give top1 to top2"),
        (lambda own: regression("perplexity"), "there are mse, rmse, mae, r2, or give path"),
        (
            lambda own: regression("f1"),
            "'f1', which is for classification, binary, multilabel: there are mse",
        ),
        (lambda own: multilabel(1), "at least 2 labels"),
        (lambda own: regression(f"{own}:Undecided"), "set higher_is_better on its class"),
        (lambda own: regression(f"{own}:nothing"), "makes a torchmetrics.Metric"),
        (lambda own: regression(f"{own}:gone"), "has no 'gone'"),
        (lambda own: task_by_name("sequence"), "needs the number of classes"),
        (lambda own: task_by_name("rank", 3), "'classification', 'binary', 'multilabel'"),
    ],
)
def test_what_does_not_go(own, make, message):
    with pytest.raises(DataError) as caught:
        make(own)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
