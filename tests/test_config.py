"""Settings: flags over environment over file over defaults, and every problem at once."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from styleserve.config import Config, read_file
from styleserve.errors import ConfigurationError


def test_everything_wrong_is_told_at_once(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        Config(listen="nowhere", styles=(tmp_path / "none",), precision="float64", max_queue=0, drain_s=-1)
    text = str(caught.value)
    for word in ("HOST:PORT", "'nowhere'", "none", "float64", "auto, float32, bfloat16", "max_queue: got 0", "drain_s"):
        assert word in text


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.0.0.53:50051", "[::1]:1", "localhost:65535"])
def test_addresses_are_host_and_port(listen):
    assert Config(listen=listen).listen == listen


@pytest.mark.parametrize("listen", ["0.0.0.0:50051", "[::]:50051", "10.0.0.7:50051", "styles.internal:50051"])
def test_beyond_this_machine_it_takes_tls_and_callers_or_a_flag(listen, tmp_path):
    files = {name: tmp_path / name for name in ("tls_cert", "tls_key", "tls_client_ca", "callers")}
    for path in files.values():
        path.touch()
    tls = {name: files[name] for name in ("tls_cert", "tls_key")}
    for safe in (tls | {"callers": files["callers"]}, tls | {"tls_client_ca": files["tls_client_ca"]}):
        assert not Config(listen=listen, **safe).is_exposed
    for exposed in ({}, tls, {"callers": files["callers"]}):
        with pytest.raises(ConfigurationError, match="or any with insecure"):
            Config(listen=listen, **exposed)
        assert Config(listen=listen, insecure=True, **exposed).is_exposed


def test_halves_of_tls_are_refused(tmp_path):
    path = tmp_path / "file.pem"
    path.touch()
    for half, complaint in (
        ({"tls_cert": path}, "got one of them"),
        ({"tls_client_ca": path}, "without tls_cert"),
        ({"callers": tmp_path / "none"}, "allowed: a file that is there"),
    ):
        with pytest.raises(ConfigurationError, match=complaint):
            Config(**half)


@pytest.mark.parametrize("host", ["unix", "dns", "ipv4", "IPv6", "vsock", "unix-abstract"])
def test_what_grpc_would_not_take_for_a_host_is_refused(host):
    for name in ("listen", "metrics"):
        with pytest.raises(
            ConfigurationError, match=f"{name}: got '{host}:50051'; allowed: HOST:PORT with a host other"
        ):
            Config(**{name: f"{host}:50051", "insecure": True})


@pytest.mark.parametrize("listen", ["127.0.0.1", ":50051", "a:b", "localhost:65536", "http://localhost:1"])
def test_other_addresses_are_refused(listen):
    with pytest.raises(ConfigurationError, match="listen"):
        Config(listen=listen)


WRONG = {
    "max_queue: [1, 2]": "max_queue: got [1, 2]; allowed: a whole number",
    "max_queue: {a: 1}": "max_queue: got {'a': 1}; allowed: a whole number",
    "max_queue:": "max_queue: got None; allowed: a whole number",
    "max_queue: 4.7": "max_queue: got 4.7; allowed: a whole number",
    "max_queue: true": "max_queue: got True; allowed: a whole number",
    "max_queue: 0": "max_queue: got 0; allowed: 1 to 100000",
    "drain_s: yes": "drain_s: got True; allowed: a number",
    "drain_s: .nan": "drain_s: got nan; allowed: 0 to 86400",
    "no_cache: 1": "no_cache: got 1; allowed: true or false",
    "weights: false": "weights: got False; allowed: text",
    "weights: [a]": "weights: got ['a']; allowed: text",
    "data_dir: 5": "data_dir: got 5; allowed: a path, as text",
    "data_dir: [a]": "data_dir: got ['a']; allowed: a path, as text",
    "data_dir: 2026-01-01": "data_dir: got datetime.date(2026, 1, 1); allowed: a path, as text",
    "styles: [5]": "styles: got [5]; allowed: a list of paths",
    "styles: my-styles": "styles: got 'my-styles'; allowed: a list of paths",
    "styles: [nowhere]": "styles: got 'nowhere'; allowed: a folder that is there",
    "precision: float8": "precision: got 'float8'; allowed: auto, float32, bfloat16",
    "listen: 50051": "listen: got 50051; allowed: text",
    "listen: 'localhost:١٢'": "listen: got 'localhost:١٢'; allowed: HOST:PORT",
    f"memory_limit: {'9' * 400}GB": f"memory_limit: got '{'9' * 400}GB'; allowed: auto, or a size",
    f"styles: [{'x' * 300}]": f"styles: got '{'x' * 300}'; allowed: a folder that is there",
    "style_images: ~nobody-of-this-name/x": "style_images: got '~nobody-of-this-name/x'; allowed: a folder",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_bad_value_in_the_file_is_named_with_file_and_key(tmp_path, line):
    path = tmp_path / "config.yaml"
    path.write_text(line)
    with pytest.raises(ConfigurationError) as caught:
        read_file(path)
    assert str(caught.value).startswith(f"{path}: {WRONG[line]}")


def test_all_that_is_wrong_with_a_file_is_told_at_once(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("max_queue: many\nmax_side: 5\nprecision: float8\nmax_quue: 3\n")
    with pytest.raises(ConfigurationError) as caught:
        read_file(path)
    assert len(str(caught.value).splitlines()) == 4


def test_sound_values_of_a_file_are_the_settings(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(f"styles: ['{tmp_path}']\ndata_dir: ~/data\nretention_s: 5\nmax_queue: 3\n")
    assert read_file(path) == {
        "styles": (tmp_path,),
        "data_dir": Path("~/data").expanduser(),
        "retention_s": 5,
        "max_queue": 3,
    }


@pytest.mark.parametrize("line", ["listen: 0.0.0.0:50099", "tls_cert: {file}"])
def test_what_a_file_leaves_to_flags_and_the_environment_is_no_fault_of_it(tmp_path, line):
    path = tmp_path / "config.yaml"
    path.write_text(line.format(file=path))
    assert len(read_file(path)) == 1
    with pytest.raises(ConfigurationError, match=r"allowed: an address of loopback|allowed: both, or none"):
        Config(**read_file(path))


def test_an_unknown_setting_in_the_file_gets_the_nearest(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("max_quue: 3\n")
    with pytest.raises(ConfigurationError, match=r"unknown key 'max_quue'.*did you mean 'max_queue'"):
        read_file(path)


FILE = object()
#: Settings that are nothing unless they are set.
SET = {
    "tls_cert": FILE,
    "tls_key": FILE,
    "tls_client_ca": FILE,
    "callers": FILE,
    "metrics": "127.0.0.1:9464",
    "traces": "http://127.0.0.1:4317",
}


@pytest.mark.parametrize("name", [setting.name for setting in fields(Config)])
def test_every_setting_may_stand_in_the_file(tmp_path, name):
    (tmp_path / "file").touch()
    value = SET.get(name, getattr(Config(styles=(tmp_path,), style_images=tmp_path), name))
    value = tmp_path / "file" if value is FILE else value
    plain = (
        [str(part) for part in value] if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
    )
    path = tmp_path / "config.yaml"
    others = {setting: str(value) for setting in ("tls_cert", "tls_key") if name.startswith("tls")}
    path.write_text(yaml.safe_dump({**others, name: plain}))
    assert read_file(path)[name] == value


def test_the_light_network_has_weights_of_its_own():
    assert Config(network="light").weights == "auto"
    with pytest.raises(ConfigurationError, match="weights: got 'imagenet' with network light"):
        Config(network="light", weights="imagenet")
    with pytest.raises(ConfigurationError, match="network: got 'vgg16'"):
        Config(network="vgg16")
