import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner, Result

from autoprune.cli import app
from autoprune.criteria.curve import Curve
from autoprune.pruning_search.proposals.sensitivity import AT_BUDGET, measure_curves
from autoprune.structure import Plan
from autoprune.tasks import digits_resnet

QUICK = ("--calibration-batches", "2", "--latency-seconds", "0.1", "--format", "state")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "digits.safetensors"
    safetensors.torch.save_file(digits_resnet().state_dict(), file)
    return file


def apply(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["apply", *map(str, arguments)])


def test_with_data_the_cut_is_validated_and_its_plan_applies_again(tmp_path: Path, weights: Path) -> None:
    made = apply("--weights", weights, "--sparsity", 0.5, "--validate", *QUICK, "-o", tmp_path / "a")
    assert made.exit_code == 0, made.output
    for word in ("accuracy (validation)", "FLOPs", "parameters", "latency", "before", "after"):
        assert word in made.stdout
    plan = Plan.from_json((tmp_path / "a" / "plan.json").read_text())
    assert {len(units) for units in plan.keep.values()} == {8, 16, 32}

    again = apply("--weights", weights, "--plan", tmp_path / "a" / "plan.json", *QUICK, "-o", tmp_path / "b")
    assert again.exit_code == 0, again.output
    assert "accuracy" not in again.stdout
    first, second = (safetensors.torch.load_file(tmp_path / x / "model.safetensors") for x in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_without_data_the_kept_weights_are_the_given_ones(tmp_path: Path, weights: Path) -> None:
    model = ("--model", "autoprune.tasks.zoo:digits_resnet", "--input", "1x1x8x8", "--weights", weights)
    made = apply(*model, "--threshold", 1.0, "--round-to", 4, "--skip", "stem", *QUICK, "-o", tmp_path)
    assert made.exit_code == 0, made.output
    pruned = safetensors.torch.load_file(tmp_path / "model.safetensors")
    base = safetensors.torch.load_file(weights)
    plan = json.loads((tmp_path / "plan.json").read_text())["keep"]
    assert plan
    assert "stem.0" not in plan
    assert all(len(units) % 4 == 0 for units in plan.values())
    name, units = next((name, units) for name, units in plan.items() if name.endswith("conv1"))
    expected = base[f"{name}.weight"][units]
    kept = pruned[f"{name}.weight"]
    assert kept.shape[0] == len(units)
    assert kept.shape[1] < expected.shape[1] or torch.equal(kept, expected)


def test_blocks_stay_unless_a_plan_takes_them_out(tmp_path: Path, weights: Path) -> None:
    model = ("--model", "autoprune.tasks.zoo:digits_resnet", "--input", "1x1x8x8", "--weights", weights)
    made = apply(*model, "--sparsity", 0.4, "--scope", "global", "--depth", *QUICK, "-o", tmp_path / "a")
    assert made.exit_code == 0, made.output
    plan = Plan.from_json((tmp_path / "a" / "plan.json").read_text())
    assert plan.keep
    assert not plan.depth
    (tmp_path / "b.json").write_text(Plan({"blocks.1": ()}).to_json())
    taken = apply(*model, "--plan", tmp_path / "b.json", *QUICK, "-o", tmp_path / "b")
    assert taken.exit_code == 0, taken.output
    stored = safetensors.torch.load_file(tmp_path / "b" / "model.safetensors")
    assert not any(name.startswith("blocks.1.") for name in stored)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "one of --plan FILE, --sparsity 0.5, --threshold 0.8 or --budget"),
        (("--budget", "flops=50%", "--sparsity", "0.5"), "one of --plan FILE"),
        (("--budget", "trials=5"), "only model limits are allowed"),
        (("--plan", "x", "--sparsity", "0.5"), "one of --plan FILE"),
        (("--plan", "nowhere.json"), "plan nowhere.json does not exist"),
        (("--sparsity", "2"), "at least 0 and below 1"),
        (("--sparsity", "0.5", "--scope", "galactic"), "use 'local' or 'global'"),
        (("--sparsity", "0.5", "--skip", "conv99"), "no layer matches 'conv99'"),
        (("--sparsity", "0.5", "--input", "1x1x8x8"), "give --input or --data, not both"),
        (("--sparsity", "0.5", "--bounds", "a=3"), "bound 'a=3' cannot be read"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    tmp_path: Path, weights: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = apply("--weights", weights, *arguments, *QUICK, "-o", tmp_path)
    assert result.exit_code == 2
    assert message in result.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_validating_takes_data(tmp_path: Path) -> None:
    result = apply("--model", "torchvision:alexnet", "--sparsity", 0.5, "--validate", "-o", tmp_path)
    assert result.exit_code == 2
    assert "give --data" in result.stderr


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    """The export of a short search."""
    folder = tmp_path_factory.mktemp("learned")
    storage = ("--storage", f"sqlite:///{folder}/study.db")
    settings = ("--weights", weights, "--budget", "flops=50%,trials=3", "--no-latency", *storage)
    quick = ("--finetune-steps", 0, "--calibration-batches", 2, "--mix", "taylor", "--skip", "head")
    found = CliRunner().invoke(app, ["search", *map(str, (*settings, *quick))])
    assert found.exit_code == 0, found.output
    exported = CliRunner().invoke(app, ["export", *storage, "--format", "state", "-o", str(folder / "out")])
    assert exported.exit_code == 0, exported.output
    assert "`criterion.json`: the criterion that the search" in (folder / "out" / "README.md").read_text()
    return folder / "out" / "criterion.json"


def test_a_learned_criterion_cuts_other_weights_to_other_budgets(
    tmp_path: Path, weights: Path, learned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts = []

    def observed(*arguments: Any, context: float) -> dict[str, Curve]:
        contexts.append(context)
        return measure_curves(*arguments, context=context)

    monkeypatch.setattr("autoprune.workflows.apply.measure_curves", observed)
    torch.manual_seed(1)
    other = tmp_path / "other.safetensors"
    safetensors.torch.save_file(digits_resnet().state_dict(), other)
    model = ("--model", "autoprune.tasks.zoo:digits_resnet", "--criterion", learned)
    without = apply(
        *model,
        "--input",
        "1x1x8x8",
        "--weights",
        other,
        "--budget",
        "flops=35%",
        *QUICK,
        "-o",
        tmp_path / "a",
    )
    assert without.exit_code == 0, without.output
    assert not contexts
    with_data = apply(
        *model,
        "--data",
        "digits",
        "--weights",
        weights,
        "--budget",
        "flops=25%,params=40%",
        "--validate",
        *QUICK,
        "-o",
        tmp_path / "b",
    )
    assert with_data.exit_code == 0, with_data.output
    # One plan that takes all of the budget is looked for, so that the other groups are cut nearly as far.
    assert contexts == [AT_BUDGET]
    for folder, most in (("a", 35.0), ("b", 25.0)):
        card = (tmp_path / folder / "README.md").read_text()
        share = float(card.split("autoprune to ")[1].split("%")[0])
        assert most - 8 < share <= most
    plan = Plan.from_json((tmp_path / "a" / "plan.json").read_text())
    # What the search was not allowed to cut stays whole without being said again.
    assert not any(name.startswith("head") for name in plan.keep)


def test_another_criterion_cuts_to_a_budget_too(tmp_path: Path, weights: Path) -> None:
    model = ("--model", "autoprune.tasks.zoo:digits_resnet", "--input", "1x1x8x8", "--weights", weights)
    made = apply(*model, "--budget", "params=30%", "--scope", "global", *QUICK, "-o", tmp_path)
    assert made.exit_code == 0, made.output
    assert Plan.from_json((tmp_path / "plan.json").read_text()).keep


def test_a_criterion_of_another_model_is_one_line(tmp_path: Path, learned: Path) -> None:
    model = ("--model", "autoprune.tasks.zoo:resnet20", "--input", "1x1x28x28")
    result = apply(*model, "--criterion", learned, "--budget", "flops=35%", *QUICK, "-o", tmp_path / "x")
    assert result.exit_code == 2
    assert "is for another architecture" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "x").exists()
