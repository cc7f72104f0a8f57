"""FollowedFiles: what changes is seen, what cannot be read is read later, and each fault is told once."""

import os

import pytest

from styleserve.errors import ConfigurationError
from styleserve.followed import FollowedFiles


def number(contents):
    """A value that is easily wrong; `tries` counts how often it was made."""
    number.tries += 1
    (data,) = contents
    if not data.isdigit():
        raise ConfigurationError(f"got {data!r}; allowed: digits")
    return int(data)


@pytest.fixture
def path(tmp_path):
    number.tries = 0
    path = tmp_path / "number"
    path.write_text("1")
    return path


def faults(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


def test_a_change_is_seen_even_in_the_same_moment_and_of_the_same_length(path):
    followed = FollowedFiles([path], number, "the numbers")
    for value in (2, 3, 4):
        path.write_text(str(value))
        assert followed.look()
        assert followed.value == value
    assert not followed.look()


@pytest.mark.parametrize("kind", ["gone", "a folder", "a pipe"])
def test_what_could_not_be_read_is_read_once_it_can_be_and_told_once(path, caplog, kind):
    followed = FollowedFiles([path], number, "the numbers")
    path.unlink()
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    assert [followed.look() for _ in range(3)] == [False] * 3
    assert (followed.value, len(faults(caplog))) == (1, 1)
    assert str(path) in faults(caplog)[0]
    if kind == "a folder":
        path.rmdir()
    elif kind == "a pipe":
        path.unlink()
    path.write_text("2")
    assert followed.look()
    assert followed.value == 2
    path.unlink()
    followed.look()
    assert len(faults(caplog)) == 2, "a fault that comes back is told again"


def test_what_could_not_be_read_while_the_value_was_made_is_read_again_too(path):
    is_exhausted = True

    def read_beside(contents):
        if contents[0] == b"2" and is_exhausted:
            raise OSError(24, "Too many open files", "beside")
        return int(contents[0])

    followed = FollowedFiles([path], read_beside, "the numbers")
    path.write_text("2")
    assert not followed.look()
    is_exhausted = False
    assert followed.look()
    assert followed.value == 2


def test_what_is_wrong_is_told_once_and_not_tried_until_it_changes(path, caplog):
    followed = FollowedFiles([path], number, "the numbers")
    path.write_text("many")
    assert [followed.look() for _ in range(3)] == [False] * 3
    assert (followed.value, number.tries, len(faults(caplog))) == (1, 2, 1)
    path.write_text("1")
    assert followed.look()


@pytest.mark.parametrize("text", [None, "many"])
def test_files_that_cannot_be_used_at_the_start_are_an_error(path, text):
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    with pytest.raises(ConfigurationError):
        FollowedFiles([path], number, "the numbers")
