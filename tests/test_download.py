"""Downloads: once, verified, whole; and a clear word when there is no network."""

import errno
import hashlib
import multiprocessing
import os
import socket
import threading
import time

import pytest

from styleserve import download
from styleserve.download import Source, fetch
from styleserve.errors import DownloadError
from support import web

CONTENT = b"painting" * 10_000
CHECKSUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with web.serve({"/a.bin": CONTENT, "/wrong.bin": b"something else"}) as site:
        yield site


def source_at(url, max_bytes=10**6, timeout_s=20.0):
    return Source(url, CHECKSUM, "a.bin", max_bytes, timeout_s)


def test_a_file_is_fetched_once(site, tmp_path):
    source = source_at(f"{site.address}/a.bin")
    for _ in range(3):
        assert fetch(source, tmp_path / "cache").read_bytes() == CONTENT
    assert site.asked == ["/a.bin"]


def test_a_damaged_file_is_fetched_again(site, tmp_path):
    (tmp_path / "a.bin").write_bytes(CONTENT[:100])
    assert fetch(source_at(f"{site.address}/a.bin"), tmp_path).read_bytes() == CONTENT


def test_a_file_that_is_not_what_it_should_be_is_refused_and_not_kept(site, tmp_path):
    with pytest.raises(DownloadError, match="does not match sha256"):
        fetch(source_at(f"{site.address}/wrong.bin"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_answer_other_than_the_file_is_told(site, tmp_path):
    with pytest.raises(DownloadError, match="404") as caught:
        fetch(source_at(f"{site.address}/none.bin"), tmp_path)
    assert caught.value.place == tmp_path / "a.bin"


def test_a_file_that_is_larger_than_it_may_be_is_given_up_and_not_kept(site, tmp_path):
    with pytest.raises(DownloadError, match="more than 1000 bytes"):
        fetch(source_at(f"{site.address}/a.bin", max_bytes=1000), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_server_that_keeps_us_waiting_is_given_up_and_what_still_comes_is_not_kept(site, tmp_path):
    site.may_answer.clear()
    with pytest.raises(DownloadError, match="takes more than 0 s"):
        fetch(source_at(f"{site.address}/a.bin", timeout_s=0.2), tmp_path)
    site.may_answer.set()
    for thread in threading.enumerate():
        if thread.name == "download":
            thread.join()
    assert not list(tmp_path.iterdir())


def test_what_a_download_that_ended_with_its_process_left_is_removed_after_a_day(site, tmp_path):
    left, under_way = tmp_path / "tmpold", tmp_path / "tmpnew"
    for half in (left, under_way):
        half.write_bytes(CONTENT[:100])
    os.utime(left, (time.time() - 90_000, time.time() - 90_000))
    fetch(source_at(f"{site.address}/a.bin"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "tmpnew"]


def test_a_folder_that_times_out_is_told_as_that(site, tmp_path, monkeypatch):
    def time_out(*arguments, **options):
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    monkeypatch.setattr(download.pooch, "retrieve", time_out)
    with pytest.raises(DownloadError, match="Connection timed out"):
        fetch(source_at(f"{site.address}/a.bin"), tmp_path)


def test_two_processes_at_once_both_get_the_whole_file(site, tmp_path):
    source = source_at(f"{site.address}/a.bin")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        paths = pool.starmap(fetch, [(source, tmp_path)] * 2)
    assert [path.read_bytes() == CONTENT for path in paths] == [True, True]
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_a_refused_connection_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/a.bin"
    with pytest.raises(DownloadError, match="cannot be reached"):
        fetch(source_at(address), tmp_path)


def test_a_name_server_that_hangs_does_not_hold_us_up(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "CONNECT_TIMEOUT_S", 0.2)
    monkeypatch.setenv("NO_PROXY", "*")
    released = threading.Event()

    def hang(*args: object, **kwargs: object) -> None:
        released.wait(10)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    begun = time.monotonic()
    with pytest.raises(DownloadError, match="did not answer in time"):
        fetch(source_at("http://styles.invalid/a.bin"), tmp_path)
    assert time.monotonic() - begun < 2
    released.set()
