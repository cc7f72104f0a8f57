"""Of a style that is being added or removed when the server is killed, all is there afterwards or nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from styleserve.catalog.created import CreatedStyles
from support.service import png

#: Adds a style and removes it, and kills itself before it moves or removes a file for the given time.
DYING = """
import os, signal, sys
from pathlib import Path
from styleserve.catalog.created import CreatedStyles, Draft
from styleserve.recipes import RecipeChanges

folder, image, moment = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
styles = CreatedStyles(folder)
events = []

def die_when_due(event, arguments):
    if event in ("os.rename", "os.remove"):
        events.append(event)
        if len(events) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die_when_due)
made = styles.write(Draft("dots", {"title": "Dots"}, (), RecipeChanges(), image.read_bytes()))
print("made", flush=True)
styles.remove(made)
print("removed", flush=True)
"""
WHOLE = ["dots.png", "dots.yaml"]


def die_at(moment: int, folder: Path, image: Path) -> str:
    command = [sys.executable, "-c", DYING, str(folder), str(image), str(moment)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


@pytest.mark.parametrize("moment", range(1, 8))
def test_a_kill_leaves_no_half_of_a_style(tmp_path, moment):
    folder, image = tmp_path / "styles", tmp_path / "image.png"
    image.write_bytes(png(0.5))
    said = die_at(moment, folder, image)
    left = CreatedStyles(folder).read()
    assert left.problems == ()
    names = sorted(path.name for path in folder.iterdir())
    assert names == (WHOLE if left.styles else [])
    if "removed" in said:
        assert names == []
    assert ("made" in said) == (moment > 3)


def test_what_belongs_to_no_broken_off_change_stays(tmp_path):
    for name in ("mine.png", "notes.txt", ".mine.yaml"):
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / ".other.yaml.partial").write_bytes(b"half")
    CreatedStyles(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.yaml", "mine.png", "notes.txt"]
