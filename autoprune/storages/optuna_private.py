"""All that is used of Optuna and its dashboard beside what they document, in one place.

Another version of them may have it no more: no other module names anything private of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.sampler import _split_trials, default_gamma_multiobjective
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial

if TYPE_CHECKING:
    import grpc


def storage_of(study: optuna.Study) -> BaseStorage:
    """The storage that a study reads and writes."""
    return study._storage


def study_id_of(study: optuna.Study | FrozenStudy) -> int:
    """The number of a study in its storage."""
    return study._study_id


def trial_id_of(trial: optuna.Trial | FrozenTrial) -> int:
    """The number of a trial in its storage, over all studies there."""
    return trial._trial_id


def writable_trial(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """A trial of the study as one that can be written."""
    return optuna.Trial(study, trial._trial_id)


def database_behind(storage: BaseStorage) -> RDBStorage | None:
    """The database whose trials a storage keeps in memory, or which it is; None for other kinds."""
    behind = storage._backend if isinstance(storage, _CachedStorage) else storage
    return behind if isinstance(behind, RDBStorage) else None


def journal_behind(storage: BaseStorage) -> JournalFileBackend | None:
    """The file backend of a journal; None for other kinds."""
    behind = storage._backend if isinstance(storage, JournalStorage) else None
    return behind if isinstance(behind, JournalFileBackend) else None


def bytes_read(journal: JournalFileBackend) -> int:
    """How much of its file a journal has read: the end of the last line."""
    return next(reversed(journal._log_number_offset.values()))


def lead_beside(lock: JournalFileSymlinkLock, file: Path) -> None:
    """Have the link that locks a journal lead to the file beside it, whatever the working folder.

    A dangling one is never released after its process died: Optuna reads the age of its target.
    """
    lock._lock_target_file = file.name


def drawn_by_tpe(
    sampler: TPESampler,
    study: optuna.Study,
    trials: Sequence[FrozenTrial],
    space: Mapping[str, BaseDistribution],
) -> dict[str, Any]:
    """Parameters that TPE draws for a study with several objectives, each from a model of its own.

    Args:
        sampler: it draws as it is set up.
        study: of the trials.
        trials: finished and running ones.
        space: what to draw; every parameter is in some finished trial.

    Returns:
        name -> value, as trials show it.
    """
    space, ended = dict(space), sum(trial.state.is_finished() for trial in trials)
    halves = _split_trials(study, list(trials), default_gamma_multiobjective(ended))
    good, bad = (sampler._get_internal_repr(half, space, study) for half in halves)
    return {name: one.to_external_repr(_drawn(sampler, name, one, good, bad)) for name, one in space.items()}


def _drawn(
    sampler: TPESampler,
    name: str,
    distribution: BaseDistribution,
    good: dict[str, np.ndarray],
    bad: dict[str, np.ndarray],
) -> float:
    """One parameter, from the candidates that good trials suggest the one that bad ones suggest least."""
    space, kernels = {name: distribution}, sampler._parzen_estimator_parameters
    below = sampler._parzen_estimator_cls({name: good[name]}, space, kernels, np.ones(len(good[name])))
    above = sampler._parzen_estimator_cls({name: bad[name]}, space, kernels)
    candidates = below.sample(sampler._rng.rng, sampler._n_ei_candidates)
    gains = sampler._compute_acquisition_func(candidates, below, above)
    return sampler._compare(candidates, gains)[name]


def note_in(attributes: Mapping[str, Any], trial_id: int | None) -> str:
    """The dashboard's note of a trial, or of the study; empty where there is none.

    Args:
        attributes: the study's attributes of the system.
        trial_id: the trial's number in the storage; None for the study.
    """
    # Imported here: it brings scikit-learn, for which few commands should wait.
    from optuna_dashboard._note import get_note_from_system_attrs

    return str(get_note_from_system_attrs(dict(attributes), trial_id)["body"])


def add_storage_service(
    server: grpc.Server, storage: BaseStorage, read: Callable[[int], Sequence[FrozenTrial]]
) -> None:
    """Have a server answer for a storage as Optuna's does, but for how the trials of a study are read.

    Each worker asks for them many times a trial, and is sent all that run: a trial that is the same object as
    before is put into a message once.

    Args:
        server: it is not started yet.
        storage: what answers all other calls.
        read: the trials of a study, by the study's number. KeyError says that there is none.
    """
    import grpc
    from optuna.storages._grpc.auto_generated import api_pb2, api_pb2_grpc
    from optuna.storages._grpc.servicer import OptunaStorageProxyService, _to_proto_trial

    messages: dict[int, tuple[FrozenTrial, api_pb2.Trial]] = {}

    def message(trial: FrozenTrial) -> api_pb2.Trial:
        # The storage keeps finished trials, and makes a new object of any other one that it reads.
        kept = messages.get(trial._trial_id)
        if kept is None or kept[0] is not trial:
            kept = messages[trial._trial_id] = trial, _to_proto_trial(trial)
        return kept[1]

    class Service(OptunaStorageProxyService):
        def GetTrials(  # noqa: N802
            self, request: api_pb2.GetTrialsRequest, context: grpc.ServicerContext
        ) -> api_pb2.GetTrialsReply:
            """Trials newer than a known one, and those that are asked for by number."""
            try:
                trials = read(request.study_id)
            except KeyError as error:
                context.abort(code=grpc.StatusCode.NOT_FOUND, details=str(error))
            asked, known = set(request.included_trial_ids), request.trial_id_greater_than
            wanted = (trial for trial in trials if trial._trial_id > known or trial._trial_id in asked)
            return api_pb2.GetTrialsReply(trials=map(message, wanted))

    api_pb2_grpc.add_StorageServiceServicer_to_server(Service(storage), server)  # type: ignore[no-untyped-call]
