"""The layout of the package: imports go down, folders stay small, and nothing runs in a circle."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import autoprune

ROOT = Path(autoprune.__file__).parent
LAYERS = (
    ("errors",),
    ("utils",),
    ("config",),
    ("structure", "storages"),
    ("tasks", "cost"),
    ("criteria",),
    ("recovery", "export"),
    ("study",),
    ("engines",),
    ("pruning_search", "review"),
    ("workflows", "loggers"),
    ("api",),
    ("cli",),
    ("__main__",),
)
"""Folders and modules of the package from the bottom up; each imports from lower layers and itself alone."""
MOST_FILES, MOST_LINES = 20, 450
SEARCH_ROOMS = 10
FILES = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in ROOT.rglob("*.py")}
MODULES = {name.removesuffix(".__init__"): file for name, file in FILES.items() if name != "__init__"}


def imported(file: Path) -> Iterator[str]:
    """The modules of the package that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            inside = name.removeprefix("autoprune.")
            if inside != name:
                yield inside if inside in MODULES else inside.rpartition(".")[0] or inside


IMPORTS = {name: {other for other in imported(file) if other in MODULES} for name, file in MODULES.items()}


def layer(module: str) -> int:
    room = module.partition(".")[0]
    return next(number for number, rooms in enumerate(LAYERS) if room in rooms)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    room = module.partition(".")[0]
    others = {other for other in IMPORTS[module] if other.partition(".")[0] != room}
    assert {other for other in others if layer(other) >= layer(module)} == set()


@pytest.mark.parametrize("depth", [1, 2])
def test_no_folder_is_in_a_circle(depth: int) -> None:
    def room(module: str) -> str:
        return ".".join(module.split(".")[:depth])

    graph: dict[str, set[str]] = {}
    for module, others in IMPORTS.items():
        # A package hands out what its modules define: that is no arrow between them.
        if MODULES[module].name != "__init__.py":
            graph.setdefault(room(module), set()).update({room(other) for other in others} - {room(module)})
    TopologicalSorter(graph).prepare()


def test_settings_and_helpers_do_without_pytorch() -> None:
    for name, file in MODULES.items():
        if name.partition(".")[0] in ("config", "utils", "errors"):
            roots = {
                (alias.name if isinstance(node, ast.Import) else node.module or "").partition(".")[0]
                for node in ast.walk(ast.parse(file.read_text()))
                if isinstance(node, ast.Import | ast.ImportFrom)
                for alias in node.names
            }
            assert not roots & {"torch", "torchvision", "optuna"}, name


def test_folders_and_modules_stay_small() -> None:
    folders = {file.parent for file in FILES.values()}
    assert {f: n for f in folders if (n := len(list(f.glob("*.py")))) > MOST_FILES} == {}
    lines = {name: file.read_text().count("\n") for name, file in FILES.items()}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}
    rooms = {name.split(".")[1] for name in MODULES if name.startswith("pruning_search.")}
    assert len(rooms) <= SEARCH_ROOMS, rooms


def test_folders_of_tests_stay_small() -> None:
    tests = Path(__file__).parent
    folders = {file.parent for file in tests.rglob("*.py")}
    assert {f: n for f in folders if (n := len(list(f.glob("*.py")))) > MOST_FILES} == {}


def test_classes_of_the_search_have_names_of_their_own() -> None:
    places: dict[str, list[str]] = {}
    for module, file in MODULES.items():
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(module)
    shared = {name: modules for name, modules in places.items() if len(modules) > 1}
    assert {n: m for n, m in shared.items() if any(x.startswith("pruning_search.") for x in m)} == {}
