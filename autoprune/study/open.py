"""Studies in a storage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import optuna
from optuna.storages import BaseStorage

from autoprune.errors import StudyError
from autoprune.storages import explained, open_storage, read_address
from autoprune.storages.patience import Note
from autoprune.storages.trouble import no_study
from autoprune.study.attributes import RECORD
from autoprune.utils.suggest import did_you_mean
from autoprune.utils.untrusted import short_line

_SHOWN = 10


def open_study(url: str, name: str | None, note: Note | None = None) -> optuna.Study:
    """The study called ``name``; None means the most recently active study of autoprune.

    ``note`` is called with a message if the storage's server is unreachable for a while.

    Raises:
        StudyError: as :func:`autoprune.storages.open_storage`, or no such study.
    """
    storage = open_storage(url, must_exist=True, note=note)
    address = read_address(url)
    with explained(address):
        names = _names(storage)
        if name is not None and name in names:
            return _read(optuna.load_study(study_name=name, storage=storage))
        ours = studies_in(storage)
        if not ours:
            raise no_study(address)
        if name is not None:
            raise StudyError(_unknown(name, [study.study_name for study in ours], address.shown))
        return _read(ours[0] if len(ours) == 1 else max(map(_read, ours), key=_last_active))


def studies_in(storage: BaseStorage) -> list[optuna.Study]:
    """The studies that autoprune made."""
    studies = [optuna.load_study(study_name=name, storage=storage) for name in _names(storage)]
    return [study for study in studies if RECORD in study.user_attrs]


def _names(storage: BaseStorage) -> list[str]:
    """Names of all studies; with them their attributes are read. Raises StudyError."""
    with _readable("a study of the storage"):
        return optuna.get_all_study_names(storage)


def _read(study: optuna.Study) -> optuna.Study:
    """The study, if all of its trials can be read. Raises StudyError."""
    with _readable(f"study {study.study_name!r}"):
        study.get_trials(deepcopy=False)
    return study


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """Raise StudyError where a part of the study that is read meanwhile is nothing that Optuna writes."""
    try:
        yield
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise StudyError(
            f"{what} cannot be read: {short_line(error)}: it is damaged, or was edited "
            "by hand: restore an earlier copy"
        ) from error


def _last_active(study: optuna.Study) -> datetime:
    trials = study.get_trials(deepcopy=False)
    times = (time for trial in trials for time in (trial.datetime_start, trial.datetime_complete) if time)
    return max(times, default=datetime.min)


def _unknown(name: str, names: list[str], shown: str) -> str:
    hint = did_you_mean(name, names, ":")
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"there is no study {name!r} in {shown}{hint} there are {', '.join(names[:_SHOWN])}{more}"
