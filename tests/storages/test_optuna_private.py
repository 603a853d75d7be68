"""What is used of Optuna beside its public interface is there, and named in one module alone."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import optuna
import optuna_dashboard
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import TrialState

import autoprune
from autoprune.storages import optuna_private
from autoprune.storages.through import Result, ThroughStorage

ROOT = Path(autoprune.__file__).parent
ADAPTER = Path(optuna_private.__file__)
SPACE = {"x": FloatDistribution(0, 1)}

CALLS = {
    "optuna.trial:Trial": "study, trial_id",
    "optuna.samplers._tpe.sampler:_split_trials": "study, trials, n_below",
    "optuna.samplers._tpe.sampler:default_gamma_multiobjective": "x",
    "optuna.samplers:TPESampler._get_internal_repr": "self, trials, search_space, study",
    "optuna.samplers:TPESampler._compute_acquisition_func": "self, samples, mpe_below, mpe_above",
    "optuna.samplers:TPESampler._compare": "samples, acquisition_func_vals",
    "optuna.samplers._tpe.parzen_estimator:_ParzenEstimator": (
        "observations, search_space, parameters, predetermined_weights"
    ),
    "optuna.samplers._tpe.parzen_estimator:_ParzenEstimator.sample": "self, rng, size",
    "optuna.storages._cached_storage:_CachedStorage": "backend",
    "optuna.storages._grpc.servicer:OptunaStorageProxyService": "storage",
    "optuna.storages._grpc.servicer:OptunaStorageProxyService.GetTrials": "self, request, context",
    "optuna.storages._grpc.servicer:_to_proto_trial": "trial",
    "optuna.storages._grpc.auto_generated.api_pb2_grpc:add_StorageServiceServicer_to_server": (
        "servicer, server"
    ),
    "optuna_dashboard._note:get_note_from_system_attrs": "system_attrs, trial_id",
}
"""What is called, and its parameters."""

REQUEST = "a request for trials"
FIELDS: dict[str, tuple[Callable[[Path], object], Sequence[str]]] = {
    "a study": (lambda _: optuna.create_study(), ["_storage", "_study_id"]),
    "a trial": (lambda _: optuna.create_study().ask(), ["_trial_id"]),
    "a finished trial": (lambda _: optuna.trial.create_trial(value=1.0), ["_trial_id"]),
    "a listed study": (lambda _: optuna.create_study()._storage.get_all_studies()[0], ["_study_id"]),
    "a database kept in memory": (lambda _: optuna.storages.get_storage("sqlite://"), ["_backend.engine"]),
    "a journal": (lambda folder: journal(folder / "a.journal"), ["_backend._log_number_offset"]),
    "a lock of a journal": (lambda _: JournalFileSymlinkLock("a.journal"), ["_lock_target_file"]),
    "the sampler TPE": (
        lambda _: TPESampler(),
        ["_parzen_estimator_cls", "_parzen_estimator_parameters", "_rng.rng", "_n_ei_candidates"],
    ),
    REQUEST: (
        lambda _: import_module("optuna.storages._grpc.auto_generated.api_pb2").GetTrialsRequest(),
        ["study_id", "included_trial_ids", "trial_id_greater_than"],
    ),
}
"""What is read of objects."""


def installed(name: str) -> str:
    package = name.partition(".")[0].replace("_", "-")
    return f"{package} {version(package)}"


def field(thing: object, path: str) -> object:
    return reduce(getattr, path.split("."), thing)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def journal(file: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(file)))


@pytest.mark.parametrize("place", CALLS)
def test_what_is_called_takes_what_it_is_given(place: str) -> None:
    module, _, name = place.partition(":")
    if "_grpc" in module:
        pytest.importorskip("grpc", reason="the extra grpc is not installed")
    try:
        found = field(import_module(module), name)
    except (ImportError, AttributeError) as error:
        pytest.fail(f"{installed(module)} has no {name} in {module} any more: {error}")
    taken = ", ".join(inspect.signature(found).parameters)  # type: ignore[arg-type]
    assert taken == CALLS[place], f"{installed(module)} has another {module}.{name}({taken})"


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("what", FIELDS)
def test_what_is_read_is_there(tmp_path: Path, what: str) -> None:
    if what == REQUEST:
        pytest.importorskip("grpc", reason="the extra grpc is not installed")
    made, names = FIELDS[what]
    thing = made(tmp_path)
    for name in names:
        try:
            field(thing, name)
        except AttributeError:
            pytest.fail(f"{what} has no {name} any more in {installed('optuna')}")


def told(study: optuna.Study, count: int) -> optuna.Study:
    for number in range(count):
        trial = study.ask(SPACE)
        study.tell(trial, [number / count, 1 - number / count])
    return study


def test_a_study_and_its_trials_are_found_in_their_storage() -> None:
    storage = InMemoryStorage()
    optuna.create_study(storage=storage).ask()
    study = told(optuna.create_study(storage=storage, directions=["minimize"] * 2), 2)
    assert optuna_private.storage_of(study) is storage
    listed = next(one for one in storage.get_all_studies() if one.study_name == study.study_name)
    assert optuna_private.study_id_of(study) == optuna_private.study_id_of(listed)
    trial = study.ask(SPACE)
    known = storage.get_trial(optuna_private.trial_id_of(trial))
    assert (known.number, optuna_private.trial_id_of(known)) == (2, 3)
    optuna_private.writable_trial(study, known).set_user_attr("seen", 1)
    assert study.trials[2].user_attrs == {"seen": 1}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_what_is_behind_a_storage_is_found(tmp_path: Path) -> None:
    bare = RDBStorage("sqlite://")
    assert optuna_private.database_behind(bare) is bare
    assert isinstance(optuna_private.database_behind(optuna.storages.get_storage("sqlite://")), RDBStorage)
    file = tmp_path / "a.journal"
    kept = journal(file)
    assert optuna_private.database_behind(kept) is optuna_private.journal_behind(bare) is None
    told(optuna.create_study(storage=kept, directions=["minimize"] * 2), 2)
    behind = optuna_private.journal_behind(kept)
    assert behind is not None and kept.get_all_studies()
    assert optuna_private.bytes_read(behind) == file.stat().st_size


def test_parameters_are_drawn_near_those_of_good_trials() -> None:
    study = optuna.create_study(directions=["minimize"] * 2, sampler=optuna.samplers.RandomSampler(1))
    for _ in range(40):
        trial = study.ask(SPACE)
        study.tell(trial, [abs(trial.params["x"] - 0.8)] * 2)
    sampler = TPESampler(seed=0)
    drawn = [optuna_private.drawn_by_tpe(sampler, study, study.trials, SPACE)["x"] for _ in range(10)]
    assert all(0 <= x <= 1 for x in drawn)
    assert sum(abs(x - 0.8) < 0.2 for x in drawn) > 7


def test_notes_of_the_dashboard_are_read() -> None:
    study = told(optuna.create_study(directions=["minimize"] * 2), 1)
    attributes = optuna_private.storage_of(study).get_study_system_attrs(0)
    assert optuna_private.note_in(attributes, None) == ""
    optuna_dashboard.save_note(study, "of the study")
    optuna_dashboard.save_note(optuna_private.writable_trial(study, study.trials[0]), "of a trial")
    attributes = optuna_private.storage_of(study).get_study_system_attrs(0)
    found = [optuna_private.note_in(attributes, number) for number in (None, 0)]
    assert found == ["of the study", "of a trial"]


def test_a_storage_in_front_has_all_methods_of_storages() -> None:
    class Counting(ThroughStorage):
        calls = 0

        def _call(self, call: Callable[[], Result]) -> Result:
            self.calls += 1
            return call()

    for name in BaseStorage.__abstractmethods__:
        mine, theirs = getattr(Counting, name), getattr(BaseStorage, name)
        assert inspect.signature(mine) == inspect.signature(theirs), name
        assert mine.__doc__ == theirs.__doc__, name
    storage = Counting(InMemoryStorage())
    study = told(optuna.create_study(storage=storage, directions=["minimize"] * 2), 3)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3
    before = storage.calls
    assert storage.get_trial(trial_id=0).values == study.trials[0].values
    assert storage.calls == before + 2


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def modules_named(tree: ast.AST) -> Iterator[str]:
    """What a module imports, each name with its module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_names(tree: ast.AST) -> set[str]:
    """What a module defines: functions, classes, variables, and fields of its objects."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


def fields_of_optuna() -> set[str]:
    """The private fields and methods of what Optuna's public objects are made of."""
    folder = Path(optuna.__file__).parent
    return {
        name
        for part in ("study", "trial", "storages", "samplers", "search_space", "artifacts")
        for file in (folder / part).rglob("*.py")
        for name in own_names(ast.parse(file.read_text()))
        if is_private(name)
    }


def private_names(source: str, theirs: set[str]) -> set[str]:
    """What a module names that is private to Optuna or its dashboard."""
    tree = ast.parse(source)
    mine = own_names(tree)
    found = {
        name
        for name in modules_named(tree)
        if name.startswith(("optuna.", "optuna_dashboard.")) and any(map(is_private, name.split(".")))
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr in theirs - mine:
            found.add(ast.unparse(node))
    return found


THEIRS = fields_of_optuna()
# The storage in front of another one has a field of this name, which its subclasses read.
ALLOWED = {"self._storage"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from optuna.study._frozen import FrozenStudy", {"optuna.study._frozen.FrozenStudy"}),
        ("from optuna.study import _frozen", {"optuna.study._frozen"}),
        ("import optuna_dashboard._note", {"optuna_dashboard._note"}),
        ("x = study._storage.get_all_studies()", {"study._storage"}),
        ("class S(TPESampler):\n    def f(self): return self._rng", {"self._rng"}),
        ("class S:\n    def __init__(self): self._rng = 1\n    def f(self): return self._rng", set()),
        ("from optuna.study import Study", set()),
    ],
)
def test_private_names_are_found(source: str, expected: set[str]) -> None:
    assert private_names(source, THEIRS) == expected


def test_no_other_module_names_what_is_private_to_optuna() -> None:
    found = {
        str(file.relative_to(ROOT)): names
        for file in ROOT.rglob("*.py")
        if file != ADAPTER and (names := private_names(file.read_text(), THEIRS) - ALLOWED)
    }
    assert found == {}
    assert private_names(ADAPTER.read_text(), THEIRS)
