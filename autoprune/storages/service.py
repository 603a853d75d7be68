"""What ``autoprune serve`` answers: Optuna's service, for many workers and many parameters."""

from __future__ import annotations

from functools import cache, partial

import grpc
from optuna.storages import BaseStorage
from optuna.storages._grpc.auto_generated import api_pb2
from optuna.storages._grpc.servicer import OptunaStorageProxyService, _to_proto_trial
from optuna.trial import FrozenTrial
from typing_extensions import override

from autoprune.storages.shared_reads import SharedReads


class StorageService(OptunaStorageProxyService):
    """Optuna's service, but for how trials are read.

    Each worker asks for the trials of its study many times a trial, and is sent all that run. Optuna's
    service reads them from the database for every call, and answers no other one meanwhile: with a hundred
    workers it does nothing else. Here calls that come together share a reading, and a trial that is the
    same as before is put into a message once.
    """

    def __init__(self, storage: BaseStorage) -> None:
        super().__init__(storage)
        self._messages: dict[int, tuple[FrozenTrial, api_pb2.Trial]] = {}
        self._reads = cache(lambda study: SharedReads(partial(storage.get_all_trials, study, deepcopy=False)))

    @override
    def GetTrials(
        self, request: api_pb2.GetTrialsRequest, context: grpc.ServicerContext
    ) -> api_pb2.GetTrialsReply:
        """Trials newer than a known one, and those that are asked for by number."""
        try:
            trials = self._reads(request.study_id)()
        except KeyError as error:
            context.abort(code=grpc.StatusCode.NOT_FOUND, details=str(error))
        asked, known = set(request.included_trial_ids), request.trial_id_greater_than
        wanted = [trial for trial in trials if trial._trial_id > known or trial._trial_id in asked]
        return api_pb2.GetTrialsReply(trials=map(self._message, wanted))

    def _message(self, trial: FrozenTrial) -> api_pb2.Trial:
        # The storage keeps finished trials, and makes a new object of any other one that it reads.
        kept = self._messages.get(trial._trial_id)
        if kept is None or kept[0] is not trial:
            kept = self._messages[trial._trial_id] = trial, _to_proto_trial(trial)
        return kept[1]
