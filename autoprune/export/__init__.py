"""Export of a pruned model for deployment; every file is loaded and compared."""

from autoprune.export.formats import FORMATS, default_formats
from autoprune.export.load import load_exported
from autoprune.export.records import Card, ExportCandidate, Exported, Numbers
from autoprune.export.write import export_candidate

__all__ = [
    "FORMATS",
    "Card",
    "ExportCandidate",
    "Exported",
    "Numbers",
    "default_formats",
    "export_candidate",
    "load_exported",
]
