"""The audit: a known vulnerability fails a build, and nothing else does."""

import json
import runpy
from pathlib import Path

import pytest

AUDIT = runpy.run_path(str(Path(__file__).parents[1] / ".ci" / "audit.py"))
SOUND = {"name": "click", "version": "8.5.1", "vulns": []}
VULNERABLE = {"name": "pillow", "version": "13.0.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["13.0.1"]}]}
UNKNOWN = {"name": "numpy", "skip_reason": "not found"}


def test_a_vulnerability_is_named_with_what_mends_it():
    assert AUDIT["judge"](json.dumps({"dependencies": [SOUND, VULNERABLE, UNKNOWN]})) == (
        "audit: pillow 13.0.0: PYSEC-1, mended in ['13.0.1']",
        False,
    )


def test_sound_packages_are_counted():
    message, is_sound = AUDIT["judge"](json.dumps({"dependencies": [SOUND, UNKNOWN]}))
    assert (message, is_sound) == ("audit: 1 packages, no known vulnerability", True)


@pytest.mark.parametrize("text", ["", "Traceback", "[]", "{}", json.dumps({"dependencies": [UNKNOWN]})])
def test_no_answer_is_told_and_fails_nothing(text):
    message, is_sound = AUDIT["judge"](text)
    assert "skipped" in message
    assert is_sound
