"""What callers in Python give to a search and ask of its study, checked and as settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optuna.trial import FrozenTrial
from torch import nn

from autoprune.config.budget import budget_texts
from autoprune.config.override import overridden
from autoprune.config.settings import Config, load_config
from autoprune.errors import ArgumentError
from autoprune.study.callbacks import Callback, WithCallbacks
from autoprune.study.listener import Listener
from autoprune.tasks import Data
from autoprune.utils.arguments import as_text, check_type, described, whole_number
from autoprune.workflows.prune import DATA, given_data

_MODEL = "a torch.nn.Module, or a string such as 'torchvision:resnet18' or 'path/file.py:factory'"
_DATA = f"{DATA}, or a string such as 'imagefolder:photos'"


def settings_of(
    model: object,
    data: object,
    budget: object,
    trials: object,
    storage: object,
    name: object,
    settings: Mapping[str, object],
    config: object = None,
) -> Config:
    """The settings of a search from the arguments of :func:`autoprune.search`.

    Those of `config` hold where no other is given.

    Raises:
        ArgumentError: for an argument of a type that is not understood.
        UserError: for a setting that cannot be used.
    """
    check_model_and_data(model, data)
    check_type("name", name, (str, type(None)), "a string")
    check_type("config", config, (Config, type(None)), "an autoprune.Config")
    if name is not None and "study" in settings:
        raise ArgumentError("name and study are the same: give one of them")
    limits = budget_texts(budget)
    if trials is not None:
        limits += (f"trials={whole_number('trials', trials)}",)
    given = {
        "model": model if isinstance(model, str) else None,
        "data": data if isinstance(data, str) else None,
        "budget": limits or None,
        "storage": None if storage is None else as_text("storage", storage, "a file or a storage URL"),
        "study": name,
        **settings,
    }
    chosen = overridden(config, given) if isinstance(config, Config) else load_config(None, given)
    return without_texts_for(chosen, model=model, data=data)


def check_model_and_data(model: object, data: object) -> None:
    """Raise ArgumentError for what is no model or no data."""
    check_type("model", model, (nn.Module, str, type(None)), _MODEL, is_made=True)
    check_type("data", data, (Data, Mapping, str, type(None)), _DATA, is_made=True)


def without_texts_for(config: Config, *, model: object, data: object) -> Config:
    """The settings without the texts in whose place there are objects; no data stand in for an object's."""
    update: dict[str, object] = {}
    if isinstance(model, nn.Module):
        update["model"] = None
        update["data"] = config.data if "data" in config.model_fields_set else None
    if isinstance(data, Data | Mapping):
        update["data"] = None
    return config.model_copy(update=update)


def objects_of(model: object, data: object) -> tuple[nn.Module | None, Data | None]:
    """Model and data where they are objects rather than texts, which are settings.

    Raises DataError for a mapping that describes no data.
    """
    named = data is None or isinstance(data, str)
    return (model if isinstance(model, nn.Module) else None), (None if named else given_data(data))


def listener_of(listener: object, callbacks: Sequence[Callback]) -> Listener:
    """The listener of a search. Raises ArgumentError for something else."""
    check_type("listener", listener, (Listener, type(None)), "an autoprune.Listener")
    check_type("callbacks", callbacks, (list, tuple), "a list of functions of a study and a trial")
    for callback in callbacks:
        if not callable(callback):
            raise ArgumentError(
                f"a part of callbacks is {described(callback)}: give a function of a study and a trial"
            )
    return WithCallbacks(listener if isinstance(listener, Listener) else Listener(), callbacks)


def number_or_word(trial: object) -> int | str:
    """What names a trial, be it the trial itself. Raises ArgumentError for something else."""
    if isinstance(trial, FrozenTrial):
        return trial.number
    return trial if isinstance(trial, str) else whole_number("trial", trial, "'best', a number or a trial")
