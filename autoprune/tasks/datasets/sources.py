"""Data by name."""

from __future__ import annotations

from collections.abc import Callable

from autoprune.config.references import DataSet, Named, parse_data
from autoprune.config.user_code import Permit
from autoprune.errors import DataError
from autoprune.tasks.data import Data
from autoprune.tasks.datasets import images
from autoprune.tasks.datasets.contract import from_factory
from autoprune.tasks.datasets.imagefolder import imagefolder
from autoprune.tasks.datasets.languages import language_id
from autoprune.utils.suggest import did_you_mean

NAMED: dict[str, Callable[[str | None], Data]] = {
    "fashion-mnist": images.fashion_mnist,
    "mnist": images.mnist,
    "cifar10": images.cifar10,
    "language-id": language_id,
}
FORMS = (
    "digits, fashion-mnist[:ROOT], mnist[:ROOT], cifar10[:ROOT], language-id[:ROOT], imagefolder:ROOT, "
    "package.module:factory or path/file.py:factory"
)


def load_data(spec: str) -> Data:
    """Load the data that ``spec`` names; the three splits are the same every time.

    Forms: ``digits`` (bundled with scikit-learn), ``fashion-mnist[:ROOT]``, ``mnist[:ROOT]`` and
    ``cifar10[:ROOT]`` (downloaded into the user's cache without ROOT), ``language-id[:ROOT]`` (Debian's word
    lists), ``imagefolder:ROOT``, and ``package.module:factory`` or ``path/file.py:factory`` (see
    :mod:`autoprune.tasks.datasets.contract`).

    Raises DataError if the name is unknown, or the data is missing or unusable.
    """
    reference = parse_data(spec)
    return load_named_data(reference, Permit.naming(reference))


def load_named_data(reference: DataSet, permit: Permit) -> Data:
    """Load the data that a setting names; like :func:`load_data`, TrustError for code that may not run."""
    if not isinstance(reference, Named):
        return from_factory(reference, permit)
    name, root = reference.name, reference.argument
    if reference == Named("digits"):
        return images.digits()
    if name in NAMED:
        return NAMED[name](root or None)
    if name == "imagefolder":
        return imagefolder(root or "")
    hint = did_you_mean(name, ("digits", *NAMED, "imagefolder"), ":")
    raise DataError(f"unknown data {str(reference)!r}{hint} use {FORMS}")
