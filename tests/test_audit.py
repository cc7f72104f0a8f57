"""The audit: a known vulnerability fails a build, an audit that came to nothing too, and a missing network does not."""

import json
import runpy
import socket
from pathlib import Path

import pytest

AUDIT = runpy.run_path(str(Path(__file__).parents[1] / ".ci" / "audit.py"))
SOUND = {"name": "click", "version": "8.5.1", "vulns": []}
VULNERABLE = {"name": "pillow", "version": "13.0.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["13.0.1"]}]}
UNKNOWN = {"name": "numpy", "skip_reason": "not found"}


def test_a_vulnerability_is_named_with_what_mends_it():
    message, is_sound = AUDIT["judge"](json.dumps({"dependencies": [SOUND, VULNERABLE]}))
    assert (message, is_sound) == ("audit: pillow 13.0.0: PYSEC-1, mended in ['13.0.1']", False)


def test_sound_packages_are_counted_and_skipped_ones_named():
    message, is_sound = AUDIT["judge"](json.dumps({"dependencies": [SOUND, UNKNOWN]}))
    assert message.splitlines() == [
        "audit: 1 packages, no known vulnerability",
        "audit: 1 skipped, which pip-audit did not find: numpy",
    ]
    assert is_sound


@pytest.mark.parametrize("answer", ["", "Traceback", "[]", "{}"])
def test_an_audit_that_came_to_nothing_fails(answer):
    assert not AUDIT["judge"](answer)[1]


def test_why_there_is_no_answer_is_told():
    assert "Traceback: no such option" in AUDIT["judge"]("", "Traceback: no such option\n")[0]


def test_a_database_that_nobody_can_reach_is_told_apart():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert not AUDIT["is_reachable"](f"http://127.0.0.1:{nobody.getsockname()[1]}/")
