"""Latency of an exported file in its runtime."""

from __future__ import annotations

import copy
from pathlib import Path

from autoprune.cost import Latency, Meter, Setting
from autoprune.export.formats import Format
from autoprune.export.records import Candidate
from autoprune.export.subject import Subject


def file_latency(
    form: Format,
    subject: Subject,
    candidate: Candidate,
    folder: Path,
    seconds: float,
    threads: int | None,
) -> Latency:
    """Time the format's file in a folder against the original model in the same format, with batch size 1.

    Raises:
        TrialError: if one of them does not run, or another process holds the timing lock.
        ExportError: if the original model cannot be written in this format.
    """
    original = copy.deepcopy(candidate.base).cpu().eval()
    setting = Setting(form.runtime(subject, candidate, folder), threads=threads)
    meter = Meter(original, (subject.smallest.contiguous(),), setting, max_seconds=seconds)
    return meter.measure(subject.model)
