"""Noticing that a storage is gone: its file, or a study in it, was deleted while the study was written."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

from optuna.exceptions import OptunaError, StorageInternalError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from typing_extensions import override

from autoprune.errors import AutopruneError, LostStorageError, StudyError
from autoprune.storages.address import Address
from autoprune.storages.contents import FEWER, Counted
from autoprune.storages.held import HeldFile
from autoprune.storages.memory import KnownStudy
from autoprune.storages.optuna_private import study_id_of, trial_id_of
from autoprune.storages.rescued import save
from autoprune.storages.through import Result, ThroughStorage
from autoprune.storages.trouble import broken, is_outage, unusable


class GuardedStorage(ThroughStorage):
    """A storage whose file is looked at before each call, and which remembers what it has read.

    When the file or the study is taken away or damaged, the studies that were written through this storage
    are saved to a new one, and this call and all later ones raise LostStorageError, which names it. A process
    that only reads saves nothing.

    Args:
        storage: the storage behind.
        address: what it is.
        file: its file; None for servers.
    """

    def __init__(self, storage: BaseStorage, address: Address, file: HeldFile | None) -> None:
        super().__init__(storage)
        self._address, self._file = address, file
        self._known: dict[int, KnownStudy] = {}
        self._study_of: dict[int, int] = {}
        self._written: set[int] = set()
        self._losing = threading.RLock()
        self._lost: tuple[str, str] | None = None

    def __getattr__(self, name: str) -> Any:
        """What only this kind of storage has."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._storage, name)

    @override
    def _call(self, call: Callable[[], Result]) -> Result:
        """The result of a call.

        Raises:
            LostStorageError: when what was written through this storage is gone.
            StudyError: when the storage cannot be read, or what is read is gone.
            DiskError: when the disk is full.
        """
        if self._lost is None:
            trouble = self._file_trouble()
            if not trouble:
                try:
                    return call()
                except AutopruneError:
                    raise
                except Exception as error:
                    if self._address.is_remote and is_outage(error):
                        raise
                    trouble = self._why(error)
                    if not trouble and isinstance(error, StorageInternalError | SQLAlchemyError):
                        raise unusable(self._address, error) from None
                    if not trouble:
                        raise
            self._lose(trouble)
        raise self._loss() from None

    def _loss(self) -> LostStorageError:
        assert self._lost is not None
        return LostStorageError(*self._lost)

    def _why(self, error: Exception) -> str:
        """What an error says of the storage, as the end of a sentence; empty where it is still of use."""
        if trouble := self._file_trouble():
            return trouble
        if not isinstance(error, OptunaError) or isinstance(error, StorageInternalError):
            try:
                there = {study_id_of(study) for study in self._storage.get_all_studies()}
            except Exception:  # whatever is wrong with it: the first error says it
                there = set(self._known)
            deleted = [known.name for number, known in self._in_use().items() if number not in there]
            if deleted:
                return f"does not hold study {deleted[0]!r} any more, which was deleted"
        return broken(error)

    def _file_trouble(self) -> str:
        """What happened to the file, as the end of a sentence; readers need no writable file."""
        if self._file is None:
            return ""
        return self._file.trouble(self._counted) or (self._file.refusal() if self._written else "")

    def _counted(self) -> dict[int, Counted]:
        return {number: known.counted() for number, known in list(self._known.items())}

    def _in_use(self) -> dict[int, KnownStudy]:
        """The studies that are written, or all that were read where none is."""
        return {
            number: known for number, known in self._known.items() if number in self._written
        } or self._known

    def _lose(self, trouble: str) -> None:
        """Save what was written here, once. Raises StudyError where that is nothing."""
        with self._losing:
            if self._lost is not None:
                return
            written = [known for number, known in self._known.items() if number in self._written]
            if not written:
                raise StudyError(
                    f"the storage {self._address.shown} {trouble}: name another storage, or try again"
                )
            self._lost = save(self._address, trouble, written, self._file)

    def _wrote(self, study_id: int | None) -> KnownStudy | None:
        """Remember that a study is written; returns what is known of it."""
        if study_id is None:
            return None
        self._written.add(study_id)
        return self._study(study_id)

    def _study(self, study_id: int) -> KnownStudy:
        known = self._known.get(study_id)
        if known is None:
            known = self._known[study_id] = self._call(lambda: KnownStudy.of(self._storage, study_id))
        return known

    def _learn(self, study_id: int, trials: Iterable[FrozenTrial]) -> None:
        trials = list(trials)
        self._study(study_id).learn(trials)
        self._study_of |= {trial_id_of(trial): study_id for trial in trials}

    @override
    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        study_id = super().create_new_study(directions, study_name)
        self._wrote(study_id)
        return study_id

    @override
    def delete_study(self, study_id: int) -> None:
        super().delete_study(study_id)
        self._known.pop(study_id, None)
        self._written.discard(study_id)

    @override
    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        super().set_study_user_attr(study_id, key, value)
        known = self._wrote(study_id)
        if known is not None:
            known.user_attrs = {**known.user_attrs, key: value}

    @override
    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        super().set_study_system_attr(study_id, key, value)
        known = self._wrote(study_id)
        if known is not None:
            known.system_attrs = {**known.system_attrs, key: value}

    @override
    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        found = super().get_study_user_attrs(study_id)
        if study_id in self._known:
            self._known[study_id].user_attrs = found
        return found

    @override
    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        found = super().get_study_system_attrs(study_id)
        if study_id in self._known:
            self._known[study_id].system_attrs = found
        return found

    @override
    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial_id = super().create_new_trial(study_id, template_trial)
        self._wrote(study_id)
        self._study_of[trial_id] = study_id
        return trial_id

    @override
    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        done = super().set_trial_state_values(trial_id, state, values)
        if self._wrote(self._study_of.get(trial_id)) is not None and state.is_finished():
            self.get_trial(trial_id)
        return done

    @override
    def get_trial(self, trial_id: int) -> FrozenTrial:
        trial = super().get_trial(trial_id)
        if trial_id in self._study_of:
            self._learn(self._study_of[trial_id], [trial])
        return trial

    @override
    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        found = self._call(lambda: self._storage.get_all_trials(study_id, deepcopy=False, states=states))
        if states is None and len(found) < len(self._study(study_id).trials):
            self._lose(FEWER)
            raise self._loss()
        self._learn(study_id, found)
        return copy.deepcopy(found) if deepcopy else found
