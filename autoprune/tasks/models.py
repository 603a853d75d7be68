"""Models by name."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from pathlib import Path
from typing import Any

import torchvision
from torch import nn

from autoprune.config.references import FileCode, Model, Named, parse_model
from autoprune.config.user_code import Permit, call_factory, summary
from autoprune.errors import MissingExtraError, ModelError
from autoprune.structure.wrappers import unwrapped
from autoprune.utils.suggest import did_you_mean

FORMS = "torchvision:NAME, timm:NAME, package.module:factory or path/file.py:factory"
_SPELLING = ": check the spelling"


def load_model(spec: str, *, classes: int | None = None) -> nn.Module:
    """Build the model that ``spec`` names, with random weights.

    Forms: ``torchvision:NAME`` and ``timm:NAME`` (built for ``classes`` outputs where given), and
    ``package.module:factory`` or ``path/file.py:factory``, called without arguments.

    Raises ModelError for an unknown name or a factory that fails or returns no module, and
    MissingExtraError when timm is not installed.
    """
    reference = parse_model(spec)
    return build_named_model(reference, Permit.naming(reference), classes=classes)


def build_named_model(reference: Model, permit: Permit, *, classes: int | None = None) -> nn.Module:
    """Load the model that a setting names; like :func:`load_model`, TrustError for code that may not run."""
    if isinstance(reference, Named):
        if reference.name == "torchvision":
            return _from_torchvision(reference.argument or "", classes)
        if reference.name == "timm":
            return _from_timm(reference.argument or "", classes)
        raise ModelError(f"unknown model {str(reference)!r}: use {FORMS}")
    model = call_factory(reference, permit, "model", ModelError)
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"model {str(reference)!r} returned {type(model).__name__}: it must return a torch.nn.Module"
        )
    return unwrapped(model)


def construction(spec: str, classes: int | None) -> list[str]:
    """Lines of Python that build and return the same model without this package.

    A factory in a file is looked up next to the generated file first, then at its current path.
    """
    reference = parse_model(spec)
    if isinstance(reference, Named):
        return _library_construction(reference, classes)
    if not isinstance(reference, FileCode):
        name = reference.attribute
        return [f"from {reference.module} import {name}", "", f"return {name}()"]
    file = Path(reference.file).resolve()
    return [
        "import importlib.util",
        "",
        f"beside, there = Path(__file__).with_name({file.name!r}), {str(file)!r}",
        "file = beside if beside.is_file() else there",
        f"spec = importlib.util.spec_from_file_location({file.stem!r}, file)",
        "module = importlib.util.module_from_spec(spec)",
        "spec.loader.exec_module(module)",
        f"return module.{reference.attribute}()",
    ]


def _library_construction(reference: Named, classes: int | None) -> list[str]:
    name = reference.argument or ""
    if reference.name == "torchvision":
        given = "".join(f", {key}={value!r}" for key, value in _arguments(name, classes).items())
        return [
            "from torchvision.models import get_model",
            "",
            f"return get_model({name!r}, weights=None{given})",
        ]
    given = "" if classes is None else f", num_classes={classes}"
    return ["import timm", "", f"return timm.create_model({name!r}, pretrained=False{given})"]


def _from_torchvision(name: str, classes: int | None) -> nn.Module:
    known = torchvision.models.list_models()
    if name not in known:
        raise ModelError(f"torchvision has no model {name!r}{did_you_mean(name, known, _SPELLING, most=3)}")
    try:
        model: nn.Module = torchvision.models.get_model(name, weights=None, **_arguments(name, classes))
    except (TypeError, ValueError) as error:
        raise ModelError(f"torchvision:{name} cannot be built: {summary(error)}") from error
    return model


def _arguments(name: str, classes: int | None) -> dict[str, Any]:
    """Arguments of a torchvision builder other than the weights."""
    chosen: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if _takes(torchvision.models.get_model_builder(name), "weights_backbone"):
        chosen["weights_backbone"] = None
    # Their auxiliary heads serve training from scratch only and return more than one tensor.
    if name in ("googlenet", "inception_v3"):
        chosen |= {"init_weights": True, "aux_logits": False}
    return chosen


def _from_timm(name: str, classes: int | None) -> nn.Module:
    if importlib.util.find_spec("timm") is None:
        raise MissingExtraError("timm", "timm")
    timm = importlib.import_module("timm")
    if not timm.is_model(name):
        hint = did_you_mean(name, timm.list_models(), _SPELLING, most=3)
        raise ModelError(f"timm has no model {name!r}{hint}")
    chosen = {} if classes is None else {"num_classes": classes}
    model: nn.Module = timm.create_model(name, pretrained=False, **chosen)
    return model


def _takes(builder: Any, parameter: str) -> bool:
    return parameter in inspect.signature(builder).parameters
