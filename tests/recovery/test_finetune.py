from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from autoprune.errors import ConfigError, DataError, ModelError, TrialError
from autoprune.recovery import Recipe, finetune
from autoprune.recovery.training.finetune import distillation
from autoprune.tasks import Data, TensorSplit, classification, evaluate, regression, weights_hash

RECIPE = Recipe(steps=30, lr=0.1, batch_size=32)


def made_data(task=None):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(200, 1, 4, 4, generator=generator)
    targets = inputs[:, 0, 0, :3].argmax(1)
    split = TensorSplit(inputs, targets)
    return Data("made", split, split, split, task or classification(3))


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(128, 3),
    )


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"optimizer": "adamw", "lr": 0.01},
        {"schedule": "onecycle"},
        {"label_smoothing": 0.1},
        {"clip": 1.0},
        {"momentum": 0.0},
    ],
)
def test_a_model_learns(change):
    model, data = network(), made_data()
    before = evaluate(model, data.validation, data.task)
    done = finetune(model, data, replace(RECIPE, **change), seed=0)
    after = evaluate(model, data.validation, data.task)
    assert done.steps == 30
    assert after.value > before.value + 0.2
    assert after.loss < before.loss


def test_one_seed_gives_one_model_whatever_the_global_state():
    hashes = []
    for global_seed, seed in ((1, 5), (2, 5), (1, 6)):
        model = network()
        torch.manual_seed(global_seed)
        finetune(model, made_data(), RECIPE, seed=seed)
        hashes.append(weights_hash(model))
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_global_random_state_and_flags_are_left_alone():
    model = network().eval()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    finetune(model, made_data(), RECIPE, seed=0)
    assert torch.equal(torch.rand(1), expected)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model[0].weight.stride() == (9, 9, 3, 1)


def test_steps_are_reported():
    seen = []
    done = finetune(
        network(), made_data(), RECIPE, seed=0, on_step=lambda step, loss: seen.append((step, loss))
    )
    assert [step for step, _ in seen] == list(range(1, 31))
    assert done.loss == pytest.approx(sum(loss for _, loss in seen[-3:]) / 3)
    assert done.seconds > 0


def test_a_model_follows_its_teacher_rather_than_the_targets():
    data = made_data()
    teacher = network(seed=9).train()
    finetune(
        teacher, replace(data, train=TensorSplit(data.train.inputs, 2 - data.train.targets)), RECIPE, seed=1
    )
    kept = weights_hash(teacher)
    model = network()
    finetune(model, data, replace(RECIPE, distill=1.0), seed=0, teacher=teacher)

    model.eval()
    answers = model(data.train.inputs).argmax(1)
    agreement = (answers == 2 - data.train.targets).float().mean()
    assert agreement > 0.7
    assert weights_hash(teacher) == kept
    assert teacher.training
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_distillation_vanishes_for_equal_logits_and_keeps_its_gradient_scale():
    logits = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))
    assert float(distillation(logits, logits, 3.0)) == pytest.approx(0, abs=1e-6)
    assert float(distillation(logits, logits.flip(1), 3.0)) > 0

    gradients = []
    for temperature in (50.0, 100.0):
        student = logits.clone().requires_grad_()
        distillation(student, logits.flip(1), temperature).backward()
        gradients.append(student.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0.1, atol=1e-3)


def test_distillation_matches_cross_entropy_with_soft_targets():
    student, teacher = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    soft = functional.softmax(teacher, dim=1)
    entropy = -(soft * soft.log()).sum(1).mean()
    expected = functional.cross_entropy(student, soft) - entropy
    assert float(distillation(student, teacher, 1.0)) == pytest.approx(float(expected), rel=1e-5)


def test_distillation_needs_a_teacher():
    with pytest.raises(ConfigError, match="teacher"):
        finetune(network(), made_data(), replace(RECIPE, distill=0.5), seed=0)


def test_a_regression_learns_from_targets_and_teacher():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(128, 4, generator=generator)
    split = TensorSplit(inputs, inputs.sum(1, keepdim=True))
    data = Data("sums", split, split, split, regression())
    teacher = nn.Linear(4, 1)
    nn.init.ones_(teacher.weight)
    nn.init.zeros_(teacher.bias)
    model = nn.Linear(4, 1)
    finetune(model, data, replace(RECIPE, steps=100, distill=0.5), seed=0, teacher=teacher)
    assert evaluate(model, split, data.task).value < 0.01


def test_weight_decay_spares_vectors():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.matrix = nn.Parameter(torch.ones(2, 2))
            self.vector = nn.Parameter(torch.ones(2))

        def forward(self, x):
            return x[:, 0, 0, :3] + 0 * (self.matrix.sum() + self.vector.sum())

    model = Idle()
    finetune(model, made_data(), replace(RECIPE, weight_decay=0.1), seed=0)
    assert float(model.matrix.detach().max()) < 1
    assert torch.equal(model.vector, torch.ones(2))


def test_frozen_parameters_stay():
    model = network()
    model[0].requires_grad_(False)
    kept = model[0].weight.detach().clone()
    finetune(model, made_data(), RECIPE, seed=0)
    assert torch.equal(model[0].weight, kept)


def test_nothing_to_train():
    with pytest.raises(ModelError, match="requires a gradient"):
        finetune(network().requires_grad_(False), made_data(), RECIPE, seed=0)


def test_a_loss_that_is_not_finite_names_the_step():
    model = network()
    nn.init.constant_(next(model.parameters()), float("nan"))
    with pytest.raises(TrialError, match="loss became nan at step 1; lower --lr"):
        finetune(model, made_data(), RECIPE, seed=0)


def test_samples_that_are_not_finite_are_not_blamed_on_the_learning_rate():
    data = made_data()
    inputs = data.train.inputs.clone()
    inputs[:] = float("nan")
    broken = replace(data, train=TensorSplit(inputs, data.train.targets))
    with pytest.raises(DataError, match=r"the inputs hold nan \(train\)"):
        finetune(network(), broken, RECIPE, seed=0)


def test_data_of_another_shape():
    data = made_data()
    wide = replace(data, train=TensorSplit(torch.randn(40, 1, 9, 9), torch.zeros(40, dtype=torch.long)))
    with pytest.raises(DataError, match=r"shape \[32, 1, 9, 9\]"):
        finetune(network(), wide, RECIPE, seed=0)


def test_one_step_is_enough():
    for schedule in ("cosine", "onecycle"):
        assert (
            finetune(network(), made_data(), replace(RECIPE, steps=1, schedule=schedule), seed=0).steps == 1
        )
