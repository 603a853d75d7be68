"""A storage in front of another one: every call goes through one place."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from optuna.storages import BaseStorage
from typing_extensions import override

Result = TypeVar("Result")


def _through(name: str) -> Callable[..., Any]:
    """A method of storages that calls the same one of the storage behind."""

    # All but the method's attributes, one of which marks it as abstract.
    @wraps(getattr(BaseStorage, name), updated=())
    def method(self: ThroughStorage, *arguments: Any, **named: Any) -> Any:
        return self._call(lambda: getattr(self._storage, name)(*arguments, **named))

    return method


if TYPE_CHECKING:
    # Any storage that has every method: those that are made here are not seen by checkers.
    from optuna.storages import InMemoryStorage as _Forwarding
else:
    _Forwarding = type(
        "_Forwarding", (BaseStorage,), {name: _through(name) for name in BaseStorage.__abstractmethods__}
    )


class ThroughStorage(_Forwarding):
    """Makes every call on the storage behind it by :meth:`_call`."""

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage

    @abstractmethod
    def _call(self, call: Callable[[], Result]) -> Result:
        """The result of a call on the storage behind."""

    @override
    def remove_session(self) -> None:
        self._storage.remove_session()
