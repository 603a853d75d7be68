"""Devices for training and scoring."""

from __future__ import annotations

import copy

import torch
from torch import nn

from autoprune.errors import ConfigError, ModelError
from autoprune.tasks.evaluate import device_of


def device_named(name: str) -> torch.device:
    """The device ``cpu``, ``cuda`` or ``cuda:N``; ``auto`` is CUDA if available.

    Raises ConfigError for another name, and for a device that this machine does not have.
    """
    found = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if found else "cpu")
    kind, _, index = name.partition(":")
    if name != "cpu" and (kind != "cuda" or (index and not index.isdecimal())):
        raise ConfigError(f"device {name!r} is unknown: use auto, cpu, cuda or cuda:N")
    if kind == "cuda" and (not found or int(index or 0) >= torch.cuda.device_count()):
        count = torch.cuda.device_count() if found else 0
        raise ConfigError(f"there is no device {name}, PyTorch sees {count} of its kind: use --device cpu")
    return torch.device(name)


def on_device(model: nn.Module, device: torch.device) -> nn.Module:
    """The model itself if it is already on the device, else a copy: the given model is not moved.

    Raises ModelError for one without values.
    """
    empty = next((name for name, tensor in model.state_dict().items() if tensor.is_meta), None)
    if empty is not None:
        raise ModelError(f"{empty} of the model is on the meta device, without values: load weights first")
    here = device_of(model)
    if here == device or (here.type == device.type and device.index is None):
        return model
    return copy.deepcopy(model).to(device)
