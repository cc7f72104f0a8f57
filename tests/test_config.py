"""Settings: flags over environment over file over defaults, and every problem at once."""

import pytest

from styleserve.config import Config, read_file
from styleserve.errors import ConfigurationError


def test_everything_wrong_is_told_at_once(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        Config(listen="nowhere", styles=(tmp_path / "none",), precision="float64", max_queue=0, drain_s=-1)
    text = str(caught.value)
    for word in ("HOST:PORT", "'nowhere'", "none", "float64", "auto, float32, bfloat16", "max_queue: got 0", "drain_s"):
        assert word in text


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "0.0.0.0:50051", "[::1]:1", "localhost:65535"])
def test_addresses_are_host_and_port(listen):
    assert Config(listen=listen).listen == listen


@pytest.mark.parametrize("listen", ["127.0.0.1", ":50051", "a:b", "localhost:65536", "http://localhost:1"])
def test_other_addresses_are_refused(listen):
    with pytest.raises(ConfigurationError, match="listen"):
        Config(listen=listen)


def test_an_unknown_setting_in_the_file_gets_the_nearest(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("max_quue: 3\n")
    with pytest.raises(ConfigurationError, match=r"unknown key 'max_quue'.*did you mean 'max_queue'"):
        read_file(path)
