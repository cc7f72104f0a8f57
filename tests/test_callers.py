"""Callers: who is known by what, and what an operator is told of a file that is wrong."""

import pytest

from styleserve.callers import Callers, Quota, new_token, token_sha256
from styleserve.errors import ConfigurationError

TOKEN = new_token()
FILE = f"""
callers:
  editor:
    token_sha256: [{token_sha256(TOKEN)}]
    scopes: [stylize, read]
    max_waiting: 16
    max_running: 2
    max_bytes_per_minute: 100MB
  pages:
    certificates: [pages.internal]
    scopes: [read]
"""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def written(tmp_path, text=FILE):
    path = tmp_path / "callers.yaml"
    path.write_text(text)
    return path


def test_a_caller_is_known_by_its_token_and_no_other(tmp_path):
    callers = Callers(written(tmp_path))
    editor = callers.with_token(TOKEN)
    assert editor is not None
    assert (editor.name, editor.scopes) == ("editor", {"stylize", "read"})
    assert editor.quota == callers.quota("editor") == Quota(16, 2, 100_000_000)
    assert callers.with_token(TOKEN[:-1]) is None
    assert callers.with_token(token_sha256(TOKEN)) is None
    assert callers.with_token("") is None


def test_a_caller_is_known_by_its_certificate(tmp_path):
    callers = Callers(written(tmp_path))
    assert callers.with_certificate("pages.internal").name == "pages"
    assert callers.with_certificate("editor") is None


def test_two_tokens_hold_while_one_gives_way_to_the_other(tmp_path):
    second = new_token()
    text = FILE.replace(token_sha256(TOKEN), f"{token_sha256(TOKEN)}, {token_sha256(second)}")
    callers = Callers(written(tmp_path, text))
    assert callers.with_token(TOKEN) == callers.with_token(second)


def test_the_file_is_read_again_when_it_changes(tmp_path):
    clock = Clock()
    path = written(tmp_path)
    callers = Callers(path, clock)
    assert callers.with_token(TOKEN) is not None
    path.write_text(FILE.replace(token_sha256(TOKEN), token_sha256("another")))
    clock.now = 2.0
    assert callers.with_token(TOKEN) is None
    assert callers.with_token("another").name == "editor"


@pytest.mark.parametrize("text", ["callers: [", "", "callers: {}"])
def test_a_file_that_is_broken_later_changes_nothing(tmp_path, text, caplog):
    clock = Clock()
    path = written(tmp_path)
    callers = Callers(path, clock)
    path.write_text(text)
    clock.now = 2.0
    assert callers.with_token(TOKEN).name == "editor"
    assert "stay as they were" in caplog.text


def test_a_file_that_is_gone_later_changes_nothing_until_there_is_another(tmp_path):
    clock = Clock()
    path = written(tmp_path)
    callers = Callers(path, clock)
    path.unlink()
    clock.now = 2.0
    assert callers.with_token(TOKEN).name == "editor"
    written(tmp_path, FILE.replace(token_sha256(TOKEN), token_sha256("another")))
    clock.now = 4.0
    assert callers.with_token(TOKEN) is None


def test_who_is_taken_out_of_the_file_keeps_its_bounds_and_a_stranger_runs_one_job_at_a_time(tmp_path):
    clock = Clock()
    path = written(tmp_path)
    callers = Callers(path, clock)
    path.write_text("callers: {pages: {certificates: [pages.internal], scopes: [read]}}")
    clock.now = 2.0
    assert callers.quota("editor") == Quota(16, 2, 100_000_000)
    assert callers.with_token(TOKEN) is None
    assert callers.quota("pages") == Quota()
    assert Callers(path).quota("editor").max_running == 1


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("editor:", "'..':"), "got the name '..'"),
        (("editor:", "anonymous:"), "not anonymous"),
        (("editor:", "1:"), "got the name 1, which is no text; quote it"),
        (
            ("pages:", "Editor:"),
            "callers.Editor: got a name like 'editor'; allowed: names that differ in more than case",
        ),
        ((token_sha256(TOKEN), "abc"), "token_sha256: 1: got text of 3 characters, no SHA-256"),
        (
            (f"[{token_sha256(TOKEN)}]", "abc"),
            "token_sha256: got text of 3 characters; allowed: a list",
        ),
        (("[stylize, read]", "[everything]"), "allowed: a list of stylize, read, admin"),
        (("    scopes: [read]\n", ""), "callers.pages: scopes: got None"),
        (("max_running: 2", "max_running: 0"), "max_running: got 0; allowed: 1 to"),
        (("max_running: 2", "max_running: true"), "max_running: got True"),
        (("100MB", "much"), "max_bytes_per_minute: got 'much'"),
        (("max_waiting", "max_wating"), "did you mean 'max_waiting'?"),
        (("    certificates: [pages.internal]\n", ""), "got neither `token_sha256` nor `certificates`"),
        (
            ("certificates: [pages.internal]", f"token_sha256: [{token_sha256(TOKEN)}]"),
            "stands at 'editor' too; allowed: one caller",
        ),
    ],
)
def test_what_is_wrong_is_named_with_file_caller_and_what_is_allowed(tmp_path, change, complaint):
    path = written(tmp_path, FILE.replace(*change))
    with pytest.raises(ConfigurationError) as raised:
        Callers(path)
    assert complaint in str(raised.value)
    assert all(line.startswith(str(path)) for line in str(raised.value).splitlines())


def test_everything_wrong_is_said_at_once(tmp_path):
    text = FILE.replace("max_running: 2", "max_running: 0").replace("scopes: [read]", "scopes: [look]")
    with pytest.raises(ConfigurationError) as raised:
        Callers(written(tmp_path, text))
    assert len(str(raised.value).splitlines()) == 2


@pytest.mark.parametrize("place", ["TOKEN", "[TOKEN]", "[[TOKEN]]", "[{TOKEN: 1}]"])
def test_a_token_in_the_place_of_its_hash_is_not_shown(tmp_path, place, caplog):
    clock = Clock()
    path = written(tmp_path)
    callers = Callers(path, clock)
    text = f"callers: {{a: {{token_sha256: {place}, scopes: [read]}}, b: {{token_sha256: {place}}}}}"
    path.write_text(text.replace("TOKEN", TOKEN))
    clock.now = 2.0
    assert callers.with_token(TOKEN).name == "editor"
    with pytest.raises(ConfigurationError) as raised:
        Callers(path)
    for told in (caplog.text, str(raised.value)):
        assert "callers.a: token_sha256: " in told
        assert "make a new one" in told
        assert TOKEN not in told


def test_who_has_nothing_to_show_that_is_asked_for_is_told_at_the_start_and_later(tmp_path, caplog):
    with pytest.raises(ConfigurationError, match=r"callers.pages: got `certificates` alone, .* without tls_client_ca;"):
        Callers(written(tmp_path), asks_for_certificates=False)
    assert len(Callers(written(tmp_path), asks_for_certificates=True)) == 2
    both = FILE.replace("certificates:", f"token_sha256: [{token_sha256('pages')}]\n    certificates:")
    clock = Clock()
    callers = Callers(written(tmp_path, both), clock, asks_for_certificates=False)
    assert callers.with_token("pages").name == "pages"
    written(tmp_path)
    clock.now = 2.0
    assert callers.with_token("pages").name == "pages"
    assert "got `certificates` alone" in caplog.text


def test_what_is_shown_of_a_long_value_is_short(tmp_path):
    text = FILE.replace("[pages.internal]", f"[{'x' * 9000}]").replace("[read]", f"[{'y' * 9000}]")
    with pytest.raises(ConfigurationError) as raised:
        Callers(written(tmp_path, text))
    assert all(len(line) < 500 for line in str(raised.value).splitlines())
