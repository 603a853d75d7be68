"""The only module that loads user code and returns the command of a program to start.

Both require a permit, which comes only from the user naming the code (on the command line, in a study file or
in Python) or from the check of other sources in :mod:`autoprune.study.trust`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from autoprune.config.references import (
    OWN_MODULE,
    Code,
    FileCode,
    OwnObject,
    Program,
    Reference,
    Runnable,
    runnable_of,
)
from autoprune.errors import ConfigError, TrustError, UserError
from autoprune.utils.untrusted import is_file, short


@dataclass(frozen=True)
class Permit:
    """The code and the programs that may run; by default nothing, see :meth:`naming`."""

    allowed: frozenset[Runnable] = frozenset()

    @classmethod
    def naming(cls, *references: Reference) -> Permit:
        """A permit for references that the user named, or that were checked."""
        return cls(frozenset(code for reference in references if (code := runnable_of(reference))))

    def covers(self, reference: Reference) -> bool:
        """Whether the code of a reference may run; true if it refers to no code."""
        code = runnable_of(reference)
        return code is None or code in self.allowed

    def require(self, reference: Reference, what: str) -> None:
        """Raise TrustError if the reference refers to code that may not run."""
        if not self.covers(reference):
            raise TrustError(
                f"{what} {short(str(reference))} is code that you did not name: if you trust it, name it "
                "with a flag of the command"
            )

    def words(self, program: Program) -> list[str]:
        """The program and its arguments. Raises TrustError, or ConfigError where they cannot be read."""
        self.require(program, "runtime")
        try:
            words = shlex.split(program.command)
        except ValueError as error:
            raise ConfigError(f"cannot read --runtime {str(program)!r}: {error}") from error
        if not words:
            raise ConfigError(
                f"--runtime {str(program)!r} names no program: write 'command:PROGRAM ARGUMENTS'"
            )
        return words


def load_object(code: Code | OwnObject, permit: Permit, what: str, error: type[UserError] = UserError) -> Any:
    """Load the object of a reference.

    Args:
        code: the reference.
        permit: the code that may run.
        what: its purpose in messages, such as ``"model"``.
        error: raised if the file or the name is missing, or the import fails.

    Raises:
        TrustError: for code that may not run.
    """
    permit.require(code, what)
    if isinstance(code, OwnObject):
        return _own_object(code, what, error)
    source = code.file if isinstance(code, FileCode) else code.module
    if isinstance(code, FileCode) and not is_file(Path(source)):
        raise error(f"{what} {str(code)!r}: there is no file {source}, check the path")
    _look_in_working_folder()
    try:
        module = _from_file(Path(source)) if isinstance(code, FileCode) else importlib.import_module(source)
    except Exception as failure:
        raise error(f"{what} {str(code)!r}: importing {source} failed: {summary(failure)}") from failure
    if not hasattr(module, code.attribute):
        raise error(
            f"{what} {str(code)!r}: {source} has no {code.attribute!r}, check the name after the colon"
        )
    return getattr(module, code.attribute)


def call_factory(
    code: Code | OwnObject, permit: Permit, what: str, error: type[UserError] = UserError
) -> Any:
    """Call the function of a reference and return its result; raises like :func:`load_object`."""
    factory = load_object(code, permit, what, error)
    if not callable(factory):
        raise error(f"{what} {str(code)!r} is a {type(factory).__name__}: name a function without arguments")
    try:
        return factory()
    except UserError:
        raise
    except Exception as failure:
        raise error(f"{what} {str(code)!r} failed: {summary(failure)}") from failure


def summary(failure: BaseException) -> str:
    """Kind and first line of an exception."""
    lines = str(failure).strip().splitlines()
    return f"{type(failure).__name__}: {lines[0]}" if lines else type(failure).__name__


def _look_in_working_folder() -> None:
    """Make named code and its imports available from the working folder, after all installed packages.

    It comes last, because files in an untrusted folder could otherwise shadow what libraries import.
    """
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)


def _own_object(code: OwnObject, what: str, error: type[UserError]) -> Any:
    """A function that the module itself defines, not one that it imports."""
    function = getattr(importlib.import_module(OWN_MODULE), code.attribute, None)
    if not callable(function) or getattr(function, "__module__", None) != OWN_MODULE:
        raise error(
            f"{what} {str(code)!r}: {OWN_MODULE} has no {code.attribute!r}, check the name after the colon"
        )
    return function


def _from_file(path: Path) -> ModuleType:
    """Import a file under a name derived from its path, so that two files of the same name can be used."""
    resolved = path.resolve()
    digest = hashlib.sha256(str(resolved).encode()).hexdigest()[:12]
    name = f"_autoprune_user_{resolved.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, resolved)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and worker processes look up a module by name during and after its execution.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
