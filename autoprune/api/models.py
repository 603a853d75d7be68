"""What there is to know of a model before a search: what can be cut, and what it costs on this device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from torch import Tensor, nn

from autoprune.config.settings import Config
from autoprune.config.settings_dict import SettingsDict
from autoprune.study.listener import Listener
from autoprune.tasks import Data
from autoprune.utils.arguments import check_type
from autoprune.workflows import inspect as inspection
from autoprune.workflows import measure as measurement
from autoprune.workflows.search_arguments import listener_of, objects_of, settings_of

ExampleTensors = Tensor | tuple[Tensor, ...]
"""The positional arguments of ``forward``; a single one may stand alone."""
_EXAMPLE = "a tensor such as torch.randn(1, 3, 224, 224), or a tuple of tensors"


def inspect(
    model: nn.Module | str | None = None,
    data: Data | Mapping[str, Any] | str | None = None,
    *,
    example_inputs: ExampleTensors | None = None,
    listener: Listener | None = None,
    config: Config | None = None,
    **settings: Unpack[SettingsDict],
) -> inspection.Inspection:
    """Find what can be cut in a model, what each group costs, and why the rest stays.

    Args:
        model: as :func:`autoprune.search` takes it; it need not be trained.
        data: as :func:`autoprune.search` takes them, for a sample to call the model with.
        example_inputs: a tensor ``[1, ...]`` or a tuple of them to call the model with, instead of data.
        listener: is notified of progress.
        config: settings that hold where no argument says otherwise.
        settings: fields of :class:`autoprune.Config`, such as ``skip`` and ``depth``. With
            ``latency=False`` nothing is timed, else each group is for ``latency_seconds``, by default 0.2.

    Returns:
        The structure, FLOPs (of one call, a multiply-add counted as one), parameters and bytes of the model,
        and the share of each that hangs on each group.

    Raises:
        ArgumentError: for an argument of another type.
        UserError: when the model cannot be built, traced or called, or its weights do not fit.

    Examples:
        >>> import autoprune, torch
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> found = autoprune.inspect(network, example_inputs=torch.randn(1, 20), latency=False)
        >>> found.costs.parameters, found.structure.widths
        (186, {'0': 8})
    """
    chosen = settings_of(model, data, (), None, None, None, settings, config)
    module, splits = objects_of(model, data)
    inputs = _as_tuple(example_inputs)
    return inspection.inspect(chosen, inputs, listener_of(listener, ()), model=module, data=splits)


def measure(
    model: nn.Module | str | None = None,
    data: Data | Mapping[str, Any] | str | None = None,
    *,
    example_inputs: ExampleTensors | None = None,
    again: bool = False,
    listener: Listener | None = None,
    config: Config | None = None,
    **settings: Unpack[SettingsDict],
) -> measurement.Measurement:
    """Measure latency against the width of each group on this device, once: later calls read the file.

    Args:
        model: as :func:`autoprune.search` takes it; it need not be trained.
        data: as :func:`autoprune.search` takes them, for a sample to time the model on.
        example_inputs: a tensor or a tuple of them to time the model on, batch included, instead of data.
        again: measure again what is known.
        listener: is notified of progress.
        config: settings that hold where no argument says otherwise.
        settings: fields of :class:`autoprune.Config`, such as ``runtime`` and ``latency_batch``.

    Returns:
        The profile (seconds at each width), the widths that a search will try, how well the profile predicts
        plans, and the file that it is kept in.

    Raises:
        ArgumentError: for an argument of another type.
        UserError: when the model cannot be built, traced or called, or this machine has no such runtime.

    Examples:
        >>> import autoprune, torch
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> found = autoprune.measure(network, example_inputs=torch.randn(1, 20), latency_seconds=0.01)
        >>> found.profile.seconds > 0
        True
    """
    check_type("again", again, bool, "True or False")
    chosen = settings_of(model, data, (), None, None, None, settings, config)
    module, splits = objects_of(model, data)
    inputs, listener = _as_tuple(example_inputs), listener_of(listener, ())
    return measurement.measure(chosen, inputs, listener, again=again, model=module, data=splits)


def _as_tuple(example_inputs: ExampleTensors | None) -> tuple[Tensor, ...]:
    """The arguments of a call; none where none are given. Raises ArgumentError for something else."""
    if example_inputs is None:
        return ()
    check_type("example_inputs", example_inputs, (Tensor, tuple), _EXAMPLE)
    inputs = (example_inputs,) if isinstance(example_inputs, Tensor) else example_inputs
    for part in inputs:
        check_type("a part of example_inputs", part, Tensor, _EXAMPLE)
    return inputs
