"""Config: every setting of the server, in one table, checked once.

A value comes from the command line, else from `STYLESERVE_<NAME>` in the environment, else from the YAML file named by
`--config`, else from the default below. The command line's reader looks all of them up by this table.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from platformdirs import user_cache_path, user_data_path

from styleserve.addresses import address_problems, endpoint_problems, is_loopback
from styleserve.documents import read_mapping, shown, unknown_keys
from styleserve.errors import ConfigurationError
from styleserve.images import MAX_SIDE, MIN_SIDE
from styleserve.recipes import MAX_ITERATIONS
from styleserve.sizes import parse_limit, parse_size

NETWORKS = ("auto", "vgg19", "light")
PRECISIONS = ("auto", "float32", "bfloat16")
LOG_FORMATS = ("text", "json")
#: In the place of the data folder: what the server is told is forgotten when it ends.
FORGOTTEN = Path(":memory:")


def _setting(help_text: str, metavar: str) -> dict[str, str]:
    return {"help": help_text, "metavar": metavar}


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of a server; each field's metadata says what it is for. Sizes are in pixels, times in seconds."""

    listen: str = field(
        default="127.0.0.1:50051", metadata=_setting("address to listen on; port 0 picks a free one", "HOST:PORT")
    )
    tls_cert: Path | None = field(
        default=None, metadata=_setting("certificate with its chain, as PEM; reloaded when it changes", "FILE")
    )
    tls_key: Path | None = field(default=None, metadata=_setting("private key of the certificate, as PEM", "FILE"))
    tls_client_ca: Path | None = field(
        default=None, metadata=_setting("authority whose certificates callers must present, as PEM", "FILE")
    )
    callers: Path | None = field(
        default=None, metadata=_setting("YAML file of callers: tokens, scopes, quotas; reloaded too", "FILE")
    )
    insecure: bool = field(
        default=False,
        metadata=_setting("allow an address beyond this machine even without TLS, or without identifying callers", ""),
    )
    data_dir: Path = field(
        default_factory=lambda: user_data_path("styleserve"),
        metadata=_setting("folder for jobs and images; :memory: forgets them when the server ends", "DIR"),
    )
    cache_dir: Path = field(
        default_factory=lambda: user_cache_path("styleserve"),
        metadata=_setting("folder for downloads and Gram targets", "DIR"),
    )
    styles: tuple[Path, ...] = field(
        default=(), metadata=_setting("folder of styles, in addition to the installed packs; may be repeated", "DIR")
    )
    watch: bool = field(default=False, metadata=_setting("reload the catalogue when a folder of --styles changes", ""))
    style_images: Path | None = field(
        default=None,
        metadata=_setting("folder to search for style images, by their SHA-256, before downloading them", "DIR"),
    )
    network: str = field(
        default="auto",
        metadata=_setting(
            "feature network: vgg19, light (small, in the package) or auto (vgg19 if its weights can be had)", "NAME"
        ),
    )
    weights: str = field(
        default="auto",
        metadata=_setting("weights of VGG19: auto, imagenet, untrained, or a file in Keras' layout", "WEIGHTS"),
    )
    precision: str = field(
        default="auto", metadata=_setting("arithmetic of the network: auto, float32 or bfloat16", "NAME")
    )
    memory_limit: str = field(
        default="auto",
        metadata=_setting("most memory for the engine, for example 4GB; auto: most of what is free", "SIZE"),
    )
    max_queue: int = field(default=64, metadata=_setting("most jobs that may wait", "N"))
    max_running: int = field(default=8, metadata=_setting("most jobs that run side by side", "N"))
    no_cache: bool = field(
        default=False, metadata=_setting("paint every picture anew, even if the same one is kept", "")
    )
    deterministic: bool = field(
        default=False, metadata=_setting("evaluate every job on its own, whatever runs beside it; slower", "")
    )
    max_side: int = field(default=1024, metadata=_setting("longest side of a result, in pixels", "PX"))
    max_iterations: int = field(
        default=MAX_ITERATIONS,
        metadata=_setting("most iterations of a job; presets and styles that ask for more are cut to it", "N"),
    )
    retention_s: float = field(
        default=86_400.0, metadata=_setting("seconds for which ended jobs and unused images are kept", "S")
    )
    retention_size: str = field(
        default="10GB",
        metadata=_setting(
            "most disk space for images; beyond it the caller with the most loses the least recently used", "SIZE"
        ),
    )
    retention_jobs: int = field(
        default=10_000,
        metadata=_setting("most ended jobs kept; beyond it the caller with the most loses the oldest", "N"),
    )
    drain_s: float = field(
        default=30.0, metadata=_setting("seconds for which a stopping server lets running jobs go on", "S")
    )
    log_format: str = field(default="text", metadata=_setting("format of the log: text or json", "NAME"))
    metrics: str | None = field(
        default=None,
        metadata=_setting("address where Prometheus reads metrics, unauthenticated; off unless set", "HOST:PORT"),
    )
    traces: str | None = field(
        default=None, metadata=_setting("OTLP/gRPC endpoint for OpenTelemetry traces; off unless set", "URL")
    )

    def __post_init__(self) -> None:
        """Raise ConfigurationError with everything that is wrong."""
        problems = [*self._problems(), *self._joint_problems()]
        if problems:
            raise ConfigurationError("\n".join(problems))

    def _problems(self) -> Iterator[str]:
        yield from address_problems("listen", self.listen)
        if self.metrics is not None:
            yield from address_problems("metrics", self.metrics)
        if self.traces is not None:
            yield from endpoint_problems("traces", self.traces)
        for name in ("styles", "style_images"):
            value = getattr(self, name)
            for folder in value if isinstance(value, tuple) else (value,):
                if folder is not None and not _is_folder(folder):
                    yield f"{name}: got {str(folder)!r}; allowed: a folder that is there"
        for name in ("tls_cert", "tls_key", "tls_client_ca", "callers"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                yield f"{name}: got {str(path)!r}; allowed: a file that is there"
        yield from _outside("network", self.network, NETWORKS)
        yield from _outside("precision", self.precision, PRECISIONS)
        yield from _outside("log_format", self.log_format, LOG_FORMATS)
        for name, parse in (("memory_limit", parse_limit), ("retention_size", parse_size)):
            try:
                parse(getattr(self, name))
            except ConfigurationError as error:
                yield f"{name}: {error}"
        for name, low, high in (
            ("max_queue", 1, 100_000),
            ("max_running", 1, 64),
            ("max_side", MIN_SIDE, MAX_SIDE),
            ("max_iterations", 0, MAX_ITERATIONS),
            ("retention_s", 1, 10**9),
            ("retention_jobs", 1, 10_000_000),
            ("drain_s", 0, 86_400),
        ):
            if not low <= getattr(self, name) <= high:
                yield f"{name}: got {getattr(self, name)}; allowed: {low} to {high}"

    @property
    def is_exposed(self) -> bool:
        """Whether anybody beyond this machine may call in the clear, or without showing who calls."""
        is_encrypted = self.tls_cert is not None
        tells_callers_apart = self.callers is not None or self.tls_client_ca is not None
        return not is_loopback(self.listen) and not (is_encrypted and tells_callers_apart)

    @property
    def has_exposed_metrics(self) -> bool:
        """Whether anybody beyond this machine may read the metrics.

        It takes no `insecure`, which would open `listen` as well: Prometheus reads from other machines as a rule.
        """
        return self.metrics is not None and not is_loopback(self.metrics)

    def _joint_problems(self) -> Iterator[str]:
        """What is wrong with several settings together."""
        if self.network == "light" and self.weights != "auto":
            yield f"weights: got {self.weights!r} with network light; allowed: auto, or network vgg19 instead"
        if (self.tls_cert is None) != (self.tls_key is None):
            yield "tls_cert, tls_key: got one of them; allowed: both, or none"
        if self.tls_client_ca is not None and self.tls_cert is None:
            yield "tls_client_ca: got it without tls_cert and tls_key; allowed: all three, or no tls_client_ca"
        if self.is_exposed and not self.insecure:
            yield (
                f"listen: got {self.listen!r}, where not only this machine's programs may call; allowed: an address of "
                "loopback such as 127.0.0.1:50051; any address with tls_cert, tls_key, and callers or tls_client_ca; "
                "or any with insecure"
            )


def environment_name(name: str) -> str:
    """The environment variable of a setting."""
    return f"STYLESERVE_{name.upper()}"


def read_file(path: Path) -> dict[str, object]:
    """The settings in a YAML file, by the names of `Config`; raises ConfigurationError with all that is wrong.

    Flags and the environment may complete them, so that nothing is said of what is wrong with several together.
    """
    settings = read_mapping(path)
    known = [setting.name for setting in fields(Config)]
    problems = [f"{path}: {complaint}" for complaint in unknown_keys(settings, known)]
    sound: dict[str, object] = {}
    for setting in fields(Config):
        if setting.name in settings:
            value, kind = settings[setting.name], _KINDS[setting.type]
            if kind.fits(value):
                sound[setting.name] = kind.read(value)
            else:
                problems.append(f"{path}: {setting.name}: got {shown(value)}; allowed: {kind.allowed}")
    try:
        # Each value was read as its own setting's kind above, which no type of the whole mapping can say.
        _Part(**sound)  # type: ignore[arg-type]
    except ConfigurationError as error:
        problems += [f"{path}: {problem}" for problem in str(error).splitlines()]
    if problems:
        raise ConfigurationError("\n".join(problems))
    return sound


class _Part(Config):
    """Settings that others may complete."""

    def _joint_problems(self) -> Iterator[str]:
        return iter(())


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a file may hold for a type of setting: in words, as a test, and how it is read."""

    allowed: str
    fits: Callable[[object], bool]
    read: Callable[[Any], object] = lambda value: value


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read_path(value: str) -> Path:
    return Path(os.path.expanduser(value))  # a home that is not known stays as it is written


_TEXT = _Kind("text; quote it", _is_text)
_PATH = _Kind("a path, as text", _is_text, _read_path)
_KINDS: Mapping[object, _Kind] = MappingProxyType(
    {
        str: _TEXT,
        str | None: _TEXT,
        int: _Kind("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
        float: _Kind("a number", _is_number),
        bool: _Kind("true or false", lambda value: isinstance(value, bool)),
        Path: _PATH,
        Path | None: _PATH,
        tuple[Path, ...]: _Kind(
            "a list of paths of folders, as text",
            lambda value: isinstance(value, list) and all(_is_text(part) for part in value),
            lambda value: tuple(_read_path(part) for part in value),
        ),
    }
)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name too long, or a folder that may not be looked into
        return False


def _outside(name: str, value: str, allowed: tuple[str, ...]) -> Iterator[str]:
    if value not in allowed:
        yield f"{name}: got {value!r}; allowed: {', '.join(allowed)}"
