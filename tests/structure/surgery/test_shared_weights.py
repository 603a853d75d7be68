import copy
from pathlib import Path

import pytest
import torch
from shared_nets import Listed, Raw, Repeated, Siamese, TiedAutoencoder, TiedLanguageModel
from torch import Tensor, nn

from autoprune.cost import CostModel
from autoprune.errors import PlanError, UserError
from autoprune.structure import Plan, Sharing, Structure, apply, discover, untie
from autoprune.structure.verification.verify import difference, half_plan
from autoprune.tasks import load_weights, save_weights
from autoprune.workflows.prune import prune

GENERATOR = torch.Generator().manual_seed(0)
VECTORS = torch.randn(3, 12, generator=GENERATOR)
IMAGES = torch.randn(2, 3, 8, 8, generator=GENERATOR)
TOKENS = torch.randint(20, (2, 7), generator=GENERATOR)
CASES: dict[type[nn.Module], Tensor] = {
    TiedAutoencoder: VECTORS,
    Raw: VECTORS,
    TiedLanguageModel: TOKENS,
    Siamese: IMAGES,
    Repeated: VECTORS,
    Listed: VECTORS,
}
JOINT = {
    TiedAutoencoder: {"inner": 10, "code": 6},
    Raw: {"inner": 10, "w": 6},
    TiedLanguageModel: {"embedding": 12, "hidden": 16},
    Siamese: {"encoder.0": 8, "encoder.3": 10},
    Repeated: {"stem": 8, "blocks.0.up": 14},
    Listed: {"first": 8},
}
UNTIED = {
    TiedAutoencoder: JOINT[TiedAutoencoder],
    Raw: JOINT[Raw],
    TiedLanguageModel: JOINT[TiedLanguageModel],
    Siamese: {"encoder.0.0": 8, "encoder.0.3": 10, "encoder.1.0": 8, "encoder.1.3": 10},
    Repeated: {
        "stem": 8,
        **{f"blocks.{i}.{part}": 14 for i in range(3) for part in ("up", "mix.0", "mix.1")},
    },
    Listed: JOINT[Listed],
}


@pytest.fixture(params=CASES, ids=lambda kind: kind.__name__)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return request.param().eval(), CASES[request.param]


def check(model: nn.Module, structure: Structure, example: Tensor) -> nn.Module:
    """Cuts are exact, all together and each alone; costs are those of the sliced model."""
    double = copy.deepcopy(model).double()
    inputs = example.double() if example.is_floating_point() else example
    for groups in (structure.groups, *([group] for group in structure.groups)):
        assert difference(double, structure, half_plan(structure, groups, seed=1), inputs) < 1e-9
    plan = half_plan(structure, structure.groups)
    pruned = apply(model, Plan.from_json(plan.to_json()), structure)
    costs = CostModel.of(structure, model).costs(plan.widths(structure))
    tensors = [*pruned.parameters(), *pruned.buffers()]
    assert costs.parameters == sum(p.numel() for p in pruned.parameters())
    assert costs.size == sum(t.numel() * t.element_size() for t in tensors)
    pruned.train()(example).sum().backward()
    return pruned.eval()


def shared_names(model: nn.Module) -> list[set[str]]:
    """Names of each parameter that has several."""
    names: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), set()).add(name)
    return [aliases for aliases in names.values() if len(aliases) > 1]


def test_joint_cuts_all_uses_together_and_keeps_ties(case: tuple[nn.Module, Tensor]) -> None:
    model, example = case
    structure = discover(model, example)
    assert structure.widths == JOINT[type(model)]
    pruned = check(model, structure, example)
    assert shared_names(pruned) == shared_names(model)


def test_ties_survive_the_disk(case: tuple[nn.Module, Tensor], tmp_path: Path) -> None:
    model, example = case
    structure = discover(model, example)
    plan = half_plan(structure, structure.groups)
    pruned = apply(model, plan, structure)
    save_weights(pruned, tmp_path / "pruned.safetensors")
    again = apply(type(model)().eval(), plan, structure)
    load_weights(again, tmp_path / "pruned.safetensors")
    assert torch.equal(again(example), pruned(example))
    assert shared_names(again) == shared_names(model)


@pytest.mark.parametrize(
    ("kind", "widths", "shared"),
    [
        (TiedAutoencoder, {}, {"inner": "code.weight", "code": "code.weight"}),
        (TiedLanguageModel, {"hidden": 16}, {"embedding": "embedding.weight"}),
        (Siamese, {}, {"encoder.0": "encoder.0.weight", "encoder.3": "encoder.3.weight"}),
        (Repeated, {}, {"stem": "blocks.0.up.weight", "blocks.0.up": "blocks.0.up.weight"}),
        (Listed, {"first": 8}, {}),
    ],
)
def test_frozen_leaves_what_several_uses_share(
    kind: type[nn.Module], widths: dict[str, int], shared: dict[str, str]
) -> None:
    model = kind().eval()
    structure = discover(model, CASES[kind], shared="frozen")
    assert structure.widths == widths
    for group, parameter in shared.items():
        assert structure.frozen[group] == f"{parameter} is used several times"
    if widths:
        check(model, structure, CASES[kind])


def test_untied_copies_are_cut_alone_and_counted(case: tuple[nn.Module, Tensor]) -> None:
    model, example = case
    structure = discover(model, example, shared="untie")
    assert structure.widths == UNTIED[type(model)]
    pruned = check(model, structure, example)
    costs = CostModel.of(structure, model)
    free = untie(model, example)
    assert costs.parameters(structure.widths) == sum(p.numel() for p in free.parameters())
    assert costs.original(model).parameters == sum(p.numel() for p in model.parameters())
    if structure.untying is not None:
        assert shared_names(pruned) == []
        assert costs.parameters(structure.widths) > costs.original(model).parameters


def test_an_untied_model_computes_the_same_and_leaves_the_given_one_alone(
    case: tuple[nn.Module, Tensor],
) -> None:
    model, example = case
    before, names = model(example), list(model.state_dict())
    free = untie(model, example)
    for again in (free, copy.deepcopy(free), free):
        assert torch.equal(again(example), before)
    assert list(model.state_dict()) == names
    assert not {p.data_ptr() for p in free.parameters()} & {p.data_ptr() for p in model.parameters()}


def test_the_names_of_copies() -> None:
    names = set(untie(Siamese().eval(), IMAGES).state_dict())
    assert {"encoder.0.0.weight", "encoder.1.0.weight", "encoder.1.1.running_mean"} <= names
    repeated = untie(Repeated().eval(), VECTORS).state_dict()
    assert {"blocks.2.mix.1.weight", "blocks.2.up.weight"} <= set(repeated)
    assert repeated["blocks.0.up.weight"].data_ptr() != repeated["blocks.2.up.weight"].data_ptr()
    language = untie(TiedLanguageModel().eval(), TOKENS).state_dict()
    assert language["head.weight"].data_ptr() != language["embedding.weight"].data_ptr()
    listed = untie(Listed().eval(), VECTORS).state_dict()
    assert listed["first.weight"].data_ptr() == listed["all.0.weight"].data_ptr()


def test_a_call_that_failed_half_way_does_not_shift_the_turns() -> None:
    free = untie(Siamese().eval(), IMAGES)
    before = free(IMAGES)
    with pytest.raises(RuntimeError):
        free(IMAGES[:, :, :1, :1])
    assert torch.equal(free(IMAGES), before)


def test_code_that_reads_a_setting_of_a_copied_module_gets_that_of_the_first() -> None:
    free = untie(Repeated().eval(), VECTORS)
    assert free.blocks[1].mix.out_features == 14
    with pytest.raises(AttributeError):
        _ = free.blocks[1].mix.nothing_like_it


def test_one_branch_of_a_siamese_network_can_be_cut_alone() -> None:
    torch.manual_seed(0)
    model = Siamese().eval()
    structure = discover(model, IMAGES, shared="untie")
    plan = Plan({"encoder.1.0": (2, 5)}, untied=True)
    pruned = apply(model, plan, structure)
    assert pruned.encoder.get_parameter("0.0.weight").shape[0] == 8
    assert pruned.encoder.get_parameter("1.0.weight").shape[0] == 2
    assert torch.equal(apply(untie(model, IMAGES), plan, structure)(IMAGES), pruned(IMAGES))


def test_a_plan_says_that_it_is_for_untied_weights() -> None:
    model = Siamese().eval()
    joint, free = (discover(model, IMAGES, shared=how) for how in ("joint", "untie"))
    plan = half_plan(free, free.groups)
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.untied
    assert plan.hash != Plan(plan.keep).hash
    with pytest.raises(PlanError, match="discover the model with shared='untie'"):
        apply(model, plan, joint)
    with pytest.raises(PlanError, match="shared='joint' or 'frozen'"):
        apply(model, half_plan(joint, joint.groups), free)
    with pytest.raises(PlanError, match="true or false"):
        Plan.from_json('{"schema": 1, "keep": {}, "untied": 1}')
    assert "untied" not in half_plan(joint, joint.groups).to_json()


def test_criteria_rank_the_units_of_every_copy() -> None:
    model = Siamese().eval()
    structure = discover(model, IMAGES, shared="untie")
    pruned = prune(model, IMAGES, 0.5, structure=structure)
    assert pruned.encoder.get_parameter("1.3.weight").shape == (5, 4, 3, 3)
    pruned(IMAGES).sum().backward()


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(UserError, match="'joint', 'frozen', 'untie'"):
        discover(Siamese(), IMAGES, shared="divide")  # type: ignore[arg-type]


class OneLayer(nn.Module):
    """The same encoder layer four times."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(12, 3, 8, batch_first=True, norm_first=True)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(4):
            x = self.layer(x)
        return self.head(x.mean(1))


@pytest.mark.parametrize(
    ("shared", "blocks"),
    [("joint", ["layer"]), ("frozen", []), ("untie", [f"layer.{i}" for i in range(4)])],
)
def test_a_shared_block_goes_as_the_policy_says(shared: Sharing, blocks: list[str]) -> None:
    torch.manual_seed(0)
    model, example = OneLayer().eval(), torch.randn(2, 5, 12)
    structure = discover(model, example, depth=True, shared=shared)
    assert [group.name for group in structure.groups if group.block] == blocks
    if blocks:
        check(model, structure, example)
        plan = Plan({blocks[-1]: ()}, untied=shared == "untie")
        left = sum(name.endswith("norm1.weight") for name in apply(model, plan, structure).state_dict())
        assert left == len(blocks) - 1
