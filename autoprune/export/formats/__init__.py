"""Export formats by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autoprune.errors import MissingExtraError, UserError
from autoprune.export.formats.base import CHECKS, Format
from autoprune.export.formats.executorch import ExecuTorchFormat
from autoprune.export.formats.int8 import Int8Format
from autoprune.export.formats.onnx import OnnxFormat
from autoprune.export.formats.openvino import OpenVinoFormat
from autoprune.export.formats.pt2 import Pt2Format
from autoprune.export.formats.python import PythonFormat
from autoprune.export.formats.state import StateFormat
from autoprune.export.formats.torchscript import TorchScriptFormat
from autoprune.utils.suggest import did_you_mean

FORMATS: Mapping[str, Format] = {
    entry.name: entry
    for entry in (
        StateFormat(),
        PythonFormat(),
        Pt2Format(),
        OnnxFormat(),
        Int8Format(),
        OpenVinoFormat(),
        ExecuTorchFormat(),
        TorchScriptFormat(),
    )
}


def default_formats() -> tuple[str, ...]:
    """The default formats whose packages are installed."""
    return tuple(name for name, chosen in FORMATS.items() if chosen.usual and not chosen.missing())


def formats_named(names: Sequence[str]) -> dict[str, Format]:
    """The formats of these names, each once.

    Raises:
        UserError: for an unknown name, or none at all.
        MissingExtraError: if a format's packages are not installed.
    """
    if isinstance(names, str) or not names:
        raise UserError(f"give a list of one or more formats: there are {', '.join(FORMATS)}")
    for name in names:
        if name not in FORMATS:
            hint = did_you_mean(name, FORMATS, ":")
            raise UserError(f"unknown format {name!r}{hint} there are {', '.join(FORMATS)}")
    chosen = {name: FORMATS[name] for name in names}
    for entry in chosen.values():
        if entry.missing():
            raise MissingExtraError(entry.missing()[0], entry.extra)
    return chosen


__all__ = ["CHECKS", "FORMATS", "Format", "default_formats", "formats_named"]
