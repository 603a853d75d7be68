from __future__ import annotations

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

from autoprune.cli import app
from autoprune.config.schema import schema_text, study_schema
from autoprune.config.settings import Config, load_config

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "studies").glob("*.toml"))


@pytest.fixture(scope="module")
def validator() -> jsonschema.protocols.Validator:
    schema = study_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_every_setting_is_in_it_with_its_explanation() -> None:
    properties = study_schema()["properties"]
    for name, field in Config.model_fields.items():
        assert properties[name]["description"] == field.description
        assert properties[name.replace("_", "-")] == properties[name]
    assert "panel" not in schema_text()


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_the_shipped_studies_are_valid(validator: jsonschema.protocols.Validator, file: Path) -> None:
    validator.validate(tomllib.loads(file.read_text()))
    load_config(file, {})


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_the_shipped_studies_have_recorded_results_beside_them(file: Path) -> None:
    assert (file.with_suffix("") / "front.csv").is_file()


@pytest.mark.parametrize(
    "settings",
    [
        {"budget": "latency=50%,30m"},
        {"budget": ["flops=50%", "trials=20"]},
        {"round-to": 8},
        {"round_to": "auto"},
        {"batch-size": 32, "lr": 0.1},
        {"skip": ["head.*"]},
        {"weights": "w.pt"},
    ],
)
def test_what_a_study_may_say_is_valid(
    validator: jsonschema.protocols.Validator, settings: dict[str, object]
) -> None:
    assert validator.is_valid(settings)


@pytest.mark.parametrize(
    "settings",
    [{"batch_size": 0}, {"sampler": "tpee"}, {"lr": "fast"}, {"batchsize": 1}, {"distill": 2}, {"budget": 3}],
)
def test_a_mistake_is_seen(validator: jsonschema.protocols.Validator, settings: dict[str, object]) -> None:
    assert not validator.is_valid(settings)


def test_the_command_prints_or_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "study.schema.json"
    printed = CliRunner().invoke(app, ["schema"]).stdout
    assert json.loads(printed) == study_schema()
    assert CliRunner().invoke(app, ["schema", "-o", str(file)]).stdout == f"wrote {file}\n"
    assert file.read_text() == printed
