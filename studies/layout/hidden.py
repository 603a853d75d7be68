"""Search random networks with the internal layout of convolutions and without it, and compare the results."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import optuna
import torch
from networks import data, internal_layout, network

from autoprune.config.settings import load_config
from autoprune.pruning_search import create_study, prepare, run, trial_model
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.review import Listener, best

SETTINGS = {
    "budget": ("flops=60%", "trials=2"),
    "finetune_steps": 4,
    "latency": False,
    "calibration_batches": 1,
}


def searched(seed: int, folder: Path, name: str) -> tuple[list[dict[str, object]], dict[str, torch.Tensor]]:
    """What every trial of a search records of its plan and quality, and the weights of the best."""
    config = load_config(None, {**SETTINGS, "storage": f"sqlite:///{folder}/{seed}.db"})
    problem = prepare(config, Listener(), model=network(seed), data=data(seed))
    study, store = (
        create_study(problem, optuna.storages.InMemoryStorage()),
        WeightStore(folder / f"{seed}-{name}"),
    )
    run(problem, study, store, Listener())
    recorded = ("plan", "widths", "quality", "reason")
    trials = [
        {"state": trial.state.name, **{key: trial.user_attrs.get(key) for key in recorded}}
        for trial in study.trials
        if trial.state.is_finished()
    ]
    return trials, trial_model(problem, best(study), store)[0].state_dict()


def compared(seed: int, folder: Path) -> dict[str, object]:
    """One network: whether the layout was used, and how the two results differ."""
    with internal_layout(used=True) as used:
        with_layout, weights = searched(seed, folder, "with")
    with internal_layout(used=False):
        without, plain = searched(seed, folder, "without")
    pairs = list(zip(with_layout, without, strict=False))
    distance = (
        max(
            (
                float((weights[name] - plain[name]).abs().max())
                for name in plain
                if plain[name].is_floating_point()
            ),
            default=0.0,
        )
        if {n: t.shape for n, t in weights.items()} == {n: t.shape for n, t in plain.items()}
        else None
    )
    return {
        "seed": seed,
        "head": network(seed).head,
        "models_with_layout": sum(used),
        "models_without": len(used) - sum(used),
        "trials": len(with_layout),
        "same_plans": len(with_layout) == len(without) and all(a["plan"] == b["plan"] for a, b in pairs),
        "same_qualities": with_layout == without,
        "largest_difference_of_weights": distance,
    }


def main() -> None:
    """Search them all and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(given.networks):
            rows.append(compared(seed, Path(folder)))
            print(json.dumps(rows[-1]), flush=True)
            given.output.write_text(
                json.dumps({"summary": summarised(rows), "networks": rows}, indent=1) + "\n"
            )
    print(json.dumps(summarised(rows), indent=1))


def summarised(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Counts of those networks that look at strides, and of those that do not."""
    groups = {
        "looks at strides": [row for row in rows if row["seed"] % 2],
        "does not": [row for row in rows if not row["seed"] % 2],
    }
    return {
        name: {
            "networks": len(some),
            "layout_used": sum(row["models_with_layout"] > 0 for row in some),
            "same_plans": sum(row["same_plans"] for row in some),
            "same_plans_and_qualities": sum(row["same_qualities"] for row in some),
            "largest_difference_of_weights": max(
                (row["largest_difference_of_weights"] or 0.0 for row in some), default=0.0
            ),
        }
        for name, some in groups.items()
    }


if __name__ == "__main__":
    main()
