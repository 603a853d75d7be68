import pytest
import torch
from torch import nn

from autoprune.errors import DataError, ModelError, TrialError
from autoprune.tasks import TensorSplit, classification, evaluate, training_mode


def split(count=11, classes=3):
    generator = torch.Generator().manual_seed(0)
    return TensorSplit(torch.randn(count, 4, generator=generator), torch.arange(count) % classes)


class Constant(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return self.value


def test_the_score_does_not_depend_on_the_batch_size():
    model, data, task = nn.Linear(4, 3), split(), classification(3)
    whole, parts = (evaluate(model, data, task, batch_size=size) for size in (11, 4))
    with torch.no_grad():
        outputs = model(data.inputs)
    assert whole.samples == parts.samples == 11
    assert (
        whole.value == parts.value == pytest.approx(float((outputs.argmax(1) == data.targets).float().mean()))
    )
    assert parts.loss == pytest.approx(float(task.loss(outputs, data.targets)), rel=1e-5)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-5)


def test_evaluation_changes_nothing():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3))
    model.train()
    model[1].eval()
    before = model[0].running_mean.clone()
    first = evaluate(model, split(), classification(3))
    assert first == evaluate(model, split(), classification(3))
    assert torch.equal(model[0].running_mean, before)
    assert [module.training for module in model] == [True, False, True]


def test_flags_come_back_after_an_error():
    model = nn.Linear(4, 3).train()
    with pytest.raises(KeyError), training_mode(model, False):
        assert not model.training
        raise KeyError
    assert model.training


def test_an_output_that_is_not_finite():
    model = nn.Linear(4, 3)
    nn.init.constant_(model.weight, float("nan"))
    with pytest.raises(TrialError, match="not finite"):
        evaluate(model, split(), classification(3))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(5, 3), r"cannot take inputs of shape \[11, 4\]"),
        (nn.Linear(4, 2), r"outputs \[11, 2\] do not fit targets \[11\]"),
        (nn.Unflatten(1, (2, 2)), "do not fit"),
    ],
)
def test_data_that_does_not_fit(model, message):
    with pytest.raises(DataError, match=message) as caught:
        evaluate(model, split(), classification(3))
    assert "\n" not in str(caught.value)


def test_a_model_that_returns_a_dictionary():
    with pytest.raises(ModelError, match="returns dict"):
        evaluate(Constant({"logits": 1}), split(), classification(3))
