from __future__ import annotations

from dataclasses import fields, replace

import torch

from autoprune.cost import current_device


def test_names_this_machine() -> None:
    device = current_device("eager", 2)
    assert device.processor
    assert device.logical_cores >= 1
    assert (device.torch, device.runtime, device.threads) == (torch.__version__, "eager", 2)
    assert device == current_device("eager", 2, torch.device("cpu"))


def test_every_field_changes_the_key() -> None:
    device = current_device("eager", 2)
    others = [
        replace(device, **{field.name: 99 if field.type == "int" else "other"}) for field in fields(device)
    ]
    keys = {device.key, *(other.key for other in others)}
    assert len(keys) == 1 + len(fields(device))
    assert all(len(key) == 12 for key in keys)
    assert replace(device).key == device.key
