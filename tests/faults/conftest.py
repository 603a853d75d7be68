from __future__ import annotations

import subprocess
from pathlib import Path

import optuna
import pytest
import safetensors.torch
import torch
from faulty import PROJECT, Run, environment, search_command

from autoprune.tasks import digits_resnet

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the embedded model, untrained: what counts here is what happens to trials."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "w.safetensors"
    safetensors.torch.save_file(digits_resnet().state_dict(), file)
    return file


@pytest.fixture
def project(tmp_path: Path, trained: Path) -> Path:
    """A folder with ``net.py`` and ``w.safetensors``."""
    (tmp_path / "net.py").write_text(PROJECT)
    (tmp_path / "w.safetensors").write_bytes(trained.read_bytes())
    return tmp_path


@pytest.fixture
def search(project: Path) -> Run:
    """Runs the search in the project, with a fault if one is named."""

    def run(*more: str, trials: int = 5, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            search_command(*more, trials=trials),
            cwd=project,
            env=environment(**variables),
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run
