"""References to a user's Python objects: ``package.module:name`` and ``path/file.py:name``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from autoprune.documents import is_file
from autoprune.errors import UserError


def is_reference(spec: str) -> bool:
    """Whether ``spec`` has the form of a reference (it need not exist)."""
    source, colon, name = spec.rpartition(":")
    return bool(colon and name.isidentifier() and (source.endswith(".py") or _is_dotted(source)))


def resolve(spec: str, what: str, error: type[UserError] = UserError) -> Any:
    """The object that ``spec`` names; ``what`` says in messages what it is for, such as ``"model"``.

    Raises ``error`` when the form is wrong, the file or name is missing, or the import fails.
    """
    if not is_reference(spec):
        raise error(f"{what} {spec!r} is no reference: write package.module:name or path/file.py:name")
    source, _, name = spec.rpartition(":")
    if source.endswith(".py") and not is_file(Path(source)):
        raise error(f"{what} {spec!r}: there is no file {source}, check the path")
    try:
        module = _from_file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    except Exception as failure:
        raise error(f"{what} {spec!r}: importing {source} failed: {summary(failure)}") from failure
    if not hasattr(module, name):
        raise error(f"{what} {spec!r}: {source} has no {name!r}, check the name after the colon")
    return getattr(module, name)


def call_factory(spec: str, what: str, error: type[UserError] = UserError) -> Any:
    """Resolve ``spec`` and call it without arguments. Raises ``error`` when that fails."""
    factory = resolve(spec, what, error)
    if not callable(factory):
        raise error(f"{what} {spec!r} is a {type(factory).__name__}: name a function without arguments")
    try:
        return factory()
    except UserError:
        raise
    except Exception as failure:
        raise error(f"{what} {spec!r} failed: {summary(failure)}") from failure


def summary(failure: BaseException) -> str:
    """Kind and first line of an exception."""
    lines = str(failure).strip().splitlines()
    return f"{type(failure).__name__}: {lines[0]}" if lines else type(failure).__name__


def _is_dotted(source: str) -> bool:
    return all(part.isidentifier() for part in source.split("."))


def _from_file(path: Path) -> ModuleType:
    """Import a file under a name made from its path, so that two files of one name can both be used."""
    resolved = path.resolve()
    digest = hashlib.sha256(str(resolved).encode()).hexdigest()[:12]
    name = f"_autoprune_user_{resolved.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, resolved)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and worker processes look a module up by name while and after it is executed.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
