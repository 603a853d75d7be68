"""Every error that a user can see, each with its exit code."""

from __future__ import annotations


class AutopruneError(Exception):
    """Base class of all deliberate errors; the message is one line that says what to do next."""

    exit_code = 1


class UserError(AutopruneError):
    """Invalid input from the caller: a file, a name, a number."""

    exit_code = 2


class ArgumentError(UserError, TypeError):
    """A Python argument of an unsupported type, or a missing one."""


class BudgetError(UserError):
    """A budget that is invalid, or that no plan can meet."""


class ConfigError(UserError):
    """A setting or a study file that cannot be used."""


class ModelError(UserError):
    """A model that cannot be loaded, called or traced, or weights that do not fit it."""


class DamagedError(ModelError):
    """A weights file that is truncated or otherwise corrupt, or of another kind."""


class DataError(UserError):
    """Data that cannot be found or does not fit the model or the task."""


class PlanError(UserError):
    """A plan that does not fit the model, removes nothing, or empties a layer."""


class CriterionError(UserError):
    """An unknown criterion, or one that lacks what it needs."""


class CriterionWarning(UserWarning):
    """A criterion uses a fallback for a part of the model; the message names the fallback."""


class StudyError(UserError):
    """A study that is missing, empty, or was made with other settings."""


class TrustError(UserError):
    """A study or a plan names user code that the user did not name."""


class MissingExtraError(UserError):
    """An optional dependency is missing; the message names the extra that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'autoprune[{extra}]'")


class TrialError(AutopruneError):
    """A candidate failed (a loss that is not finite, a model that does not run); the search continues."""


class DiskError(AutopruneError):
    """A file cannot be written because the disk is full or the folder is read-only; the search stops."""


class LostStorageError(AutopruneError):
    """The storage of a study was removed or damaged during a search.

    Attributes:
        rescued: the storage to which the study was saved, in the form of ``--storage``; empty if it was not.
    """

    def __init__(self, text: str, rescued: str = "") -> None:
        super().__init__(text)
        self.rescued = rescued


class ExportError(AutopruneError):
    """An exported file differs from the pruned model, or cannot be written."""
