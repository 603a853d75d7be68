"""How far one storage carries: workers whose evaluations are a sleep, on PostgreSQL behind gRPC.

Everything but the evaluation is the real search: sampling, claims, records, the front. The workers are
forked from one process that has the problem ready, for 128 processes with PyTorch of their own do not fit
into a small machine. They share its cores, which in truth each would have for itself: look at the seconds
of CPU a trial beside the rate.

    python studies/scale/simulate.py --workers 2 8 32 128 --known 1000 10000
    python studies/scale/simulate.py --workers 2 4 --known 50 --seconds 1 --rounds 2     # a minute
"""

from __future__ import annotations

import argparse
import csv
import gc
import hashlib
import os
import queue
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import optuna
import torch
from filling import add_finished
from optuna.trial import FrozenTrial, TrialState, create_trial
from server import Server, postgresql, processor_seconds, served

from autoprune.config.settings import load_config
from autoprune.pruning_search import Problem, create_study, loop, prepare
from autoprune.pruning_search.evaluation.evaluate import EvaluatedCandidate, Stopwatch
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.proposals.samplers import make_sampler
from autoprune.pruning_search.run import begin
from autoprune.pruning_search.worker import derive_seed
from autoprune.review import Listener
from autoprune.storages import open_storage
from autoprune.storages.patience import PatientStorage
from autoprune.tasks import Score

HERE = Path(__file__).parent
WEIGHTS = Path(tempfile.mkdtemp(prefix="autoprune-scale-"))
COLUMNS = (
    *("workers", "known", "seconds", "sampler", "trials", "wall", "trials_a_second", "efficiency"),
    *(
        "ask_wall",
        "storage_wall",
        "storage_calls",
        "cpu",
        "server_cpu",
        "database_cpu",
        "join_cpu",
        "private_mib",
        "cores",
        "load",
    ),
)


@dataclass(frozen=True)
class Measured:
    """What one worker did: trials, seconds, memory, when it began, and when its last evaluation ended."""

    trials: int
    evaluating: float
    ask: float
    storage: float
    calls: int
    cpu: float
    joined: float
    memory: float
    start: float
    end: float


class TimedStorage(PatientStorage):
    """Counts the calls of one worker and the seconds that it waits for them."""

    seconds, calls = 0.0, 0

    def _patiently(self, call: Any) -> Any:
        began = time.perf_counter()
        try:
            return super()._patiently(call)
        finally:
            self.seconds += time.perf_counter() - began
            self.calls += 1


def quality(widths: Mapping[str, int], full: Mapping[str, int]) -> float:
    """A smooth made-up quality: groups matter differently, and less the more units they have left."""
    lost = 0.0
    for name, width in widths.items():
        weight = int(hashlib.sha256(name.encode()).hexdigest()[:4], 16) / 0xFFFF
        lost += weight * (1 - width / full[name]) ** 2
    return max(0.0, 0.95 - 0.5 * lost / len(widths))


def simulated(seconds: float, slept: list[tuple[float, float]]) -> Any:
    """What takes the place of an evaluation; keeps the seconds of each, and the time at which it ended.

    The first one is cut short at random, so that workers do not go on in step after their common start.
    """

    def evaluate(
        problem: Problem, widths: dict[str, int], *_: Any, watch: Stopwatch, **__: Any
    ) -> EvaluatedCandidate:
        plan = problem.pruning.plan(widths)
        with watch.stage("evaluate"):
            own = seconds * random.uniform(0.8, 1.2) * (1.0 if slept else random.random())
            time.sleep(own)
        slept.append((own, time.time()))
        full = problem.structure.widths
        score = Score(quality(widths, full), 0.5, len(problem.splits.selection))
        costs = problem.pruning.costs.costs(widths)
        return EvaluatedCandidate(widths, plan, problem.model, score, costs, None, {}, watch.seconds)

    return evaluate


def problem_of(sampler: str, storage: str) -> Problem:
    """The chain of 60 groups."""
    settings = {
        "model": f"{HERE / 'chain.py'}:chain",
        "train_epochs": 1,
        "budget": ("flops=70%", "trials=1"),
        "finetune_steps": 0,
        "latency": False,
        "calibration_batches": 2,
        "holdout_share": 0.0,
        "sampler": sampler,
        "space": "sparsity",
        "storage": storage,
        "study": "scale",
    }
    return prepare(load_config(None, settings), Listener())


def finished(problem: Problem, study: optuna.Study, trials: int) -> list[FrozenTrial]:
    """Finished trials as a search would have left them, of random widths."""
    space = loop.make_space(problem, loop.known_curves(problem.budget_model, study))
    draw = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1), directions=study.directions)
    full, made = problem.structure.widths, []
    for number in range(trials):
        trial = draw.ask()
        widths = space.suggest(trial)
        costs = problem.pruning.costs.costs(widths)
        value = quality(widths, full)
        known = {
            "origin": "sampler",
            "widths": widths,
            "plan": f"filled {number}",
            "quality": value,
            "flops": costs.flops,
            "seconds": {"evaluate": 1.0},
            **{f"quality_{name}": value for name in ("error", "low", "high")},
        }
        made.append(
            create_trial(
                state=TrialState.COMPLETE,
                params=trial.params,
                distributions=trial.distributions,
                values=[value, float(costs.flops)],
                user_attrs=known,
            )
        )
        draw.tell(trial, state=TrialState.FAIL)
    return made


def filled(server: Server, name: str, sampler: str, known: int) -> tuple[Problem, int]:
    """A database with a study of this many trials; returns its problem, and how many trials count."""
    url = server.database(name)
    problem = problem_of(sampler, url)
    study = create_study(problem)
    begin(problem, study, WeightStore(WEIGHTS), Listener())
    for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    count = len(study.get_trials(deepcopy=False)) + known
    assert isinstance(study._storage, PatientStorage)
    backend = study._storage._storage._backend  # type: ignore[attr-defined]
    add_finished(backend.engine, study, finished(problem, study, known))
    # A database that somebody is connected to is not copied.
    backend.engine.dispose()
    return problem, count


def work(
    problem: Problem, place: str, name: str, seconds: float, together: Barrier, results: Queue[Any]
) -> None:
    """One worker, in a separate process."""
    try:
        torch.set_num_threads(1)
        slept: list[tuple[float, float]] = []
        loop.evaluate_candidate = simulated(seconds, slept)
        began = time.process_time()
        proxy = open_storage(place, must_exist=True)
        assert isinstance(proxy, PatientStorage)
        storage = TimedStorage(proxy._storage, proxy._shown, print)
        study = optuna.load_study(study_name="scale", storage=storage)
        seed = derive_seed(0, name, len(study.get_trials(deepcopy=False)))
        random.seed(seed)
        study.sampler = make_sampler(problem.config.sampler, groups=60, seed=seed)
        joined = time.process_time() - began
        together.wait()
        storage.seconds, storage.calls, began, start = 0.0, 0, time.process_time(), time.time()
        loop.work(problem, study, WeightStore(WEIGHTS), Listener(), seed=seed, worker=name)
        cpu, waited, calls = time.process_time() - began, storage.seconds, storage.calls
        evaluating = sum(own for own, _ in slept)
        own = [t for t in study.get_trials(deepcopy=False) if _is_own(t)]
        asked = sum(trial.user_attrs.get("seconds", {}).get("sampler", 0.0) for trial in own)
        used, end = private_mebibytes(), slept[-1][1]
        results.put(Measured(len(slept), evaluating, asked, waited, calls, cpu, joined, used, start, end))
    except BaseException:
        traceback.print_exc()
        together.abort()
        results.put(None)
        sys.stdout.flush()


def private_mebibytes() -> float:
    """Memory of this process that it shares with no other one."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def _is_own(trial: FrozenTrial) -> bool:
    return bool(trial.user_attrs.get("process", {}).get("pid") == os.getpid())


def check_alive(crew: Sequence[BaseProcess]) -> None:
    """End the study if one of the workers was killed, for example when memory runs out."""
    dead = [process for process in crew if process.exitcode not in (None, 0)]
    if dead:
        for process in crew:
            process.kill()
        sys.exit(f"{len(dead)} of {len(crew)} workers were killed: there is memory for fewer --workers")


def collected(crew: Sequence[BaseProcess], results: Queue[Any]) -> Iterator[Any]:
    """What each worker did, as they end."""
    for _ in crew:
        while True:
            try:
                yield results.get(timeout=1.0)
                break
            except queue.Empty:
                check_alive(crew)


def measure(
    problem: Problem, server: Server, url: str, workers: int, seconds: float, total: int
) -> dict[str, float | str]:
    """Let a number of workers fill a study up to a number of trials."""
    budget_model = replace(problem.budget_model, budget=replace(problem.budget, trials=total))
    problem = replace(problem, budget_model=budget_model)
    context = get_context("fork")
    with served(url) as (place, serving):
        results: Queue[Any] = context.Queue()
        together = context.Barrier(workers + 1)
        # A collection in a worker would write to every page that it shares with this process.
        gc.collect()
        gc.freeze()
        crew = [
            context.Process(target=work, args=(problem, place, str(number), seconds, together, results))
            for number in range(workers)
        ]
        for process in crew:
            process.start()
        while together.n_waiting < workers:
            check_alive(crew)
            time.sleep(0.1)
        together.wait()
        before = [processor_seconds(pid) for pid in (serving, server.pid)]
        measured = list(collected(crew, results))
        shared = [processor_seconds(pid) for pid in (serving, server.pid)]
        for process in crew:
            process.join()
    done = [item for item in measured if item is not None]
    trials = sum(item.trials for item in done)
    wall = max(item.end for item in done) - min(item.start for item in done)
    # A worker without remaining trials only waits for the rest, which costs nothing on a cluster.
    present = sum(item.end - item.start for item in done)
    mean = {
        key: sum(asdict(item)[key] for item in done) / trials for key in ("ask", "storage", "calls", "cpu")
    }
    return {
        "workers": workers,
        "trials": trials,
        "wall": round(wall, 1),
        "trials_a_second": round(trials / wall, 3),
        "efficiency": round(sum(item.evaluating for item in done) / present, 3),
        "ask_wall": round(mean["ask"], 3),
        "storage_wall": round(mean["storage"], 3),
        "storage_calls": round(mean["calls"], 1),
        "cpu": round(mean["cpu"], 3),
        "server_cpu": round((shared[0] - before[0]) / trials, 3),
        "database_cpu": round((shared[1] - before[1]) / trials, 3),
        "join_cpu": round(sum(item.joined for item in done) / len(done), 2),
        "private_mib": round(sum(item.memory for item in done) / len(done)),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    """Measure every combination, and write each result immediately."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 8, 32, 128])
    parser.add_argument("--known", type=int, nargs="+", default=[1000, 10000], help="trials there already")
    parser.add_argument("--seconds", type=float, default=30.0, help="of one evaluation")
    parser.add_argument("--rounds", type=int, default=4, help="trials of each worker")
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--output", type=Path, default=HERE / "results.csv")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    new = not args.output.exists()
    with args.output.open("a", newline="") as file, postgresql() as server:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        for known in args.known:
            problem, count = filled(server, f"known_{known}", args.sampler, known)
            for workers in args.workers:
                url = server.database(f"known_{known}_workers_{workers}", template=f"known_{known}")
                row = {"known": known, "seconds": args.seconds, "sampler": args.sampler}
                row |= measure(problem, server, url, workers, args.seconds, count + workers * args.rounds)
                writer.writerow(row)
                file.flush()
                print(row, flush=True)


if __name__ == "__main__":
    main()
