from __future__ import annotations

import warnings
from collections.abc import Mapping

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.trial import TrialState

FLOPS, PARAMETERS = 31_000_000, 270_000
BASELINE = {
    "quality": 0.9700,
    "flops": FLOPS,
    "parameters": PARAMETERS,
    "size": 4 * PARAMETERS,
    "latency_ms": 2.0,
}


def create(storage: BaseStorage, name: str = "digits", *, ours: bool = True) -> optuna.Study:
    study = optuna.create_study(study_name=name, storage=storage, directions=["maximize", "minimize"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(["accuracy", "flops"])
    if ours:
        study.set_user_attr(
            "autoprune",
            {
                "version": "0.1.0",
                "config": {},
                "model": "digits_resnet",
                "weights": "0" * 64,
                "metric": "accuracy",
                "higher_is_better": True,
                "samples": 360,
                "baseline": BASELINE,
                "groups": {"layer1": 16},
                "limits": {"flops": 0.6 * FLOPS, "latency": 0.0015},
                "device": {},
            },
        )
    return study


def tell(
    study: optuna.Study,
    share: float,
    accuracy: float | None = None,
    *,
    origin: str = "sampler",
    plan: str | None = None,
    state: TrialState = TrialState.COMPLETE,
    reason: str | None = None,
    latency: bool = True,
    more: Mapping[str, object] | None = None,
) -> int:
    """One trial whose cost is ``share`` of the original model; more than 60 % is over budget."""
    trial = study.ask()
    trial.suggest_int("layer1", 1, 16)
    attributes: dict[str, object] = {
        "origin": origin,
        "plan": plan or f"plan-{trial.number}",
        "widths": {"layer1": round(16 * share)},
        "flops": round(FLOPS * share),
        "flops_ratio": share,
        "parameters": round(PARAMETERS * share),
        "size": 4 * round(PARAMETERS * share),
        "reason": reason,
    }
    if latency and accuracy is not None:
        attributes |= {
            "latency_ms": 2.0 * share,
            "latency_ratio": share,
            "latency_low": share - 0.02,
            "latency_high": share + 0.02,
        }
    if accuracy is not None:
        attributes |= {"quality": accuracy, "quality_error": 0.0090}
    for key, value in {**attributes, **(more or {})}.items():
        if value is not None:
            trial.set_user_attr(key, value)
    trial.set_constraint("flops", share - 0.6)
    values = [accuracy, FLOPS * share] if accuracy is not None and state is TrialState.COMPLETE else None
    study.tell(trial, values, state=state)
    return trial.number


def fill(study: optuna.Study) -> None:
    """Twelve trials; the front is 1, 5, 6 and 8."""
    tell(study, 1.0, 0.97, origin="original")  # 0: complete, over the limit
    tell(study, 0.50, 0.9400, origin="uniform")  # 1
    tell(study, 0.55, 0.9300)  # 2: dominated by 1
    tell(study, 0.80, state=TrialState.PRUNED, reason="over budget: flops 33.3% over")  # 3
    tell(study, 0.40, state=TrialState.FAIL, reason="the loss is not finite")  # 4
    tell(study, 0.25, 0.9100, plan="quarter")  # 5
    tell(study, 0.58, 0.9600, origin="global l2", latency=False)  # 6: the best
    tell(study, 0.25, 0.9100, plan="quarter")  # 7: duplicate of 5
    tell(study, 0.09, 0.5000)  # 8
    tell(study, 0.59, 0.9600)  # 9: as good as 6, but dearer
    study.set_user_attr("test", {"baseline": 0.9650, "6": 0.9550, "1": 0.9350, "5": 0.9000})
    study.ask()  # 10: running
    study.enqueue_trial({"layer1": 4})  # 11: waiting
