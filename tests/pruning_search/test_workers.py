"""Several worker processes on one study, started as a user starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import optuna
import pytest
import safetensors.torch
import torch
from optuna.trial import TrialState

import autoprune
from autoprune.config.settings import load_config
from autoprune.engines.base import STOP_SECONDS
from autoprune.errors import ConfigError, StudyError, TrustError
from autoprune.pruning_search import Problem, create_study, prepare, run
from autoprune.pruning_search.coordination import heartbeat
from autoprune.pruning_search.coordination.budget_usage import counts
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.worker import WorkRequest, derive_seed, work_on
from autoprune.review import Listener, open_study
from autoprune.study.front import front_trials
from autoprune.tasks import Data, digits_resnet

PROJECT = Path(autoprune.__file__).parents[1]
NET = """
import torch
from autoprune.tasks import load_data

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.one = torch.nn.Conv2d(1, 12, 3, stride=2)
        self.two = torch.nn.Conv2d(12, 16, 3)
        self.head = torch.nn.Linear(16, 10)

    def forward(self, x):
        return self.head(torch.relu(self.two(torch.relu(self.one(x)))).mean((2, 3)))

def net():
    torch.manual_seed(0)
    return Net()
"""
QUICK = ("--finetune-steps", "0", "--no-latency", "--calibration-batches", "2", "--sampler", "random")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model in a file of the user's own, and its weights."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    space: dict[str, object] = {}
    exec(compile(NET, "net.py", "exec"), space)
    safetensors.torch.save_file(space["net"]().state_dict(), tmp_path / "net.safetensors")  # type: ignore[operator]
    return tmp_path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "autoprune", *arguments]


def search(*arguments: str) -> list[str]:
    model = ("--model", "net.py:net", "--weights", "net.safetensors", "--data", "digits")
    return command("search", *model, *QUICK, "--study", "one", *arguments)


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", **more}


def plans(study: optuna.Study) -> list[str]:
    """Plans of the trials that were evaluated."""
    return [t.user_attrs["plan"] for t in study.trials if t.values and "duplicate_of" not in t.user_attrs]


def check_sound(study: optuna.Study, total: int) -> None:
    """Nothing is lost, nothing is there twice, and the budget is honoured to the trial."""
    states = Counter(trial.state for trial in study.trials)
    assert states[TrialState.RUNNING] == 0
    assert sum(map(counts, study.trials)) == total
    assert len(set(plans(study))) == len(plans(study))
    assert [trial.number for trial in study.trials] == list(range(len(study.trials)))


def test_four_workers_find_what_one_process_finds_with_the_same_plans(folder: Path, database: str) -> None:
    budget = ("--budget", "flops=60%", "--budget", "trials=40")
    done = subprocess.run(
        search("--workers", "4", *budget, "--storage", database),
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "4 workers of" in done.stderr
    assert "40/40" in done.stderr
    study = open_study(database, "one")
    check_sound(study, 40)
    assert len({trial.user_attrs["process"]["pid"] for trial in study.trials if trial.values}) > 1
    everything = done.stdout + done.stderr + json.dumps(study.user_attrs)
    everything += "".join(log.read_text() for log in folder.glob("autoprune_artifacts/one/*.log"))
    assert "Secret1" not in everything
    record = study.user_attrs["autoprune"]
    settings = {**record["config"], **record["places"], "storage": str(folder / "alone.db"), "workers": 1}
    problem = prepare(load_config(None, settings), Listener())
    alone = create_study(problem)
    for trial in study.trials:
        if trial.values and "duplicate_of" not in trial.user_attrs:
            kept = {key: trial.user_attrs[key] for key in ("origin", "widths")}
            alone.enqueue_trial(trial.params, user_attrs=kept)
    run(problem, alone, WeightStore(folder / "alone"), Listener())
    assert found(alone) == found(study)
    assert {t.user_attrs["plan"] for t in front_trials(alone)} == {
        t.user_attrs["plan"] for t in front_trials(study)
    }


def found(study: optuna.Study) -> dict[str, list[float]]:
    """Plan -> objective values."""
    return {trial.user_attrs["plan"]: trial.values for trial in study.trials if trial.values}


def started(storage: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with Path("said.log").open("w") as said:
        process = subprocess.Popen(
            search("--storage", storage, *arguments), env=environment(), stderr=said, text=True
        )
    yield process
    process.kill()
    process.wait()


def wait_for(condition: Callable[[], bool], seconds: float = 240.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.5)


def ended(storage: str) -> int:
    try:
        return sum(bool(trial.values) for trial in open_study(storage, "one").trials)
    except StudyError:
        return 0


def at_least(storage: str, trials: int) -> bool:
    return ended(storage) >= trials


def worker_pids(storage: str) -> set[int]:
    return {t.user_attrs["process"]["pid"] for t in open_study(storage, "one").trials if t.values}


def processor_seconds(pid: int) -> float:
    """What a process has used itself, also when it has ended and was not waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_killed_worker_is_reported_and_a_stopped_search_leaves_nobody_behind(folder: Path) -> None:
    storage, said = str(folder / "studies.db"), folder / "said.log"
    budget = ("--workers", "2", "--budget", "flops=60%", "--budget", "trials=100000")
    for process in started(storage, *budget):
        wait_for(lambda: ended(storage) >= 4 and len(worker_pids(storage)) == 2)
        first, second = sorted(worker_pids(storage))
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: "ended early (killed by SIGKILL): 1 left" in said.read_text())
        wait_for(partial(at_least, storage, ended(storage) + 3))

        used = processor_seconds(process.pid)
        process.send_signal(signal.SIGTERM)
        wait_for(lambda pid=process.pid: not _lives(pid))  # type: ignore[misc]
        # Five seconds, of which the workers have theirs. On a busy machine only the processor's time says so.
        assert processor_seconds(process.pid) - used < 5 - STOP_SECONDS
        assert process.wait() == 128 + signal.SIGTERM
        assert "run the same command to resume" in said.read_text()
        assert not _lives(second)
    study = open_study(storage, "one")
    assert not [trial for trial in study.trials if trial.state is TrialState.RUNNING]
    assert len(set(plans(study))) == len(plans(study))


def test_workers_do_not_outlive_a_killed_parent(folder: Path) -> None:
    storage = str(folder / "studies.db")
    for process in started(storage, "--workers", "1", "--budget", "flops=60%", "--budget", "trials=100000"):
        wait_for(lambda: ended(storage) >= 1)
        process.kill()
        wait_for(lambda: not _lives(*worker_pids(storage)), seconds=15)


def _lives(*pids: int) -> bool:
    return any(heartbeat._born(pid) is not None for pid in pids)


def test_when_all_workers_die_the_reason_is_told(folder: Path) -> None:
    only_here = "import os\nassert 'AUTOPRUNE_PARENT' not in os.environ, 'no licence'\n"
    (folder / "net.py").write_text(only_here + NET)
    done = subprocess.run(
        search("--workers", "2", "--budget", "flops=60%", "--storage", "studies.db"),
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: all 2 workers ended early, the last one by exit code 2: model ")
    assert "no licence" in last


# What joins a study, in this process.


@pytest.fixture
def made(folder: Path) -> str:
    """A storage with a study of 3 trials."""
    storage = str(folder / "studies.db")
    settings = {
        "model": "net.py:net",
        "weights": "net.safetensors",
        "data": "digits",
        "budget": ("flops=60%", "trials=3"),
        "storage": storage,
        "study": "one",
        "finetune_steps": 0,
        "latency": False,
        "calibration_batches": 2,
        "sampler": "random",
    }
    problem = prepare(load_config(None, settings), Listener())
    study = create_study(problem)
    run(problem, study, WeightStore.beside(storage, "one"), Listener())
    return storage


def more_trials(storage: str, total: int) -> None:
    study = open_study(storage, "one")
    record = study.user_attrs["autoprune"]
    record["config"]["budget"] = ["flops=60%", f"trials={total}"]
    study.set_user_attr("autoprune", record)


def test_a_worker_finds_all_in_the_study_from_any_folder(
    made: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    more_trials(made, 6)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    study = work_on(WorkRequest(made, "one", trust=True), Listener())
    check_sound(study, 6)


def test_user_code_runs_only_when_it_is_named_or_trusted(made: str) -> None:
    with pytest.raises(TrustError, match=r"names user code .* which runs only if you allow it"):
        work_on(WorkRequest(made, "one"), Listener())
    work_on(WorkRequest(made, "one", given={"model": "net.py:net"}), Listener())


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("weights", "0" * 64, "the weights differ"),
        ("data", "0" * 64, "the data differ"),
        ("base", "0" * 64, "the weights after sparse training differ"),
        ("structure", "0" * 24, "the groups of the model differ"),
        ("ranking", "0" * 24, "l2 ranks the units otherwise here"),
    ],
)
def test_a_worker_that_does_not_fit_says_why(made: str, key: str, value: str, says: str) -> None:
    study = open_study(made, "one")
    study.set_user_attr("autoprune", study.user_attrs["autoprune"] | {key: value})
    with pytest.raises(StudyError, match=f"this worker does not fit study 'one': {says}"):
        work_on(WorkRequest(made, "one", trust=True), Listener())


def test_other_weights_are_told_once_without_sparse_training(made: str) -> None:
    study = open_study(made, "one")
    other = dict.fromkeys(("weights", "base"), "0" * 64)
    study.set_user_attr("autoprune", study.user_attrs["autoprune"] | other)
    with pytest.raises(StudyError, match="does not fit study 'one': the weights differ: give it"):
        work_on(WorkRequest(made, "one", trust=True), Listener())


def test_a_worker_with_another_package_refuses_before_it_does_anything(made: str) -> None:
    study = open_study(made, "one")
    record = study.user_attrs["autoprune"]
    record["versions"]["torch"] = "1.0.0"
    study.set_user_attr("autoprune", record)
    with pytest.raises(StudyError, match=rf"torch is {torch.__version__.partition('+')[0]} and was 1\.0\.0"):
        work_on(WorkRequest(made, "one", trust=True), Listener())


def test_without_weights_in_the_settings_the_original_model_is_handed_over(
    folder: Path, digits: Data
) -> None:
    storage = str(folder / "studies.db")
    torch.manual_seed(1)
    study = autoprune.search(
        digits_resnet(), digits, budget="flops=60%", trials=1, storage=storage, name="one",
        finetune_steps=0, latency=False, calibration_batches=2,
    )  # fmt: skip
    more_trials(storage, 2)
    with pytest.raises(StudyError, match=r"was made in Python from a .*, which a worker cannot build"):
        work_on(WorkRequest(storage, "one"), Listener())
    given = {"model": "autoprune.tasks.zoo:digits_resnet", "data": "digits"}
    work_on(WorkRequest(storage, "one", given=given), Listener())
    assert sum(map(counts, study.optuna.trials)) == 2


def test_python_objects_and_memory_cannot_be_shared(tiny: torch.nn.Module, digits: Data) -> None:
    with pytest.raises(ConfigError, match=r"cannot get a Python object: give model as a string"):
        autoprune.search(tiny, workers=2)
    with pytest.raises(ConfigError, match=r"cannot share a storage in memory"):
        autoprune.search("autoprune.tasks.zoo:digits_resnet", storage="sqlite://", workers=2)


def test_every_worker_draws_from_a_seed_of_its_own() -> None:
    seeds = {derive_seed(0, name, trials) for name in ("1", "2") for trials in (0, 5)}
    assert len(seeds) == 4
    assert derive_seed(0, "1", 5) == derive_seed(0, "1", 5)


def test_no_password_is_kept(make_problem: Callable[..., Problem], database: str) -> None:
    study = create_study(make_problem(storage=database))
    assert "Secret1" not in json.dumps(study.user_attrs)
    assert "Secret1" not in make_problem(storage=database).config.to_toml()
