import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn
from typer.testing import CliRunner, Result

import autoprune
from autoprune import review
from autoprune.cli import app
from autoprune.errors import BudgetError, ConfigError, ModelError
from autoprune.pruning_search import Problem, create_study, run, trial_model
from autoprune.pruning_search.evaluation.evaluate import OverBudget, evaluate_candidate
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.proposals.allocator import Curve
from autoprune.pruning_search.proposals.budget_levels import LEVELS
from autoprune.pruning_search.proposals.spaces import SparsitySpace
from autoprune.pruning_search.proposals.warm_start import EXACT, GREEDY, warm_starts
from autoprune.recovery import Recipe, finetune
from autoprune.structure.masks import MaskPlan
from autoprune.structure.plans import read_plan
from autoprune.tasks import Data, digits_resnet, evaluate

Make = Callable[..., Problem]
Curves = Callable[[Problem], dict[str, Curve]]
MASKS = {"granularity": "weights", "budget": ("nonzero=40%", "trials=12")}


def nonzeros(model: nn.Module) -> int:
    return sum(int(torch.count_nonzero(parameter)) for parameter in model.parameters())


def zeros_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter == 0 for name, parameter in model.named_parameters() if parameter.ndim > 1}


def test_the_python_call_gives_a_front_of_masked_models(
    tiny: nn.Module, digits: Data, tmp_path: Path
) -> None:
    study = autoprune.search(
        tiny,
        digits,
        budget="nonzero=40%",
        trials=10,
        granularity="weights",
        storage=f"sqlite:///{tmp_path}/study.db",
        finetune_steps=10,
    )
    assert study.optuna.study_name == "TinyNet-digits-weights-nonzero=40pct"
    assert study.optuna.metric_names == ["accuracy", "nonzero"]
    front = study.front()
    assert len(front) >= 2
    assert (front["nonzero_ratio"] <= 0.4).all()
    assert (front["flops_ratio"] == 1).all()
    assert front["nonzero"].is_monotonic_decreasing
    assert "latency_ms" not in front
    best = study.best()
    model = study.model()
    assert nonzeros(model) == best.user_attrs["nonzero"] == best.values[1]
    assert list(model.state_dict()) == list(tiny.state_dict())
    assert evaluate(model, digits.validation, digits.task).value == best.values[0] > 0.5
    assert nonzeros(tiny) > best.values[1]

    summary = review.summary(study.optuna)
    text = review.headline(summary)
    assert "masks (weights): tensors keep their shapes, so dense FLOPs" in text
    columns = [str(column.header) for column in review.front_table(front, summary, width=200).columns]
    assert {"non-zero", "compressed", "dense FLOPs"} <= set(columns)

    exported = study.export(to=tmp_path / "out", formats=["state", "pt2", "onnx"])
    total = sum(p.numel() for p in tiny.parameters()) - int(best.values[1])
    for item in exported:
        assert f"{total:,} zero weights counted in the file" in item.note
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| non-zero parameters |" in card
    assert "Tensors keep their shapes" in card
    plan = read_plan((tmp_path / "out" / "plan.json").read_text())
    assert isinstance(plan, MaskPlan)
    assert plan.hash == best.user_attrs["plan"]


@pytest.mark.parametrize(
    ("granularity", "budget"),
    [
        ("2:4", "size=80%"),
        ("block:4x4", "nonzero=60%"),
        ("kernels", "nonzero=60%"),
        ("neurons", "nonzero=97%"),
    ],
)
def test_every_granularity_can_be_searched(
    make_problem: Make, tmp_path: Path, granularity: str, budget: str
) -> None:
    problem = make_problem(granularity=granularity, budget=(budget, "trials=5"))
    study = create_study(problem)
    run(problem, study, WeightStore(tmp_path), review.Listener())
    kinds = {group.kind for group in problem.structure.groups}
    assert len(kinds) == 1
    for trial in study.best_trials:
        model, plan = trial_model(problem, trial, WeightStore(tmp_path))
        assert plan is not None
        assert plan.hash == trial.user_attrs["plan"]
        assert nonzeros(model) == trial.user_attrs["nonzero"] < nonzeros(problem.model)
        assert trial.user_attrs["size"] == problem.pruning.costs.costs(trial.user_attrs["widths"]).size


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_recovery_keeps_the_zeros_and_moves_the_rest(make_problem: Make, optimizer: str) -> None:
    problem = make_problem(**MASKS, optimizer=optimizer, lr=0.01, weight_decay=0.01, finetune_steps=6)
    widths = {name: width // 4 for name, width in problem.structure.widths.items()}
    made = evaluate_candidate(problem, widths)
    assert made.plan is not None
    cut = problem.pruning.cut(made.plan)
    for name, zeros in zeros_of(made.model).items():
        assert torch.equal(zeros, zeros_of(cut)[name])
        assert not torch.equal(made.model.get_parameter(name), cut.get_parameter(name))
    again = evaluate_candidate(problem, widths)
    assert all(
        torch.equal(a, b) for a, b in zip(made.model.parameters(), again.model.parameters(), strict=True)
    )


def test_without_recovery_the_kept_weights_are_the_given_ones(make_problem: Make) -> None:
    problem = make_problem(**MASKS, finetune_steps=0)
    made = evaluate_candidate(problem, {name: width // 5 for name, width in problem.structure.widths.items()})
    for name, zeros in zeros_of(made.model).items():
        given = problem.model.get_parameter(name)
        assert torch.equal(made.model.get_parameter(name), torch.where(zeros, 0, given))
        assert given[zeros].abs().max() <= given[~zeros].abs().min()


def test_plans_to_try_are_by_sensitivity_uniform_and_by_one_threshold(
    make_problem: Make, curves_of: Curves
) -> None:
    problem = make_problem(**MASKS)
    starts = warm_starts(problem, curves_of(problem), LEVELS)
    assert {start.origin for start in starts} - {GREEDY} == {EXACT, "uniform", "global l2", "global taylor"}
    uniform = next(start for start in starts if start.origin == "uniform")
    shares = [width / problem.structure.widths[name] for name, width in uniform.widths.items()]
    assert max(shares) - min(shares) < 0.12
    for start in starts:
        assert (
            0.3 * 0.4
            < problem.pruning.costs.costs(start.widths).nonzero
            / problem.budget_model.original_costs.parameters
            <= 0.4
        )


def test_suggested_masks_are_within_the_budget(make_problem: Make) -> None:
    import optuna

    problem = make_problem(**MASKS)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    made = SparsitySpace(problem.budget_model)
    for _ in range(5):
        widths = made.suggest(study.ask())
        assert problem.pruning.costs.costs(widths).nonzero <= problem.budget_model.limits["nonzero"]


def test_a_candidate_over_the_budget_is_not_trained(make_problem: Make) -> None:
    problem = make_problem(**MASKS)
    with pytest.raises(OverBudget, match="nonzero"):
        evaluate_candidate(problem, problem.structure.widths)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"granularity": "weights", "budget": ("flops=50%",)}, ConfigError, "masks leave flops as it is"),
        ({"granularity": "2:4", "budget": ("latency=50%",)}, ConfigError, "masks leave latency as it is"),
        ({"budget": ("nonzero=20%",)}, ConfigError, "a nonzero budget is for masks"),
        ({"granularity": "weights", "budget": ("nonzero=1%",)}, BudgetError, "no plan meets nonzero"),
        ({"granularity": "block:5x7", "budget": ()}, ModelError, "no weight can be masked by block:5x7"),
    ],
)
def test_mistakes(
    make_problem: Make, settings: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make_problem(**settings)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, digits: Data) -> Path:
    torch.manual_seed(0)
    model = digits_resnet()
    finetune(model, digits, Recipe(steps=10, lr=0.1, batch_size=64), seed=0)
    file = tmp_path_factory.mktemp("weights") / "digits.safetensors"
    safetensors.torch.save_file(model.state_dict(), file)
    return file


def autoprune_command(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_commands_search_show_and_export(weights: Path, tmp_path: Path) -> None:
    storage = ("--storage", f"sqlite:///{tmp_path}/study.db")
    searched = autoprune_command(
        *(
            "search",
            "--quiet",
            "--weights",
            weights,
            "--granularity",
            "2:4",
            "--budget",
            "size=70%",
            *storage,
        ),
        *("--budget", "trials=2", "--finetune-steps", 2, "--calibration-batches", 1),
    )
    assert searched.exit_code == 0, searched.output
    assert "masks (2:4): tensors keep their shapes" in searched.stdout
    shown = autoprune_command("front", "--json", *storage)
    rows = json.loads(shown.stdout)
    assert all(row["nonzero"] < row["parameters"] for row in rows)
    done = autoprune_command("export", *storage, "-o", tmp_path / "out", "--format", "state")
    assert done.exit_code == 0, done.output
    state = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    plan = MaskPlan.from_json((tmp_path / "out" / "plan.json").read_text())
    assert plan.layers
    for name in plan.layers:
        assert ((state[f"{name}.weight"].reshape(-1, 4) != 0).sum(1) <= 2).all()


def test_the_apply_command_masks_once_and_again_by_its_plan(weights: Path, tmp_path: Path) -> None:
    options = ("--calibration-batches", 1, "--format", "state", "--weights", weights)
    made = autoprune_command(
        *("apply", "--granularity", "weights", "--sparsity", 0.95, "--scope", "global", "--validate"),
        *(*options, "--finetune-steps", 2, "-o", tmp_path / "a"),
    )
    assert made.exit_code == 0, made.output
    for word in ("non-zero parameters", "size if compressed", "dense FLOPs", "accuracy (validation)"):
        assert word in made.stdout
    assert "latency" not in made.stdout
    state = safetensors.torch.load_file(tmp_path / "a" / "model.safetensors")
    matrices = [tensor for tensor in state.values() if tensor.ndim > 1]
    kept = sum(int(torch.count_nonzero(tensor)) for tensor in matrices)
    assert kept == pytest.approx(0.05 * sum(tensor.numel() for tensor in matrices), rel=0.01)
    plan = tmp_path / "a" / "plan.json"
    again = autoprune_command("apply", "--plan", plan, *options, "--finetune-steps", 2, "-o", tmp_path / "b")
    assert again.exit_code == 0, again.output
    clash = autoprune_command("apply", "--plan", plan, *options, "--granularity", "2:4", "-o", tmp_path / "c")
    assert clash.exit_code == 2
    assert "the plan is for granularity weights" in clash.stderr
    other = safetensors.torch.load_file(tmp_path / "b" / "model.safetensors")
    assert all(torch.equal(tensor, other[name]) for name, tensor in state.items())


def test_without_data_n_of_m_needs_no_number(weights: Path, tmp_path: Path) -> None:
    model = ("--model", "autoprune.tasks.zoo:digits_resnet", "--input", "1x1x8x8", "--weights", weights)
    options = (*model, "--format", "state", "-o", tmp_path)
    twice = autoprune_command("apply", "--granularity", "2:4", "--sparsity", 0.5, *options)
    assert twice.exit_code == 2
    assert "2:4 already sets how much stays" in twice.stderr
    done = autoprune_command("apply", "--granularity", "2:4", *options)
    assert done.exit_code == 0, done.output
    state, base = (
        safetensors.torch.load_file(tmp_path / "model.safetensors"),
        safetensors.torch.load_file(weights),
    )
    head, given = state["head.weight"], base["head.weight"]
    assert ((head.reshape(-1, 4) != 0).sum(1) == 2).all()
    assert torch.equal(head[head != 0], given[head != 0])
