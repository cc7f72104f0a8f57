"""Asks pip-audit for known vulnerabilities of the pinned packages; where its database cannot be reached, says so.

A build needs no network; but where there is one, an audit that came to nothing fails as a vulnerability does. pip-audit
lives in an environment of its own, not the product's.
"""

import json
import subprocess
import sys
import urllib.request
import venv
from pathlib import Path

PIP_AUDIT = "pip-audit==2.10.1"
DATABASE = "https://pypi.org/pypi/pip/json"
#: Installing is done once.
INSTALL_LIMIT_S, ASK_LIMIT_S = 60, 15
ROOT = Path(__file__).parents[1]
PLACE = ROOT / ".venv" / "audit"
ASKING = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--timeout", "5", "--format", "json")


def main() -> int:
    """Print what was found; the exit status is 1 when that is a vulnerability, or when pip-audit failed."""
    if not is_reachable(DATABASE):
        print("audit: skipped, the database of vulnerabilities cannot be reached")
        return 0
    try:
        message, is_sound = judge(*ask())
    except subprocess.TimeoutExpired as error:
        message, is_sound = f"audit: skipped, the network is too slow: {error}", True
    except subprocess.CalledProcessError as error:
        message, is_sound = f"audit: failed, {PIP_AUDIT} cannot be installed: {error.stderr.strip()}", False
    print(message)
    return 0 if is_sound else 1


def is_reachable(url: str) -> bool:
    """Whether anybody answers there, through a proxy if there is one."""
    try:
        urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 (https, ours)
    except OSError:
        return False
    return True


def ask() -> tuple[str, str]:
    """What pip-audit answers, and what it has to say beside; installed on first use."""
    program = PLACE / "bin" / "pip-audit"
    if not program.exists():
        venv.create(PLACE, with_pip=True)
        installing = [PLACE / "bin" / "python", "-m", "pip", "install", "--quiet", "--retries", "0", PIP_AUDIT]
        subprocess.run(installing, check=True, capture_output=True, text=True, timeout=INSTALL_LIMIT_S)
    asking = [program, "--requirement", ROOT / "constraints.txt", *ASKING]
    done = subprocess.run(asking, check=False, capture_output=True, text=True, timeout=ASK_LIMIT_S)
    return done.stdout, done.stderr


def judge(answer: str, complaint: str = "") -> tuple[str, bool]:
    """A list of what pip-audit's JSON says, and whether there was an answer and none is known to be vulnerable."""
    try:
        found = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return f"audit: failed, pip-audit gave no answer: {(complaint or answer).strip()}", False
    skipped = [package["name"] for package in found if "skip_reason" in package]
    audited = [package for package in found if "skip_reason" not in package]
    holes = [
        f"audit: {package['name']} {package['version']}: {hole['id']}, mended in {hole['fix_versions']}"
        for package in audited
        for hole in package["vulns"]
    ]
    lines = holes or [f"audit: {len(audited)} packages, no known vulnerability"]
    if skipped:
        lines.append(f"audit: {len(skipped)} skipped, which pip-audit did not find: {', '.join(skipped)}")
    return "\n".join(lines), not holes


if __name__ == "__main__":
    sys.exit(main())
