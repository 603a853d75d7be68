"""What settings name is read in one place, and code is loaded in one place."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import autoprune
from autoprune.config.references import (
    PARSERS,
    CriterionName,
    FileCode,
    LearnedFile,
    ModuleCode,
    Named,
    OwnObject,
    Price,
    Program,
    Quality,
    parse_criterion,
    parse_data,
    parse_model,
    parse_quality,
    parse_runtime,
)
from autoprune.config.settings import NAMES_CODE, Config
from autoprune.config.user_code import Permit, load_object
from autoprune.cost import named_runtime
from autoprune.criteria import named_criterion
from autoprune.errors import CriterionError, TrustError, UserError
from autoprune.tasks.datasets.sources import load_named_data
from autoprune.tasks.models import build_named_model
from autoprune.tasks.objective import objective_of

SOURCES = Path(autoprune.__file__).parent
EVIL = FileCode("evil.py", "f")
TEXTS = [
    *("torchvision:resnet18", "timm:x:y", "a.b:net", "dir/a b.py:net", "autoprune.tasks.zoo:resnet20"),
    *("autoprune.tasks.zoo:x/evil.py:model", "mnist:", "mnist:a:b", "digits", "imagefolder:photos,size=3"),
    *("accuracy@gaussian:0.1", "@gaussian:1", "a.py:M@x@salt:1", "x@y/evil.py:M", "f1@", ""),
    *("l2/flops^0.50/params", "evil.py:f/flops/params/size", "c.json/flops^1", "group-norm:p=1,q=/x.py:f"),
    *("a:x=/y.py:f", "l2/flops^", "eager", "command:run {file}", "command:", ":", "évil:çode", "a\nb.py:f"),
]


@pytest.mark.parametrize("setting", NAMES_CODE)
def test_a_reference_is_written_as_it_was_read(setting: str) -> None:
    for text in TEXTS:
        assert str(PARSERS[setting](text)) == text


def test_what_each_form_is_read_as() -> None:
    assert parse_model("torchvision:a.py:b") == Named("torchvision", "a.py:b")
    assert parse_model("autoprune.tasks.zoo:resnet20") == OwnObject("resnet20")
    assert parse_model("autoprune.tasks.zoo:x/evil.py:f") == FileCode("autoprune.tasks.zoo:x/evil.py", "f")
    assert parse_model("autoprune.tasks.zoo.x:f") == ModuleCode("autoprune.tasks.zoo.x", "f")
    assert parse_data("imagefolder:a.py:b") == Named("imagefolder", "a.py:b")
    assert parse_data("evil.py:f") == EVIL
    assert parse_quality("evil.py:f@gaussian:0.1") == Quality(EVIL, "gaussian:0.1")
    assert parse_quality("x@y/evil.py:f") == Quality(FileCode("x@y/evil.py", "f"))
    assert parse_criterion("evil.py:f/flops/params^2") == CriterionName(
        EVIL, (Price("flops"), Price("params", "2"))
    )
    assert parse_criterion("a.json/size") == CriterionName(LearnedFile("a.json"), (Price("size"),))
    assert parse_criterion("l2:p=/evil.py:f") == CriterionName(Named("l2", "p=/evil.py:f"))
    assert parse_runtime("command:rm -r x") == Program("rm -r x")


def test_the_settings_that_name_code_are_those_that_are_checked() -> None:
    """A new setting is either read by a parser, which the check goes through, or known to lead to no code."""
    texts = {
        name
        for name, field in Config.model_fields.items()
        if "str" in str(field.annotation).replace("Constr", "")
    }
    harmless = {
        *("weights", "device", "granularity", "storage", "study", "address"),
        *("skip", "only", "bounds", "budget"),
    }
    assert texts == {*NAMES_CODE, *harmless}
    assert set(Config().references.__dataclass_fields__) == set(NAMES_CODE)


@pytest.mark.parametrize("setting", NAMES_CODE)
def test_every_such_setting_is_found_to_lead_to_code(setting: str) -> None:
    text = "command:evil" if setting == "runtime" else "evil.py:f"
    config = Config(**{setting: (text,) if setting in ("mix", "objective") else text})
    reference = PARSERS[setting](text)
    assert config.permit == Permit.naming(reference)
    assert config.named[setting] == (reference,)
    # Another text in a copy is not permitted.
    assert Config().model_copy(update={setting: text}).permit == Permit()


@pytest.mark.parametrize(
    "load",
    [
        lambda: load_object(EVIL, Permit(), "model"),
        lambda: build_named_model(EVIL, Permit()),
        lambda: load_named_data(EVIL, Permit.naming(FileCode("evil.py", "g"))),
        lambda: named_criterion(parse_criterion("evil.py:f/flops"), Permit()),
        lambda: named_runtime(Program("true"), Permit()),
        lambda: objective_of(Quality(EVIL), Permit()).task(autoprune.tasks.classification(3)),
    ],
)
def test_nothing_is_loaded_without_a_permit(load, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    Path("evil.py").write_text("open('ran', 'w')\ndef f(): pass\ng = f\n")
    with pytest.raises(TrustError, match="is code that you did not name"):
        load()
    assert not Path("ran").exists()


def test_of_the_package_itself_only_what_its_zoo_defines_is_offered() -> None:
    assert load_object(OwnObject("resnet20"), Permit(), "model").__name__ == "resnet20"
    for name in ("torch", "nn", "functional", "SYMBOLS", "__import__", "gone"):
        with pytest.raises(UserError, match=f"has no '{name}'"):
            load_object(OwnObject(name), Permit(), "model")


def test_a_name_that_looks_like_code_is_not_registered() -> None:
    for name in ("net.py:score", "a:b=c", "c.json", "l2/flops", ""):
        with pytest.raises(CriterionError, match="cannot be registered"):
            autoprune.register_criterion(name)


LOADS = {"import_module", "spec_from_file_location", "exec_module", "__import__", "run_path", "run_module"}
STARTS = {"Popen", "system", "popen", "execv", "execvp", "execve", "spawnv", "check_output", "check_call"}
CALLED = {"eval", "exec", "compile", "__import__"}
LOADERS = {
    "__init__.py": "names of the package's own modules",
    "config/user_code.py": "behind the permit",
    "tasks/models.py": "timm",
    "export/formats/factory.py": "slim modules, and a file that was written a moment ago",
    "export/checks/run_python.py": "a file that was written a moment ago",
    "engines/process.py": "workers",
    "utils/start.py": "what a child process was started for",
    "export/parity.py": "checks of exported files",
    "cost/latency/device_fingerprint.py": "sysctl",
    "study/record.py": "a field that is called system",
    "cost/latency/runtimes/command.py": "words that a permit gave out",
}
CONFIGS = {
    *("workflows/search_arguments.py", "study/trust.py", "cli/search.py", "cli/model.py", "cli/init.py"),
    *("config/settings.py", "config/override.py"),
}


def _uses(file: Path) -> set[str]:
    """The functions that a file names or calls: of modules as ``name``, built in as ``name()``."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    called = {
        f"{node.func.id}()"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    run = {
        "Popen"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "subprocess"
    }
    return names | called | run


def test_code_is_loaded_and_programs_are_started_nowhere_else() -> None:
    wanted = LOADS | STARTS | {f"{name}()" for name in CALLED}
    found = {str(file.relative_to(SOURCES)) for file in SOURCES.rglob("*.py") if _uses(file) & wanted}
    assert found == set(LOADERS)


def test_settings_become_a_config_where_the_user_names_them_or_after_the_check() -> None:
    makers = {"load_config()", "Config()"}
    found = {str(file.relative_to(SOURCES)) for file in SOURCES.rglob("*.py") if _uses(file) & makers}
    found |= {
        str(f.relative_to(SOURCES)) for f in SOURCES.rglob("*.py") if "Config.model_validate" in f.read_text()
    }
    assert found == {*CONFIGS, "pruning_search/persistence/study.py"}  # whose defaults are compared


def test_no_other_module_reads_the_text_of_a_reference() -> None:
    elsewhere = {
        'rpartition(":")': {
            # Entries of a weights file, hosts, and a title.
            *("config/weights_file.py", "storages/address.py", "engines/ray.py"),
            "pruning_search/persistence/study.py",
        },
        'endswith(".py")': set(),
        'rpartition("@")': set(),
        '"command:"': {"cli/completion.py"},
    }
    for text, others in elsewhere.items():
        found = {str(f.relative_to(SOURCES)) for f in SOURCES.rglob("*.py") if text in f.read_text()}
        assert found == {"config/references.py", *others}, text


def test_the_working_folder_is_looked_in_once_the_user_names_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("json", "own_helper_of_net"):
        (tmp_path / f"{name}.py").write_text("open('ran_' + __name__, 'w')\n")
    (tmp_path / "own_net.py").write_text("import json, own_helper_of_net\ndef make(): pass\n")
    run = "import atexit, os, sys; atexit.register(lambda: print(os.getcwd() in sys.path, file=sys.stderr)); "
    run += "from autoprune.cli import main; sys.argv = ['autoprune', 'schema']; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", run],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCES.parent)},
    )
    assert (done.returncode, done.stderr.strip()) == (0, "False")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    code = parse_model("own_net:make")
    assert isinstance(code, ModuleCode)
    assert callable(load_object(code, Permit.naming(code), "model"))
    assert [file.name for file in tmp_path.glob("ran_*")] == ["ran_own_helper_of_net"]
