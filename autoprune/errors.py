"""Every error that a user can meet, each with the exit code of the command that meets it."""

from __future__ import annotations


class AutopruneError(Exception):
    """Base of all errors raised on purpose; its text is one line that says what to do next."""

    exit_code = 1


class UserError(AutopruneError):
    """Something the caller gave cannot work: a file, a name, a number."""

    exit_code = 2


class ArgumentError(UserError, TypeError):
    """An argument in Python of a type that is not understood, or one that is missing."""


class BudgetError(UserError):
    """A budget that cannot be read, or that no plan can meet."""


class ConfigError(UserError):
    """A setting or a study file that cannot be used."""


class ModelError(UserError):
    """A model that cannot be loaded, called or traced, or weights that do not fit it."""


class DamagedError(ModelError):
    """A weights file that is cut short or otherwise broken, or of another kind."""


class DataError(UserError):
    """Data that cannot be found or does not fit the model or the task."""


class PlanError(UserError):
    """A plan that does not fit the model, removes nothing, or empties a layer."""


class CriterionError(UserError):
    """An unknown criterion, or one that lacks what it needs."""


class CriterionWarning(UserWarning):
    """A criterion that had to fall back on something else for a part of the model; the text says on what."""


class StudyError(UserError):
    """A study that is missing, empty, or was made with other settings."""


class TrustError(UserError):
    """A study or a plan names user code that the user did not name."""


class MissingExtraError(UserError):
    """An optional dependency is needed; the text names the extra that brings it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'autoprune[{extra}]'")


class TrialError(AutopruneError):
    """A candidate failed (a loss that is not finite, a cut that does not run); the search goes on."""


class DiskError(AutopruneError):
    """A file that cannot be written: the disk is full, or the folder takes none; the search stops there."""


class LostStorageError(AutopruneError):
    """The storage of a study was taken away or damaged while the study was written.

    Attributes:
        rescued: the storage to which the study was saved, as ``--storage`` takes it; empty where it was not.
    """

    def __init__(self, text: str, rescued: str = "") -> None:
        super().__init__(text)
        self.rescued = rescued


class ExportError(AutopruneError):
    """An exported file differs from the pruned model, or could not be written."""
