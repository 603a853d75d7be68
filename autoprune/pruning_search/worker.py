"""A worker that joins a search: all that it needs is in the study."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import optuna

from autoprune.errors import StudyError
from autoprune.pruning_search.coordination.heartbeat import this_process
from autoprune.pruning_search.loop import work
from autoprune.pruning_search.persistence.compatibility import differences, version_differences
from autoprune.pruning_search.persistence.device_change import device_differences, match_record
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.problem.prepare import prepare
from autoprune.pruning_search.problem.problem import Problem
from autoprune.pruning_search.proposals.samplers import make_sampler
from autoprune.study.attributes import READY
from autoprune.study.listener import Listener
from autoprune.study.open import open_study
from autoprune.study.record import study_record
from autoprune.study.trust import config_of_study

READY_SECONDS, PAUSE = 600.0, 1.0
"""How long a worker waits for a search that is still being prepared, and between two looks at it."""


@dataclass(frozen=True)
class WorkRequest:
    """Which study to work on, and how.

    Attributes:
        storage: an Optuna storage.
        study: its name; None for the one that was active last.
        given: settings that the user names on this machine in place of the study's.
        trust: whether user code that the study names may run though the user does not name it.
        worker: name among the workers, from which the seed is derived; None makes one up.
    """

    storage: str
    study: str | None
    given: Mapping[str, Any] = field(default_factory=dict)
    trust: bool = False
    worker: str | None = None


def work_on(request: WorkRequest, listener: Listener) -> optuna.Study:
    """Evaluate trials of a study until its budget is spent, beside any number of other workers.

    Raises:
        TrustError: when the study names user code that is neither given nor trusted.
        StudyError: when there is no such study, or this machine does not fit it: other versions, weights or
            data would give other results under the same name.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    began = time.monotonic()
    study = open_study(request.storage, request.study, note=listener.note)
    _wait_until_ready(study, listener)
    problem = _problem_of(study, request, listener)
    worker = request.worker or _new_worker_name()
    trials = len(study.get_trials(deepcopy=False))
    seed = derive_seed(problem.config.seed, worker, trials)
    study.sampler = make_sampler(problem.config.sampler, groups=len(problem.structure.groups), seed=seed)
    store = WeightStore.beside(request.storage, study.study_name)
    listener.phase("search", f"{study.study_name}, {problem.budget}")
    work(problem, study, store, listener, seed=seed, worker=worker, began=began)
    return study


def derive_seed(seed: int, worker: str, trials: int) -> int:
    """Another seed for each worker, and each time that it begins: equal ones would draw the same plans."""
    digest = hashlib.sha256(f"{seed} {worker} {trials}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _new_worker_name() -> str:
    process = this_process()
    return f"{process['host']}-{process['pid']}-{process['born']}"


def _wait_until_ready(study: optuna.Study, listener: Listener) -> None:
    """Wait while the search that made the study is still measuring what workers need."""
    study_record(study)
    if study.user_attrs.get(READY):
        return
    listener.phase("waiting", f"for the search of {study.study_name}, which measures what workers need")
    began = time.monotonic()
    while not study.user_attrs.get(READY):
        if time.monotonic() - began > READY_SECONDS:
            raise StudyError(
                f"the search of study {study.study_name!r} did not get ready for workers: "
                "run autoprune search again"
            )
        time.sleep(PAUSE)


def _problem_of(study: optuna.Study, request: WorkRequest, listener: Listener) -> Problem:
    """The study's problem, rebuilt on this machine and checked to be the same."""
    record = study_record(study)
    name = study.study_name
    given = {key: value for key, value in request.given.items() if value is not None}
    _refuse(name, version_differences(record))
    if ":" not in record["model"] and "model" not in given:
        raise StudyError(
            f"study {name!r} was made in Python from a {record['model']}, which a worker cannot build: "
            "name a function that returns one, with --model path/file.py:factory"
        )
    recorded = {**record["config"], **record.get("places", {})}
    # Latencies are those of the study's threads, however many this worker has for training.
    threads = record.get("device", {}).get("threads") or given.get("threads") or recorded.get("threads")
    fixed = {"storage": request.storage, "study": name, "threads": threads}
    config = config_of_study(recorded, given, fixed, trust=request.trust, source=f"study {name!r}")
    problem = prepare(config, listener)
    _refuse(name, differences(record, problem))
    return _match_device(study, problem, listener)


def _match_device(study: optuna.Study, problem: Problem, listener: Listener) -> Problem:
    """The problem as recorded; without latencies where this device is another one than the study's."""
    problem = match_record(problem, study)
    others = device_differences(problem, study)
    if not others:
        return problem
    if "latency" in problem.budget_model.limits:
        _refuse(study.study_name, [f"latency is measured elsewhere ({others})"])
    listener.note(f"latency is not measured by this worker: the study's is of another device ({others})")
    return replace(problem, meter=None)


def _refuse(name: str, reasons: list[str]) -> None:
    if reasons:
        raise StudyError(
            f"this worker does not fit study {name!r}: {'; '.join(reasons[:3])}: "
            "give it the same packages and files"
        )
