import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner, Result

from autoprune.cli import app
from autoprune.tasks import digits_resnet

QUICK = ("--finetune-steps", "3", "--no-latency", "--calibration-batches", "2")


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "digits.safetensors"
    safetensors.torch.save_file(digits_resnet().state_dict(), file)
    return file


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_search_front_and_export(folder: Path, weights: Path) -> None:
    search = ("search", "--weights", weights, *QUICK, "--budget", "flops=50%", "--budget", "trials=4")
    result = call(*search)
    assert result.exit_code == 0, result.output
    assert "original" in result.stdout
    assert "autoprune dashboard" in result.stdout
    assert "autoprune export --best" in result.stdout
    assert (folder / "autoprune.db").is_file()

    shown = call("front", "--json")
    rows = json.loads(shown.stdout)
    assert rows
    assert all(row["flops_ratio"] <= 0.5 for row in rows)
    assert call("front", "--csv").stdout.startswith(
        "trial,accuracy,accuracy_error,accuracy_low,accuracy_high,test_accuracy,flops,"
    )

    again = call(*search)
    assert "continues study" in again.stderr
    assert json.loads(call("front", "--json").stdout) == rows

    result = call(
        "export", "--trial", rows[0]["trial"], "-o", "exported", "--format", "state", "--format", "pt2"
    )
    assert result.exit_code == 0, result.output
    written = {file.name for file in (folder / "exported").iterdir()}
    cut = {"plan.json", "criterion.json", "model.safetensors", "loader.py", "model.pt2"}
    assert written == cut | {"config.toml", "README.md"}
    assert "largest difference" in result.stdout

    assert call("report").stdout == "wrote report.html\n"
    assert f"autoprune export --trial {rows[0]['trial']} --study" in (folder / "report.html").read_text()

    assert "give one of --best, --trial N" in call("export", "--best", "--picked").stderr
    for wrong, says in ((("--trial", 99), "there is no trial 99"), (("--picked",), "run autoprune pick N")):
        refused = call("export", *wrong)
        assert says in refused.stderr
        assert "baseline" not in refused.stderr
    numbers = sorted({rows[0]["trial"], rows[-1]["trial"]})
    assert call("pick", *numbers).stdout.endswith(f": {', '.join(map(str, numbers))}\n")
    result = call("export", "--picked", "-o", "picked", "--format", "state", "--quantize", "int8")
    assert result.exit_code == 0, result.output
    assert "accuracy " in result.stdout and "calibrated on" in result.stdout
    assert sorted(path.name for path in (folder / "picked").iterdir()) == [f"trial-{n}" for n in numbers]
    assert (folder / "picked" / f"trial-{numbers[0]}" / "model.int8.onnx").is_file()


COMMANDS = ("search", "front", "inspect", "measure", "apply", "dashboard", "report", "pick", "export")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples(command: str) -> None:
    shown = call(command, "--help")
    assert shown.exit_code == 0
    assert f"autoprune {command}" in shown.stdout.partition("Examples")[2]


def test_help_lists_the_commands_and_the_exit_codes() -> None:
    shown = call("--help").stdout
    assert all(command in shown for command in COMMANDS)
    assert "Exit codes: 0 success; 1 failure" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--weights", "missing.safetensors"), "no weights file missing.safetensors"),
        (("--data", "digit"), "did you mean digits"),
        (("--data", "missing.py:data"), "missing.py"),
        (("--model", "torchvision:resnet19", "--data", "digits"), "did you mean"),
        (
            ("--model", "torchvision:resnet18", "--data", "digits"),
            "has no weights: give --weights FILE, or --train-epochs N",
        ),
        (("--sampler", "tpee"), "did you mean tpe"),
        (("--criterion", "l3"), "unknown criterion 'l3'"),
        (("--budget", "flop=50%"), "did you mean flops"),
        (("--budget", "flops=0.1%"), "no plan meets flops"),
        (("--budget", "latency=50%"), "leave out --no-latency"),
        (("--lr", "-1"), "lr = -1"),
        (("missing.toml",), "study file missing.toml does not exist"),
        (("--storage", "sqlite:///missing/study.db"), "make the folder missing first"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_users_mistake_is_one_line_and_exit_code_2(
    folder: Path, weights: Path, arguments: tuple[str, ...], says: str
) -> None:
    given = () if {"--weights", "--model"} & set(arguments) else ("--weights", weights)
    result = call("search", *given, *QUICK, *arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "Traceback" not in result.output


def test_an_unknown_criterion_is_told_before_anything_is_trained(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(folder / "cache"))
    result = call("search", "--criterion", "l3", *QUICK)
    assert "unknown criterion 'l3'" in result.stderr
    assert not list((folder / "cache").rglob("*.safetensors"))


def test_a_search_for_programs_writes_one_object_a_line(folder: Path, weights: Path) -> None:
    result = call("search", "--weights", weights, *QUICK, "--budget", "flops=50%,trials=2", "--json")
    assert result.exit_code == 0, result.output
    events = [json.loads(line) for line in result.stdout.splitlines()]
    phases = [event["phase"] for event in events if event["event"] == "phase"]
    assert phases[:2] == ["baseline", "structure"]
    assert phases.index("sensitivity") < phases.index("search") < phases.index("review")
    trials = [event for event in events if event["event"] == "trial"]
    assert [trial["finished"] for trial in trials if trial["state"] == "COMPLETE"] == [1, 2]
    assert events[-1]["event"] == "finished"
    assert events[-1]["front"] == json.loads(call("front", "--json").stdout)
    assert result.stderr == ""


def test_a_mistake_is_an_object_too(folder: Path, weights: Path) -> None:
    result = call("search", "--weights", weights, "--budget", "flops=0.1%", "--json", *QUICK)
    assert result.exit_code == 2
    last = json.loads(result.stdout.splitlines()[-1])
    assert (last["event"], last["exit_code"]) == ("error", 2)
    assert f"error: {last['message']}" == result.stderr.strip()


def test_a_quiet_search_prints_its_result_alone(folder: Path, weights: Path) -> None:
    result = call("search", "--weights", weights, *QUICK, "--budget", "flops=50%,trials=2", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert "autoprune export --best" in result.stdout
    assert "give one of --quiet" in call("search", "--quiet", "--json").stderr


def test_weights_of_another_model_name_what_differs(folder: Path) -> None:
    file = folder / "other.safetensors"
    safetensors.torch.save_file({"stem.0.weight": torch.zeros(4, 1, 3, 3)}, file)
    result = call("search", "--weights", file)
    assert result.exit_code == 2
    assert "stem.0.weight is [4, 1, 3, 3] instead of [16, 1, 3, 3]" in result.stderr


def test_data_of_another_shape_is_named(folder: Path, weights: Path) -> None:
    (folder / "wide.py").write_text(
        "import torch\n"
        "def data():\n"
        "    split = (torch.randn(64, 3, 8, 8), torch.arange(64) % 10)\n"
        "    return {'train': split, 'validation': split, 'test': split}\n"
    )
    model = "autoprune.tasks.zoo:digits_resnet"
    result = call("search", "--model", model, "--weights", weights, "--data", "wide.py:data")
    assert result.exit_code == 2
    assert "cannot take inputs of shape [1, 3, 8, 8]" in result.stderr


@pytest.mark.parametrize("command", ["front", "export", "dashboard"])
def test_without_a_study_the_next_step_is_named_and_no_file_appears(folder: Path, command: str) -> None:
    result = call(command)
    assert result.exit_code == 2
    assert "run autoprune search first" in result.stderr
    assert list(folder.iterdir()) == []


def test_a_failing_search_says_why(folder: Path, weights: Path) -> None:
    result = call("search", "--weights", weights, *QUICK, "--lr", "1e30", "--budget", "flops=50%,trials=2")
    assert result.exit_code == 1
    assert "lower --lr" in result.stderr.splitlines()[-1]


def test_a_killed_search_loses_no_finished_trial(folder: Path, weights: Path) -> None:
    flags = ["--weights", str(weights), *QUICK, "--budget", "flops=50%", "--budget", "trials=12"]
    command = [sys.executable, "-m", "autoprune", "search", *flags, "--study", "killed"]
    storage = "sqlite:///autoprune.db"

    def finished() -> list[optuna.trial.FrozenTrial]:
        study = optuna.load_study(study_name="killed", storage=storage)
        return [trial for trial in study.trials if trial.state.is_finished()]

    for how in (signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        before = len(finished()) if (folder / "autoprune.db").exists() else 0
        _wait_for(lambda count=before: len(finished()) >= count + 2, process)
        known = {trial.number: trial.values for trial in finished()}
        os.kill(process.pid, how)
        _, errors = process.communicate(timeout=60)
        assert process.returncode != 0
        assert known.items() <= {trial.number: trial.values for trial in finished()}.items()
        if how is signal.SIGINT:
            assert "run the same command to resume" in errors
            assert "Traceback" not in errors
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert "continues study 'killed'" in result.stderr
    study = optuna.load_study(study_name="killed", storage=storage)
    assert known.items() <= {trial.number: trial.values for trial in finished()}.items()
    states = [trial.state.name for trial in study.trials]
    assert "RUNNING" not in states
    assert states.count("COMPLETE") >= 12


def _wait_for(condition, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if condition():
                return
        except (KeyError, optuna.exceptions.StorageInternalError):
            pass
        time.sleep(0.1)
    raise AssertionError(f"the search ended or hung: {process.poll()}")


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "autoprune", "schema"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.stderr == ""
