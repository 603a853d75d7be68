"""Progress of a search for programs: one JSON object a line.

Every object has ``event``, its type, and ``seconds`` since the command started. Times are in seconds.

==================  ==================================================================================
``event``           further keys
==================  ==================================================================================
``phase``           ``phase``, its name; ``detail``
``phase_ended``     ``phase``; ``took``
``note``            ``text``: a message for the user
``trial_started``   ``trial``, its number; ``origin``, what proposed it; ``finished``, the number of finished
                    trials that count towards the budget; ``total``, the trial budget, or null;
                    ``seconds_left`` of the time budget, or null
``trial``           ``trial``; ``origin``; ``finished``, ``total`` and ``seconds_left``; ``state``:
                    COMPLETE, PREVIEW (without training), PRUNED (over budget), STOPPED (stopped early),
                    FAIL, UNFINISHED (interrupted and requeued), or REPEAT (an earlier plan); ``values``,
                    objective -> value, or null; ``reason`` of a trial without one, or null;
                    ``numbers``, the trial's costs and its quality with its error; ``stages``, stage ->
                    seconds; ``best``, number of the best trial within the budget so far, or null; ``front``,
                    the number of trials on the front
``finished``        ``study``; ``storage``; ``trials``, state -> number; ``best``; ``front``, a list of
                    objects, as in ``autoprune front --json``
``error``           ``message``, the line on standard error; ``exit_code``
==================  ==================================================================================
"""

from __future__ import annotations

import json
import math
from time import monotonic
from types import TracebackType
from typing import TextIO

import optuna
from optuna.trial import FrozenTrial

from autoprune.review.table import to_json
from autoprune.study.attributes import attributes_of
from autoprune.study.front import front, summary
from autoprune.study.listener import Count, Listener
from autoprune.study.states import state_of
from autoprune.utils.redact import without_passwords

_NUMBERS = (
    *("quality", "quality_error", "loss", "flops", "flops_ratio", "parameters", "size", "nonzero"),
    *("nonzero_ratio", "latency_ms", "latency_ratio", "latency_low", "latency_high"),
)


class JsonLines(Listener):
    """Writes each event of a search as one line of JSON, at once, as a context manager around it."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._started = monotonic()
        self._phase: tuple[str, float] | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_phase()

    def phase(self, name: str, detail: str = "") -> None:
        """A phase begins; the one before is over."""
        self._end_phase()
        self._phase = (name, monotonic())
        self._write("phase", phase=name, detail=detail)

    def note(self, text: str) -> None:
        """Something the user should know."""
        self._write("note", text=text)

    def trial_started(self, number: int, origin: str, count: Count) -> None:
        """A trial begins; `count` is without it."""
        self._write("trial_started", trial=number, origin=origin, **_count(count))

    def trial_finished(self, study: optuna.Study, trial: FrozenTrial, count: Count) -> None:
        """A trial is finished; `count` includes it."""
        known, found = attributes_of(trial), summary(study)
        names = study.metric_names or [f"value_{place}" for place in range(len(study.directions))]
        self._write(
            "trial",
            trial=trial.number,
            origin=known.origin,
            **_count(count),
            state=state_of(trial),
            values=dict(zip(names, trial.values, strict=True)) if trial.values else None,
            reason=known.reason,
            numbers=known.known(_NUMBERS),
            stages=dict(known.seconds),
            best=found.best,
            front=found.front,
        )

    def finished(self, study: optuna.Study, storage: str) -> None:
        """The search has ended with this study."""
        found = summary(study)
        self._write(
            "finished",
            study=found.name,
            storage=without_passwords(storage),
            trials=dict(found.trials),
            best=found.best,
            front=json.loads(to_json(front(study))),
        )

    def error(self, message: str, exit_code: int) -> None:
        """The search has ended with an error."""
        self._write("error", message=message, exit_code=exit_code)

    def _end_phase(self) -> None:
        if self._phase is not None:
            name, started = self._phase
            self._phase = None
            self._write("phase_ended", phase=name, took=round(monotonic() - started, 3))

    def _write(self, event: str, **values: object) -> None:
        seconds = round(monotonic() - self._started, 3)
        line = json.dumps({"event": event, "seconds": seconds, **_finite(values)}, allow_nan=False)
        self._file.write(line + "\n")
        self._file.flush()


def _count(count: Count) -> dict[str, object]:
    return {"finished": count.finished, "total": count.total, "seconds_left": count.seconds_left}


def _finite(values: dict[str, object]) -> dict[str, object]:
    """The same with null where JSON has no number."""
    return {name: _known(value) for name, value in values.items()}


def _known(value: object) -> object:
    if isinstance(value, dict):
        return _finite(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
