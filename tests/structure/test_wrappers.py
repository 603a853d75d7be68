"""Models in wrappers are taken as the models that they are, and the caller's objects stay as they are."""

import copy
import time

import pytest
import torch
from torch import nn

import autoprune
from autoprune.cost import Meter, Setting
from autoprune.review import study_record
from autoprune.structure.masks import discover_masks
from autoprune.structure.wrappers import unwrapped
from autoprune.tasks import load_model

X = torch.randn(1, 6)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


class Held(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(x))


@torch.compile
def activated(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x) * 2


class Decorated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

    @torch.compile
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(activated(self.first(x)))


def compiled_in_place() -> nn.Module:
    model = net()
    model.compile()
    model[0].compile()
    return model


def compiled_net() -> nn.Module:
    """Named as a factory on the command line."""
    return torch.compile(net())


WRAPPED = {
    "compile": compiled_net,
    "data parallel": lambda: nn.DataParallel(net()),
    "both": lambda: nn.DataParallel(torch.compile(net())),
    "both, the other way": lambda: torch.compile(nn.DataParallel(net())),
    "in place": compiled_in_place,
}


@pytest.mark.parametrize("make", WRAPPED.values(), ids=WRAPPED)
def test_every_entry_takes_the_model_inside(make):
    given = make()
    attributes, names = dict(vars(given)), list(given.state_dict())
    structure = autoprune.discover(given, X)
    assert structure.widths == {"0": 8}
    pruned = autoprune.prune(given, X, 0.5, structure=structure)
    again = autoprune.apply(given, autoprune.Plan.of(structure, {"0": [0, 1]}), structure)
    masked = autoprune.fold(autoprune.mask(given, X, 0.5))
    for model in (pruned, again, masked):
        assert type(model) is nn.Sequential
        assert list(model.state_dict()) == list(net().state_dict())
        assert model._compiled_call_impl is None
    assert [group.name for group in discover_masks(given, X, "weights").groups] == ["0", "2"]
    assert vars(given) == attributes
    assert list(given.state_dict()) == names


def test_compiled_models_take_no_longer():
    given = torch.compile(net())
    autoprune.discover(net(), X)
    begun = time.perf_counter()
    autoprune.discover(given, X)
    assert time.perf_counter() - begun < 5


def test_parts_that_are_compiled():
    backbone = net()
    given = Held(torch.compile(backbone))
    held = given.backbone
    pruned = autoprune.prune(given, X, {"backbone.0": 0.5})
    assert list(pruned.state_dict()) == list(Held(net()).state_dict())
    assert pruned.backbone[0].weight.shape == (4, 6)
    assert given.backbone is held
    found = unwrapped(given)
    assert found.backbone is backbone
    assert found.head is given.head


def test_shared_parts_stay_shared():
    part = torch.compile(nn.Linear(4, 4))
    found = unwrapped(nn.Sequential(part, nn.ReLU(), part))
    assert found[0] is found[2]
    assert type(found[0]) is nn.Linear


def test_functions_and_methods_that_are_compiled_run_as_they_were_written():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()  # other tests may have compiled something
    assert autoprune.discover(Decorated(), X).widths == {"first": 8}
    assert not torch._dynamo.utils.counters["stats"]


def test_a_model_without_wrappers_is_itself():
    for model in (net(), Held(net())):
        assert unwrapped(model) is model


def test_factories(tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef model():\n    return torch.compile(nn.Linear(2, 2))\n"
    )
    monkeypatch.chdir(tmp_path)
    assert list(load_model("nets.py:model").state_dict()) == ["weight", "bias"]


def test_timed_models():
    meter = Meter(torch.compile(net()), (X,), Setting(max_seconds=0.01), warmup=0)
    assert type(meter.reference) is nn.Sequential


def test_search_takes_the_model_inside(tmp_path):
    inputs, targets = torch.randn(48, 6), torch.arange(48) % 3
    study = autoprune.search(
        nn.DataParallel(net()),
        dict.fromkeys(("train", "validation", "test"), (inputs, targets)),
        trials=2,
        storage=f"sqlite:///{tmp_path}/a.db",
        latency=False,
        finetune_steps=0,
    )
    assert list(study.problem.model.state_dict()) == list(net().state_dict())
    assert type(study.model()) is nn.Sequential


def test_weights_for_a_python_object_go_into_a_copy(tmp_path):
    inputs, targets = torch.randn(48, 6), torch.arange(48) % 3
    given, trained = net(), net()
    before = copy.deepcopy(given.state_dict())
    torch.save({"state_dict": net().state_dict(), "ema": trained.state_dict()}, tmp_path / "w.pt")
    study = autoprune.search(
        given,
        dict.fromkeys(("train", "validation", "test"), (inputs, targets)),
        trials=1,
        storage=f"sqlite:///{tmp_path}/a.db",
        latency=False,
        finetune_steps=0,
        weights=f"{tmp_path}/w.pt:ema",
    )
    assert torch.equal(study.problem.model[0].weight, trained[0].weight)
    assert all(torch.equal(before[name], tensor) for name, tensor in given.state_dict().items())
    assert study_record(study.optuna)["config"]["weights"] == f"{tmp_path}/w.pt:ema"


def test_lightning_fabric():
    fabric = pytest.importorskip("lightning.fabric").Fabric(accelerator="cpu", precision="bf16-mixed")
    model = net()
    assert unwrapped(fabric.setup(model)) is model
    assert type(unwrapped(fabric.setup(torch.compile(net())))) is nn.Sequential


def test_a_forward_that_a_library_replaced():
    """Accelerate keeps the model's own forward and sets another, on the object."""
    model = net()
    vars(model)["_original_forward"] = model.forward
    vars(model)["forward"] = lambda x: nn.Sequential.forward(model, x).double()
    found = unwrapped(model)
    assert found(X).dtype == torch.float32
    assert model(X).dtype == torch.float64
    assert found[0] is model[0]
