"""Recorded studies, opened again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

import optuna
from torch import nn

from autoprune import review
from autoprune.api.study import Recorded, Study
from autoprune.config.settings import Config
from autoprune.config.settings_dict import SettingsDict
from autoprune.errors import StudyError
from autoprune.pruning_search import Problem, prepare
from autoprune.study.trust import config_of_study
from autoprune.tasks import Data
from autoprune.utils.arguments import as_text, check_type
from autoprune.workflows.search_arguments import (
    check_model_and_data,
    listener_of,
    objects_of,
    without_texts_for,
)


def open_study(
    storage: str | Path = "autoprune.db",
    name: str | None = None,
    *,
    model: nn.Module | str | None = None,
    data: Data | Mapping[str, Any] | str | None = None,
    listener: review.Listener | None = None,
    trust: bool = False,
    **settings: Unpack[SettingsDict],
) -> Study:
    """Open a recorded study: at once to read it, and once its models are asked for, with its problem.

    Its front, its best trial, its figures and its report need nothing but the storage. Models, criteria and
    exports need the model and the data of the search: these are loaded again where the study records a text
    for them. What was a Python object has to be given here.

    Args:
        storage: a file or an Optuna storage URL.
        name: name of the study; None for the one that was active last.
        model: the original model, where it was an object: a module with the same weights.
        data: the data, where they were an object; as :func:`autoprune.search` takes them.
        listener: is notified of how the model and the data are prepared.
        trust: whether user code that the study names may run though it is not given here.
        settings: settings in place of the recorded ones, such as ``device="cpu"``.

    Returns:
        The study. What needs model or data raises StudyError when these are missing, or when the weights
        are not those that were pruned, and TrustError when the study names user code that is neither given
        nor trusted.

    Raises:
        ArgumentError: for an argument of another type.
        StudyError: when there is no such storage or study.

    Examples:
        >>> import autoprune, torch
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> split = (torch.randn(64, 20), torch.arange(64) % 2)
        >>> data = {"train": split, "validation": split, "test": split}
        >>> _ = autoprune.search(
        ...     network, data, budget="flops=80%", trials=2, storage="open.db", latency=False,
        ...     finetune_steps=1,
        ... )
        >>> autoprune.open_study("open.db").best().state.name
        'COMPLETE'
        >>> study = autoprune.open_study("open.db", model=network, data=data)
        >>> study.model("best")[0].out_features < 8
        True
    """
    address = as_text("storage", storage, "a file or a storage URL")
    check_type("name", name, (str, type(None)), "a string")
    check_type("trust", trust, bool, "True or False")
    check_model_and_data(model, data)
    listener = listener_of(listener, ())
    study = review.open_study(address, name, listener.note)
    review.study_record(study)
    given = {**settings, "model": model, "data": data}

    def build() -> Problem:
        return _problem_of(study, address, given, listener, trust=trust)

    return Study(study, Recorded(address, build))


def _problem_of(
    study: optuna.Study, storage: str, given: Mapping[str, Any], listener: review.Listener, *, trust: bool
) -> Problem:
    """The problem of a recorded study, made again from its settings and what is given in their place.

    Raises TrustError and StudyError as :func:`open_study` says.
    """
    record = review.study_record(study)
    module, splits = objects_of(given["model"], given["data"])
    objects = {"model": module, "data": splits}
    named = {key: value for key, value in given.items() if value is not None and objects.get(key) is None}
    config = config_of_study(
        record["config"],
        named,
        {"storage": storage, "study": study.study_name},
        trust=trust,
        source=f"study {study.study_name!r}",
    )
    config = without_texts_for(config, **objects)
    _require_all(study, record, config, module, splits)
    original = record["baseline"].get("latency_ms")
    seconds = None if original is None else original * 1e-3
    problem = prepare(config, listener, model=module, data=splits, original_seconds=seconds)
    if problem.subject.weights != record["weights"]:
        raise StudyError(
            f"the weights of {record['model']} are not those that study {study.study_name!r} pruned: "
            "put the earlier weights back"
        )
    return problem


def _require_all(
    study: optuna.Study,
    record: Mapping[str, Any],
    config: Config,
    module: nn.Module | None,
    splits: Data | None,
) -> None:
    """Raise StudyError where the study was made from objects, and these are not given."""
    missing = []
    if module is None and config.model is None and ":" not in record["model"]:
        missing.append("model")
    if splits is None and (config.data is None or "data" not in config.model_fields_set):
        missing.append("data")
    if missing:
        raise StudyError(
            f"study {study.study_name!r} was made in Python from a {record['model']}: give its "
            f"{' and '.join(missing)} to autoprune.open_study, or export it there with study.export()"
        )
