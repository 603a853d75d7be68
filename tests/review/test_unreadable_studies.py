"""A study that holds what Optuna cannot read is one line, whichever part it is in."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from autoprune.errors import StudyError
from autoprune.study.open import open_study

DEEP = "[" * 100_000


@pytest.mark.parametrize("value", [DEEP + "]" * 100_000, DEEP, "9" * 6000, "{", "\0"])
@pytest.mark.parametrize("table", ["study_user_attributes", "trial_user_attributes"])
def test_values_that_cannot_be_read(tmp_path: Path, value: str, table: str) -> None:
    file = tmp_path / "a.db"
    study = optuna.create_study(study_name="mine", storage=f"sqlite:///{file}")
    study.set_user_attr("autoprune", {})
    study.add_trial(optuna.trial.create_trial(value=1.0, user_attrs={"widths": 1}))
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"UPDATE {table} SET value_json = ?", (value,))
        connection.commit()
    with pytest.raises(
        StudyError,
        match=r"((study 'mine'|a study of the storage) cannot be read: .*: it|the storage .*) is damaged",
    ) as caught:
        open_study(str(file), None)
    assert len(str(caught.value)) < 400
