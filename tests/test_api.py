import subprocess
import sys

import pytest

import autoprune
from autoprune.api import run_search
from autoprune.config.settings import Config
from autoprune.errors import StudyError, UserError
from autoprune.review import Listener


def test_settings_are_checked_before_anything_runs() -> None:
    with pytest.raises(UserError, match="unknown setting 'finetune_step'"):
        autoprune.search(data="digits", finetune_step=3)


def test_a_server_that_does_not_answer_is_told_before_anything_is_trained() -> None:
    pytest.importorskip("psycopg", reason="the extra postgres is not installed")
    begun: list[str] = []

    class Watcher(Listener):
        def phase(self, name: str, detail: str = "") -> None:
            begun.append(name)

    with pytest.raises(StudyError, match=r"^the storage postgresql://me@127\.0\.0\.1:9/one cannot be used"):
        run_search(Config(storage="postgresql://me@127.0.0.1:9/one"), Watcher())
    assert begun == []


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, autoprune.cli; print('torch' in sys.modules, 'optuna' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "False False", result.stderr
