"""Documents: a few lines of YAML cannot stand for more than they are, and whatever is wrong is told in a sentence."""

import os

import pytest

from styleserve.documents import MAX_BYTES, read_mapping, unknown_keys
from styleserve.errors import ConfigurationError

LAUGHS = "a: &a [x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)
REFUSED = {
    "aliases": (LAUGHS, "line 2: an alias; write the value out"),
    "a list within itself": ("a: &a [*a]", "line 1: an alias"),
    "merged mappings": ("a: &a {b: 1}\nc:\n  <<: *a", "line 3: an alias"),
    "deep nesting": ("a: " + "[" * 5000 + "]" * 5000, "line 1: nested deeper than 16 levels"),
    "a number of 5000 digits": ("a: " + "9" * 5000, "line 1: a value that is not what YAML takes it for; quote it"),
    "a number of 5000 hex digits": ("a: 0x" + "f" * 5000, "line 1: a whole number beyond 64 bits"),
    "a day that does not exist": ("a: 2024-99-99", "line 1: a value that is not what YAML takes it for"),
    "a tag that does not fit": ("a: !!int abc", "line 1: a value that is not what YAML takes it for"),
    "a time that is none": ("a: !!timestamp abc", "line 1: a value that is not what YAML takes it for"),
    "a truth that is none": ("a: !!bool abc", "line 1: a value that is not what YAML takes it for"),
    "a key that is a list": ("? [a]\n: x", "line 1: a list or mapping in the place of a key"),
    "a tag of Python's": (
        "a: !!python/object/apply:os.system [ls]",
        "line 1: a tag or sign that plain settings do not have",
    ),
    "a list that claims to be a mapping": ("a: !!map [b]", "line 1: a tag of a mapping before something else"),
    "a text that claims to be a set": ("a: !!set b", "line 1: a tag of a mapping before something else"),
    "a NUL": ("a: \0", "not YAML"),
    "too many bytes": ("#" * (MAX_BYTES + 1), f"allowed: up to {MAX_BYTES}"),
}


@pytest.mark.parametrize(("text", "complaint"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_more_than_plain_settings_is_refused_with_its_place(tmp_path, text, complaint):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        read_mapping(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert complaint in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 300


def test_text_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_bytes(b"a: \xff")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        read_mapping(path)


def test_what_would_keep_its_reader_waiting_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigurationError, match="not a regular file"):
        read_mapping(tmp_path / "pipe.yaml")


def test_thousands_of_unknown_keys_are_counted_and_not_all_told():
    complaints = unknown_keys({f"key{number}": 1 for number in range(5000)} | {7: 1}, ["title"])
    assert len(complaints) < 20
    assert complaints[-1] == f"{5001 - len(complaints) + 1} more unknown keys"


def test_an_unknown_key_that_is_a_number_is_told_like_another():
    assert unknown_keys({1: 2}, ["title"]) == ["unknown key 1; allowed: title"]
