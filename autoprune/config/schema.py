"""The JSON schema of study files, by which editors complete and check them."""

from __future__ import annotations

import json
from typing import Any

from autoprune.config.settings import LISTS, Config

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def study_schema() -> dict[str, Any]:
    """The schema of a study file: every setting with its explanation, default and bounds.

    A study file may write a name with ``-`` or with ``_``; both are in it.
    """
    made = Config.model_json_schema()
    properties: dict[str, Any] = {}
    for name, entry in made["properties"].items():
        known = {key: value for key, value in entry.items() if key not in ("panel", "title")}
        if name in ("budget", "round_to", *LISTS):
            known["anyOf"] = [*known.pop("anyOf", [_without_words(known)]), {"type": "string"}]
            known = {key: value for key, value in known.items() if key in (*_WORDS, "anyOf")}
        properties[name] = known
        if "_" in name:
            properties[name.replace("_", "-")] = known
    return {
        "$schema": DIALECT,
        "title": "autoprune study",
        "description": "The settings of a search: autoprune search STUDY.toml",
        "type": "object",
        "properties": dict(sorted(properties.items())),
        "additionalProperties": False,
    }


_WORDS = ("description", "default")


def _without_words(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in _WORDS}


def schema_text() -> str:
    """The schema as JSON."""
    return json.dumps(study_schema(), indent=2) + "\n"
