"""The keys of studies' and trials' attributes stand in one module."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import autoprune

PACKAGE = Path(autoprune.__file__).parent
BELOW = ("storages",)
"""Folders that may not import `study`, which they lie below."""
SETTERS = {"set_user_attr": 0, "set_study_user_attr": 1, "set_trial_user_attr": 1}
"""Methods that store an attribute -> the place of the key among their arguments."""


def _keys(tree: ast.Module) -> Iterator[ast.expr]:
    """The expressions that name an attribute which is written, read or looked for."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=method), args=args) if method in SETTERS:
                yield from args[SETTERS[method] :][:1]
                yield from (word.value for word in node.keywords if word.arg == "key")
            case ast.Call(func=ast.Attribute(value=owner, attr="get" | "pop"), args=[key, *_]):
                if _holds_attributes(owner):
                    yield key
            case ast.Subscript(value=owner, slice=key) if _holds_attributes(owner):
                yield key
            case ast.Compare(left=key, comparators=[owner]) if _holds_attributes(owner):
                yield key
            case ast.keyword(arg="user_attrs", value=ast.Dict(keys=keys)):
                yield from (key for key in keys if key is not None)


def _holds_attributes(node: ast.expr) -> bool:
    match node:
        case ast.Attribute(attr="user_attrs"):
            return True
        case ast.Call(func=ast.Attribute(attr="get_study_user_attrs" | "get_trial_user_attrs")):
            return True
    return False


def _spelled(source: str) -> list[str]:
    """Keys that a source spells as texts."""
    return [
        f"line {key.lineno}: {ast.unparse(key)}"
        for key in _keys(ast.parse(source))
        if isinstance(key, ast.Constant | ast.JoinedStr)
    ]


def test_the_keys_of_attributes_are_spelled_in_one_module() -> None:
    found = {
        str(path.relative_to(PACKAGE)): spelled
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] not in BELOW and path != PACKAGE / "study" / "attributes.py"
        if (spelled := _spelled(path.read_text(encoding="utf-8")))
    }
    assert not found, "import these keys from autoprune.study.attributes"


@pytest.mark.parametrize(
    "source",
    [
        'trial.set_user_attr("widths", {})',
        'study.set_user_attr(key="ready", value=True)',
        'storage.set_trial_user_attr(number, "reason", why)',
        'trial.user_attrs["plan"]',
        'trial.user_attrs.get("plan", None)',
        '"plan" in trial.user_attrs',
        'storage.get_study_user_attrs(number).get("autoprune")',
        'study.enqueue_trial({}, user_attrs={"origin": who})',
        'study.set_user_attr(f"wall_seconds:{name}", 1.0)',
    ],
)
def test_a_spelled_key_is_found(source: str) -> None:
    assert len(_spelled(source)) == 1
    assert not _spelled("trial.set_user_attr(WIDTHS, {}), trial.user_attrs[PLAN], settings.get('plan')")
