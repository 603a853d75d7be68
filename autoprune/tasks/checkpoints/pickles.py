"""Interpret a pickle without creating its objects, to bound their memory."""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

_VIEWS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3")
"""Functions that build a tensor from a storage, an offset, a shape and strides."""
_TYPED = "_rebuild_from_type_v2"
"""Calls one of them, and sets attributes of the tensor."""
_WITH_STATE = "_rebuild_parameter_with_state"
"""Gives a parameter attributes, which may put another tensor in its place."""
_ANY_COUNT = 1 << 62
"""Elements of a tensor with attributes: it is kept as it is, but nothing may go through its elements."""
_FREE = (
    *("device", "complex", "_get_layout"),
    *("_rebuild_meta_tensor_no_storage", "_rebuild_parameter", "Parameter"),
)
_COPYING = ("OrderedDict", "Counter", "set", "Size", "encode", "_rebuild_sparse_tensor")
_CODECS = ("latin1", "latin-1")
"""Pickles write bytes as text in this code; others make it longer."""
_ELEMENT = {
    **dict.fromkeys(("DoubleStorage", "LongStorage", "ComplexFloatStorage"), 8),
    **dict.fromkeys(("FloatStorage", "IntStorage", "QInt32Storage"), 4),
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
    "ComplexDoubleStorage": 16,
}
"""Type of a storage -> bytes per element; elements of other types have one byte."""
_MOST_COPIES, _SPARE_BYTES = 8, 1 << 20
"""Bytes that calls may copy per byte of the file, and in addition."""
_OBJECT_EACH, _SPARE_OBJECTS = 8, 1 << 17
"""Bytes of the file per object that it may create, and the number of additional objects."""
_POINTER, _WIDEST_NUMBER = 16, 16


def follow_pickle(file: IO[bytes], limits: Limits) -> None:
    """Interpret one pickle to its end, as PyTorch's weights-only reader does.

    Args:
        file: read from its current position to the end of the pickle.
        limits: the limits, shared by all pickles of a file.

    Raises:
        ValueError: if its objects need more memory than the file's size allows, or are invalid.
        pickle.UnpicklingError: if it creates anything other than tensors and plain Python objects; the
            message names it.
    """
    _Walk(file, limits).run()


@dataclass
class Limits:
    """The remaining limits of one file's pickles.

    Attributes:
        size: bytes of the file.
        safe: names of the classes that torch may create besides its own.
        copied: bytes that calls have copied so far.
        objects: number of objects created so far.
        stored: bytes of all storages so far.
        storages: key -> type and bytes of a storage.
    """

    size: int
    safe: frozenset[str]
    copied: int = 0
    objects: int = 0
    stored: int = 0
    storages: dict[object, tuple[str, int]] = field(default_factory=dict)

    def make(self) -> None:
        """Count an object."""
        self.objects += 1
        if self.objects > _SPARE_OBJECTS + self.size // _OBJECT_EACH:
            raise ValueError("more objects than go with its size")

    def copy(self, count: int) -> None:
        """Count the bytes that a call copies."""
        self.copied += count
        if self.copied > _MOST_COPIES * self.size + _SPARE_BYTES:
            raise ValueError("calls that copy more than it holds")

    def store(self, key: object, kind: str, count: int) -> None:
        """Count the bytes of a storage; a key always refers to the same one."""
        known = self.storages.get(key)
        if known is None:
            self.storages[key] = (kind, count)
            self.stored += count
        elif known != (kind, count):
            raise ValueError("two storages of one key")
        if self.stored > self.size:
            raise ValueError("storages longer than the file")


@dataclass(slots=True, eq=False)
class _Value:
    """A placeholder for an object on a pickle's stack.

    Attributes:
        name: name of a global.
        literal: a number or a string.
        items: items of a container; alternating keys and values for a mapping.
        count: number of elements of a storage or a tensor.
        copied: bytes that were copied to make it, at most.
    """

    name: str = ""
    literal: object = None
    items: Sequence[_Value] | None = None
    count: int = 0
    copied: int = 0

    @property
    def weight(self) -> int:
        """Maximum bytes of a shallow copy."""
        text = 2 * len(self.literal) if isinstance(self.literal, str | bytes) else 0
        return text + _POINTER * len(self.items or ()) + _WIDEST_NUMBER * self.count + self.copied

    @property
    def numbers(self) -> list[int]:
        """The items, which must be whole numbers of at least 0."""
        numbers = [item.literal for item in self.items or ()]
        if any(type(number) is not int or number < 0 for number in numbers):
            raise ValueError("a shape that is none")
        return numbers  # type: ignore[return-value]


class _Walk:
    """Interprets a pickle like PyTorch's reader, but tracks only sizes.

    It supports exactly the operations of that reader.
    """

    def __init__(self, file: IO[bytes], limits: Limits) -> None:
        self._file, self._limits = file, limits
        self._stack: list[_Value | None] = []
        self._memo: dict[int, _Value] = {}

    def run(self) -> None:
        """Interpret the pickle to its end. Raises what :func:`follow_pickle` raises."""
        for operation, argument, _ in pickletools.genops(self._file):
            if operation.name == "STOP":
                return
            self._limits.make()
            step = _STEPS.get(operation.name)
            if step is None:
                raise pickle.UnpicklingError(f"{operation.name} of another pickle protocol")
            step(self, argument)
        raise ValueError("a pickle without an end")

    def push(self, value: _Value) -> None:
        self._stack.append(value)

    def literal(self, argument: object) -> None:
        self.push(_Value(literal=argument))

    def container(self, _: object) -> None:
        self.push(_Value(items=()))

    def name(self, argument: str) -> None:
        self.push(_Value(name=argument.replace(" ", ".")))

    def mark(self, _: object) -> None:
        self._stack.append(None)

    def remember(self, place: int) -> None:
        self._memo[place] = self._top()

    def recall(self, place: int) -> None:
        if place not in self._memo:
            raise ValueError("an object that was never made")
        self.push(self._memo[place])

    def extend(self, _: object) -> None:
        self._grow(self._pop_marked())

    def extend_by(self, count: int) -> None:
        self._grow(self._pop_some(count))

    def pack(self, _: object) -> None:
        self.push(_Value(items=self._pop_marked()))

    def pack_some(self, count: int) -> None:
        self.push(_Value(items=self._pop_some(count)))

    def build(self, _: object) -> None:
        """State goes into the attributes of the object below it, which must be one that keeps plain values.

        That of a tensor could give it more elements than its storage has.
        """
        state, target = self._pop(), self._top()
        if target.items is None:
            raise pickle.UnpicklingError(target.name or "state of what is no container")
        self._limits.copy(state.weight)

    def call(self, _: object) -> None:
        arguments, function = self._pop(), self._pop()
        self.push(self._called(function.name, arguments.items or []))

    def storage(self, _: object) -> None:
        """A storage is identified by a tuple: a word, its type, key, device, and number of elements."""
        items = self._pop().items or []
        count = items[4].literal if len(items) >= 5 else None
        if not isinstance(count, int) or count < 0:
            raise ValueError("a storage that is none")
        kind = items[1].name.rpartition(".")[2]
        self._limits.store(items[2].literal, kind, count * _ELEMENT.get(kind, 1))
        self.push(_Value(count=count))

    def _called(self, name: str, arguments: Sequence[_Value]) -> _Value:
        short = name.rpartition(".")[2]
        if short in _VIEWS:
            return _tensor(arguments)
        if short == _TYPED and len(arguments) >= 3 and arguments[0].name.rpartition(".")[2] in _VIEWS:
            _tensor(arguments[2].items or [])
            return _Value(count=_ANY_COUNT)
        if short == _WITH_STATE:
            return _Value(count=_ANY_COUNT)
        if short == "encode" and [argument.literal in _CODECS for argument in arguments[1:]] != [True]:
            raise pickle.UnpicklingError(name)
        if short in _COPYING or name in self._limits.safe:
            parts = [part for argument in arguments for part in (argument, *(argument.items or ()))]
            copied = sum(part.weight for part in parts)
            self._limits.copy(copied)
            return _Value(items=[*arguments], copied=copied)
        if short in _FREE:
            return _Value(count=sum(argument.count for argument in arguments))
        raise pickle.UnpicklingError(name or "a call of what is no function")

    def _grow(self, items: list[_Value]) -> None:
        target = self._top()
        if target.items is None:
            raise ValueError("items of what is no container")
        if not isinstance(target.items, list):
            target.items = [*target.items]
        target.items.extend(items)

    def _top(self) -> _Value:
        if not self._stack or self._stack[-1] is None:
            raise ValueError("an empty stack")
        return self._stack[-1]

    def _pop(self) -> _Value:
        value = self._top()
        self._stack.pop()
        return value

    def _pop_some(self, count: int) -> list[_Value]:
        return [self._pop() for _ in range(count)][::-1]

    def _pop_marked(self) -> list[_Value]:
        items = []
        while self._stack and self._stack[-1] is not None:
            items.append(self._pop())
        if not self._stack:
            raise ValueError("items without a beginning")
        self._stack.pop()
        return items[::-1]


def _tensor(arguments: Sequence[_Value]) -> _Value:
    """A tensor from a storage, an offset, a shape and strides. Raises ValueError beyond the storage's end."""
    if len(arguments) < 4 or type(arguments[1].literal) is not int:
        raise ValueError("a tensor that is none")
    storage, shape, strides = arguments[0], arguments[2].numbers, arguments[3].numbers
    count = 1
    for extent in shape:
        count *= extent
    last = arguments[1].literal + sum(
        (extent - 1) * stride for extent, stride in zip(shape, strides, strict=True)
    )
    if count and not 0 <= last < storage.count:
        raise ValueError("a tensor beyond the end of its storage")
    return _Value(count=count)


_STEPS: dict[str, Callable[[_Walk, Any], None]] = {
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), _Walk.literal),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINSTRING", "NONE"), _Walk.literal),
    "NEWTRUE": lambda walk, _: walk.literal(True),
    "NEWFALSE": lambda walk, _: walk.literal(False),
    **dict.fromkeys(("EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"), _Walk.container),
    "GLOBAL": _Walk.name,
    "MARK": _Walk.mark,
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _Walk.remember),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _Walk.recall),
    **dict.fromkeys(("APPENDS", "SETITEMS"), _Walk.extend),
    "APPEND": lambda walk, _: walk.extend_by(1),
    "SETITEM": lambda walk, _: walk.extend_by(2),
    "TUPLE": _Walk.pack,
    "TUPLE1": lambda walk, _: walk.pack_some(1),
    "TUPLE2": lambda walk, _: walk.pack_some(2),
    "TUPLE3": lambda walk, _: walk.pack_some(3),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _Walk.call),
    "BUILD": _Walk.build,
    "BINPERSID": _Walk.storage,
    "PROTO": lambda walk, _: None,
}
"""Operation of a pickle -> what it does to the stack."""
