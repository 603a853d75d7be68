"""Studies of which anything may have been changed, and artifact folders in which anything may lie."""

from __future__ import annotations

import io
import json
import os
import shutil
import zlib
from collections.abc import Container, Iterator, Mapping
from copy import deepcopy
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import malformed
import optuna
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import FrozenTrial, TrialState, create_trial

from autoprune import review
from autoprune.errors import StudyError
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.review.publish import artifact_store
from autoprune.review.report import report_html
from autoprune.review.words import study_text, trial_text
from autoprune.structure import Plan
from autoprune.study.artifacts import kept_plan, study_folder
from autoprune.utils.console import PlainConsole
from autoprune.utils.printable import printable

STUDY = json.loads((Path(__file__).parent / "study.json").read_text())
"""What a search recorded."""
WITH_PAGES = 16
"""One input in this many is also rendered as a report, which is slow."""
_STATES = {state.name: state for state in TrialState}
_BEGUN = datetime(2026, 1, 1)
optuna.logging.set_verbosity(optuna.logging.ERROR)


class Recorded(optuna.Study):
    """A study whose trials and attributes are not in its storage, where nothing malformed could be put."""

    def __init__(self, attributes: Mapping[str, Any], trials: list[FrozenTrial]) -> None:
        vars(self).update(vars(_empty()))
        self._attributes, self._seen = dict(attributes), trials

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [trial for trial in self._seen if states is None or trial.state in states]

    @property
    def user_attrs(self) -> dict[str, Any]:
        """The study's attributes."""
        return self._attributes


@cache
def _empty() -> optuna.Study:
    return optuna.create_study(study_name="study", directions=["maximize", "minimize"])


def study_of(document: object) -> Recorded:
    """The study of a document, as far as a database can hold one; raises StudyError for anything else."""
    if not isinstance(document, dict) or not isinstance(document.get("study"), dict):
        raise StudyError("no study")
    rows = document.get("trials")
    found = [_trial(number, row) for number, row in enumerate(rows if isinstance(rows, list) else [])]
    return Recorded(document["study"], found)


def _trial(number: int, row: object) -> FrozenTrial:
    known: dict[str, Any] = row if isinstance(row, dict) else {}
    state = known.get("state")
    values = known.get("values")
    begun = _BEGUN + timedelta(seconds=number)
    return FrozenTrial(
        number=number,
        state=_STATES.get(state, TrialState.FAIL) if isinstance(state, str) else TrialState.FAIL,
        value=None,
        values=[_value(value) for value in values] if isinstance(values, list) and values else None,
        datetime_start=begun,
        datetime_complete=begun + timedelta(seconds=1),
        params=_object(known.get("params")),
        distributions={},
        user_attrs=_object(known.get("user")),
        system_attrs=_object(known.get("system")),
        intermediate_values={},
        trial_id=number,
    )


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _value(value: object) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e300 else float("nan")


def read_study(content: bytes, folder: Path) -> None:
    """Everything that shows a study: tables, lines, notes and, of some, the report."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise StudyError("no JSON") from None
    study, failed = study_of(document), []
    readers = [_tables, _explanation, _notes]
    if zlib.crc32(content) % WITH_PAGES == 0:
        readers.append(_page)
    for reader in readers:
        try:
            reader(study)
        except Exception as error:
            failed.append(error)
    if failed:
        # What is no error of ours counts first.
        raise min(failed, key=lambda error: type(error).__module__ == "autoprune.errors")


def _shown(*parts: Any) -> None:
    file = io.StringIO()
    console = PlainConsole(file=file, width=100)
    for part in parts:
        console.print(part)
    text = file.getvalue()
    assert text == printable(text, keep="\n"), "the terminal would obey what a study says"


def _tables(study: Recorded) -> None:
    found = review.summary(study)
    frame = review.front(study)
    _shown(review.headline(found), review.front_table(frame, found, width=100), *review.health_lines(study))
    _shown(review.stages_table(study))
    json.loads(review.to_json(frame))
    review.to_csv(frame)
    review.study_html(study)


def _explanation(study: Recorded) -> None:
    told = review.explain(study)
    _shown(review.explanation_table(told))
    json.dumps(told.as_dict())


def _notes(study: Recorded) -> None:
    study_text(study, "study.db", [])
    for trial in review.chosen_trials(study, "front"):
        trial_text(study, "study.db", trial)


def _page(study: Recorded) -> None:
    page = report_html(study, "study.db")
    assert "<img" not in page and "<b>" not in page, "the report shows what a study says as HTML"


_WEIRD = [
    "\x1b[2J",
    "<img src=x>",
    "<b>",
    "\u202e",
    "[bold]",
    "2020",
    -1,
    -1.5,
    1e308,
    2**70,
    0,
]
"""What a number or a text is replaced by, beside any JSON."""


@st.composite
def changed_studies(draw: DrawFn) -> bytes:
    """A study with one to three attributes of a trial, of the study or of its record changed."""
    document = deepcopy(STUDY)
    for _ in range(draw(st.integers(1, 3))):
        trials = [trial for trial in document["trials"] if isinstance(trial, dict)]
        holders = [document["study"], document["study"].get("autoprune")]
        holders += [trial.get(part) for trial in trials for part in ("user", "user", "system", "params")]
        holder = draw(st.sampled_from([holder for holder in holders if isinstance(holder, dict) and holder]))
        key = draw(st.sampled_from(list(holder)))
        within = holder[key]
        if isinstance(within, dict) and within and draw(st.booleans()):
            holder, key = within, draw(st.sampled_from(list(within)))
        what = draw(st.sampled_from(["replace", "replace", "replace", "delete", "rename"]))
        if what == "replace":
            holder[key] = draw(st.sampled_from(_WEIRD) | malformed.JSON)
        else:
            value = holder.pop(key)
            if what == "rename":
                holder[draw(st.sampled_from(["", "\x1b]0;x\x07", "<img>", "é", "x" * 5000]))] = value
    return json.dumps(document).encode()


def studies() -> SearchStrategy[bytes]:
    """Studies changed by attribute, and by any value in them."""
    return st.one_of(changed_studies(), changed_studies(), malformed.changed(STUDY))


def nasty_studies() -> Iterator[bytes]:
    """Attributes that are texts, too large, too many or not finite."""
    values: tuple[Any, ...] = (
        None,
        -1.5,
        [1],
        float("nan"),
        float("inf"),
        10**400,
        "x" * 10**6,
        True,
        {"a": {}},
    )
    for key in (*STUDY["trials"][0]["user"], "duplicate_of", "untrained", "stopped_at", "nonzero_ratio"):
        for value in values:
            document = deepcopy(STUDY)
            document["trials"][0]["user"][key] = value
            yield json.dumps(document).encode()
    for key in STUDY["study"]:
        for value in values:
            yield json.dumps({**STUDY, "study": {**STUDY["study"], key: value}}).encode()
    many = {**STUDY["study"]["autoprune"], "groups": {str(i): 8 for i in range(200_000)}}
    yield json.dumps({**STUDY, "study": {**STUDY["study"], "autoprune": many}}).encode()
    yield json.dumps({**STUDY, "trials": []}).encode()


PLAN = Plan({"0": (0, 2)})
PLACES = (
    *("autoprune_artifacts", "autoprune_artifacts/study", "autoprune_artifacts/.dashboard"),
    *("autoprune_artifacts/study/trial-0.plan.json", "autoprune_artifacts/study/trial-1.plan.json"),
    *("autoprune_artifacts/study/trial-0.safetensors", "autoprune_artifacts/study/original.safetensors"),
    *("autoprune_artifacts/.dashboard/{key0}", "autoprune_artifacts/.dashboard/{key1}"),
)
KINDS = ("link", "link", "hard link", "pipe", "folder", "file", "link to nothing", "link to a folder", "loop")
SECRET = "SECRET: the key of a user"


def folders() -> SearchStrategy[bytes]:
    """Which of the places in a folder hold something else than a search put there."""
    what = st.fixed_dictionaries(
        {
            "at": st.sampled_from(PLACES),
            "kind": st.sampled_from(KINDS),
            "text": st.sampled_from(["", "x", SECRET, PLAN.to_json()]) | st.text(max_size=20),
        }
    )
    rows = st.lists(what, min_size=1, max_size=3)
    numbers = st.sampled_from([0, 1, 7, -1, "../0", "0", 2**70, None, 1.0])
    return st.tuples(rows, numbers).map(lambda both: json.dumps(both).encode())


def nasty_folders() -> Iterator[bytes]:
    """Every kind in every place."""
    for at in PLACES:
        for kind in dict.fromkeys(KINDS):
            yield json.dumps([[{"at": at, "kind": kind, "text": SECRET}], 0]).encode()


@cache
def _published() -> optuna.Study:
    """A study whose trials are offered with their plans, in memory."""
    study = optuna.create_study(study_name="study", directions=["maximize", "minimize"])
    study.set_user_attr("autoprune", STUDY["study"]["autoprune"])
    for row in STUDY["trials"][:2]:
        trial = create_trial(
            values=row["values"], user_attrs={**row["user"], "plan": PLAN.hash}, system_attrs=row["system"]
        )
        study.add_trial(trial)
    return study


def read_folder(content: bytes, folder: Path) -> None:
    """Publish a study into a folder, serve its files, and read and write weights there."""
    try:
        rows, number = json.loads(content)
    except (ValueError, TypeError):
        raise StudyError("no description of a folder") from None
    place = folder / "place"
    shutil.rmtree(place, ignore_errors=True)
    outside = place / "outside"
    outside.mkdir(parents=True)
    for name in ("key", "trial-0.plan.json", "trial-0.safetensors"):
        (outside / name).write_text(SECRET)
    url = f"sqlite:///{place / 'inside' / 'study.db'}"
    _lay(place / "inside", rows, outside)
    before = _seen(outside)
    try:
        _use(url, number)
    finally:
        assert _seen(outside) == before, "a file outside was changed"


def _use(url: str, number: object) -> None:
    study = _published()
    failed = []
    for use in (
        lambda: review.publish(study, url),
        lambda: _store(url, number),
        lambda: _weights(url),
    ):
        try:
            use()
        except Exception as error:
            failed.append(error)
    for key in _keys():
        try:
            with artifact_store(url).open_reader(key) as file:
                assert file.read().decode(errors="replace") != SECRET or _lies_there(url, key)
        except (ArtifactNotFound, StudyError):
            continue
    if failed:
        raise min(failed, key=lambda error: type(error).__module__ == "autoprune.errors")


def _store(url: str, number: object) -> None:
    kept_plan(study_folder(url, "study"), number)


def _weights(url: str) -> None:
    store = WeightStore.beside(url, "study")
    model = malformed.network()
    store.plan(0)
    store.load(0, model)
    store.save(0, model, PLAN)
    store.save_original(model)
    assert store.plan(0) == PLAN and store.load(0, model)


@cache
def _keys() -> tuple[str, ...]:
    """Names of the plans that are offered: a study's name and a number make them."""
    import uuid

    return tuple(str(uuid.uuid5(uuid.NAMESPACE_URL, f"study/{number}/plan.json")) for number in (0, 1))


def _lies_there(url: str, key: str) -> bool:
    """Whether the file itself holds that text, as one that a reader has put there may."""
    file = artifact_store(url).folder.path / key
    return not file.is_symlink() and file.stat().st_nlink == 1


def _lay(inside: Path, rows: list[dict[str, str]], outside: Path) -> None:
    """Put what the rows say where they say."""
    own = inside / "autoprune_artifacts" / "study"
    own.mkdir(parents=True)
    (own.parent / ".dashboard").mkdir()
    (own / "trial-0.plan.json").write_text(PLAN.to_json())
    for row in rows:
        key0, key1 = _keys()
        at = inside / row["at"].format(key0=key0, key1=key1)
        if not at.parent.is_dir() or at.parent.resolve() == outside:
            continue
        if at.is_dir() and not at.is_symlink():
            shutil.rmtree(at)
        at.unlink(missing_ok=True)
        _make(at, row["kind"], row["text"], outside)


def _make(at: Path, kind: str, text: str, outside: Path) -> None:
    match kind:
        case "link":
            at.symlink_to(outside / "key")
        case "hard link":
            os.link(outside / "key", at)
        case "pipe":
            os.mkfifo(at)
        case "folder":
            at.mkdir()
        case "link to nothing":
            at.symlink_to(outside / "new")
        case "link to a folder":
            at.symlink_to(outside)
        case "loop":
            at.symlink_to(at)
        case _:
            at.write_text(text, errors="replace")


def _seen(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}
