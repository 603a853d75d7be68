from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from handmade_study import create, fill


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


@pytest.fixture(scope="session")
def studied(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Storage with the filled study ``digits``; tests only read it."""
    url = f"sqlite:///{tmp_path_factory.mktemp('review') / 'study.db'}"
    fill(create(optuna.storages.RDBStorage(url)))
    return url
