"""Latency of an exported file in its runtime."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

from autoprune.cost import Latency, Meter, Setting
from autoprune.export.formats import Format
from autoprune.export.records import ExportCandidate
from autoprune.export.subject import Subject


def file_latency(
    form: Format,
    subject: Subject,
    candidate: ExportCandidate,
    folder: Path,
    setting: Setting,
) -> Latency:
    """Time the format's file in a folder against the original model in the same format, with batch size 1.

    The file's own runtime takes the place of that of the setting.

    Raises:
        TrialError: if one of them does not run, or another process holds the timing lock.
        ExportError: if the original model cannot be written in this format.
    """
    original = copy.deepcopy(candidate.base).cpu().eval()
    setting = replace(setting, runtime=form.runtime(subject, candidate, folder))
    return Meter(original, (subject.smallest.contiguous(),), setting).measure(subject.model)
