"""What reads files and texts from outside, each with inputs that it must take or refuse in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import malformed
import recorded
import torch
from hypothesis.strategies import SearchStrategy
from torch import nn

from autoprune.config.bounds import parse_bounds
from autoprune.config.budget import parse_budget
from autoprune.config.granularity import check_granularity
from autoprune.config.settings import load_config
from autoprune.cost.latency import profile
from autoprune.criteria import criterion
from autoprune.criteria.learned import read_criterion
from autoprune.recovery.training.recipe import steps_of
from autoprune.storages import read_address
from autoprune.structure import Plan, Structure, discover
from autoprune.structure.masks import LayerMask, MaskPlan
from autoprune.structure.plans import read_plan
from autoprune.study.trust import user_code
from autoprune.tasks import TensorSplit, load_weights, weights_hash


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        name: for people.
        inputs: malformed contents.
        corpus: contents that are bad on purpose.
        read: takes a content and a folder for files; raises what it says of the content.
        share: of all inputs.
    """

    name: str
    inputs: SearchStrategy[bytes]
    corpus: Callable[[], Iterator[bytes]]
    read: Callable[[bytes, Path], object]
    share: float


@cache
def _model() -> tuple[nn.Module, Structure]:
    model = malformed.network().eval()
    return model, discover(model, torch.zeros(1, 1, 4, 4))


def _text(content: bytes) -> str:
    return content.decode("utf-8", errors="replace")


def _file(content: bytes, folder: Path, name: str) -> Path:
    file = folder / name
    file.write_bytes(content)
    return file


def _plan(content: bytes, folder: Path) -> None:
    plan = read_plan(_text(content))
    if isinstance(plan, Plan):
        plan.check(_model()[1])
    assert read_plan(plan.to_json()) == plan


def _weights(content: bytes, folder: Path, name: str) -> None:
    model = malformed.network()
    before = weights_hash(model)
    try:
        load_weights(model, _file(content, folder, name))
    except Exception:
        assert weights_hash(model) == before, "a model was changed by a file that was refused"
        raise
    assert not any(bool(torch.isnan(tensor.double()).any()) for tensor in model.state_dict().values())


def _texts(content: bytes, folder: Path) -> None:
    """Every short text that the command line takes."""
    text, failed = _text(content), []
    split = TensorSplit(torch.zeros(3), torch.zeros(3))
    parsers: tuple[Callable[[], object], ...] = (
        lambda: parse_bounds((text,)),
        lambda: check_granularity(text),
        lambda: steps_of(text, split, 2),
        lambda: read_address(text),
        lambda: criterion(text.replace(".py", "")),
        lambda: user_code({"criterion": text, "model": text}),
        lambda: parse_budget([text]),
    )
    for parse in parsers:
        try:
            parse()
        except Exception as error:
            failed.append(error)
    if failed:
        # What is no error of ours counts first.
        raise min(failed, key=lambda error: type(error).__module__ == "autoprune.errors")


PLAN = {
    "schema": 1,
    "model": "m",
    "weights": "0" * 8,
    "untied": False,
    "attention": "heads",
    "keep": {"0": [0, 2]},
}
MASKS = MaskPlan("2:4", {"4": LayerMask(2, "0" * 64)}, "l1", "m", "w")
LEARNED = {
    "schema": 1,
    "groups": {"0": {"width": 4, "weights": {"l2": 1.0}, "losses": {"1": 0.5, "4": 0.0}, "scale": 1.0}},
    "provenance": {
        **{"model": "m", "weights": "w", "data": "d", "budget": ["flops=50%"], "study": "s", "trial": 1},
        **{"origin": "o", "metric": "accuracy", "quality": 0.9, "original_quality": 0.95, "flops_ratio": 0.5},
        **{"seed": 0, "versions": {"torch": "2"}},
    },
    "allowed": {"skip": ["a*"], "depth": False},
}
PROFILE = {
    "schema": profile.SCHEMA,
    "device": {
        **{
            "processor": "p",
            "logical_cores": 2,
            "vector_extension": "AVX2",
            "accelerator": "",
            "system": "s",
        },
        **{
            "torch": "2",
            "runtime": "eager",
            "runtime_version": "",
            "threads": 1,
            "inputs": "i",
            "dtype": "f",
        },
        "channels_last": False,
    },
    "seconds": 0.1,
    "latency_steps": {"0": {"widths": [1, 4], "ratios": [0.5, 1.0], "error": 0.01}},
    "samples": [{"widths": {"0": 2}, "ratio": 0.7}],
}


def readers() -> tuple[Reader, ...]:
    """All readers."""
    import json

    masks = json.loads(MASKS.to_json())
    return (
        Reader("plans", malformed.documents(PLAN, masks), lambda: malformed.nasty_json("keep"), _plan, 0.16),
        Reader(
            "criteria",
            malformed.documents(LEARNED),
            lambda: malformed.nasty_json("groups"),
            lambda content, folder: read_criterion(_file(content, folder, "criterion.json")),
            0.12,
        ),
        Reader(
            "study files",
            malformed.studies() | malformed.edited(b'budget = ["flops=50%"]\nseed = 1\nskip = ["a"]\n'),
            malformed.nasty_toml,
            lambda content, folder: load_config(_file(content, folder, "study.toml"), {}),
            0.16,
        ),
        Reader("budgets and other texts", malformed.texts(), malformed.nasty_texts, _texts, 0.16),
        Reader(
            "safetensors",
            malformed.weight_files(),
            malformed.nasty_weights,
            lambda content, folder: _weights(content, folder, "w.safetensors"),
            0.08,
        ),
        Reader(
            "model files",
            malformed.torch_files(),
            malformed.nasty_torch,
            lambda content, folder: _weights(content, folder, "w.pt"),
            0.08,
        ),
        Reader(
            "latency profiles",
            malformed.documents(PROFILE),
            lambda: malformed.nasty_json("latency_steps"),
            lambda content, folder: profile.load_profile(_file(content, folder, "profile.json")),
            0.04,
        ),
        Reader("studies", recorded.studies(), recorded.nasty_studies, recorded.read_study, 0.17),
        Reader("artifact folders", recorded.folders(), recorded.nasty_folders, recorded.read_folder, 0.03),
    )
