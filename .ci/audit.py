"""Asks pip-audit for known vulnerabilities of the pinned packages; where its database cannot be reached, says so.

Only a vulnerability fails: a build needs no network. pip-audit lives in an environment of its own, not the product's.
"""

import json
import subprocess
import sys
import venv
from pathlib import Path

PIP_AUDIT = "pip-audit==2.10.1"
#: Installing is done once.
INSTALL_LIMIT_S, ASK_LIMIT_S = 60, 15
ROOT = Path(__file__).parents[1]
PLACE = ROOT / ".venv" / "audit"
ASKING = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--timeout", "5", "--format", "json")


def main() -> int:
    """Print what was found; the exit status is 1 when that is a vulnerability."""
    try:
        text = ask()
    except (OSError, subprocess.SubprocessError):
        text = ""
    message, is_sound = judge(text)
    print(message)
    return 0 if is_sound else 1


def ask() -> str:
    """What pip-audit answers, installed on first use."""
    program = PLACE / "bin" / "pip-audit"
    if not program.exists():
        venv.create(PLACE, with_pip=True)
        installing = [PLACE / "bin" / "python", "-m", "pip", "install", "--quiet", "--retries", "0", PIP_AUDIT]
        subprocess.run(installing, check=True, capture_output=True, timeout=INSTALL_LIMIT_S)
    asking = [program, "--requirement", ROOT / "constraints.txt", *ASKING]
    return subprocess.run(asking, check=False, capture_output=True, text=True, timeout=ASK_LIMIT_S).stdout


def judge(text: str) -> tuple[str, bool]:
    """A sentence or a list of what pip-audit's JSON says, and whether no package is known to be vulnerable."""
    try:
        found = json.loads(text)["dependencies"]
    except (ValueError, KeyError, TypeError):
        found = []
    audited = [package for package in found if "skip_reason" not in package]
    if not audited:
        return "audit: skipped, the database of vulnerabilities cannot be reached", True
    lines = [
        f"audit: {package['name']} {package['version']}: {hole['id']}, mended in {hole['fix_versions']}"
        for package in audited
        for hole in package["vulns"]
    ]
    return "\n".join(lines) or f"audit: {len(audited)} packages, no known vulnerability", not lines


if __name__ == "__main__":
    sys.exit(main())
