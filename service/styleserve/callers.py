"""Callers: who calls, what they may do, and how much of the server is theirs; read from the operator's file.

The file has a caller a name, known by the SHA-256 of its tokens or, where certificates are asked for, by the common
name of its own:

    callers:
      editor:
        token_sha256: [77b7fcbbcdc72a251e8f3064dc7c6364e920a8b3f4eb8b07ddfb656764302cba]
        scopes: [stylize, read]
        max_waiting: 16
        max_running: 2
        max_bytes_per_minute: 100MB
      metrics-page:
        certificates: [pages.internal]
        scopes: [read]

A token is 256 random bits, so that its hash needs no salt and no slowness; two stand there while one gives way to the
other.
"""

import functools
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from styleserve.digests import is_sha256
from styleserve.documents import decode_mapping, shown, unknown_keys
from styleserve.errors import ConfigurationError
from styleserve.followed import FollowedFiles
from styleserve.sizes import parse_size

Scope: TypeAlias = Literal["stylize", "read", "admin"]
#: What there is to be allowed: to have pictures made, to read, to change the style catalogue.
SCOPES: tuple[Scope, ...] = get_args(Scope)

_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_TOKEN_BYTES = 32
_REREAD_S = 1.0
_MOST_JOBS = 100_000


@dataclass(frozen=True, slots=True)
class Quota:
    """What a caller may have at once, and send: None for as much as the server takes."""

    max_waiting: int | None = None
    max_running: int | None = None
    max_bytes_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who calls; jobs and images belong to the name, so that it is no other's later."""

    name: str
    scopes: frozenset[Scope]
    quota: Quota = Quota()


#: Everybody, where nobody is told apart.
ANONYMOUS = Caller("anonymous", frozenset(SCOPES))
#: What somebody who is told apart can be called, in words.
NAMES_ALLOWED = f"1 to 63 letters, digits, '.', '_' and '-', the first no sign, and not {ANONYMOUS.name}"


def is_name(name: str) -> bool:
    """Whether a caller can be called so: a file name in every file system."""
    return _NAME_PATTERN.fullmatch(name) is not None


def is_callers_name(name: str) -> bool:
    """Whether somebody who is told apart can be called so; what belongs to everybody is nobody's afterwards."""
    return is_name(name) and name != ANONYMOUS.name


def new_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def token_sha256(token: str) -> str:
    """The hash of a token, as the file has it."""
    return hashlib.sha256(token.encode()).hexdigest()


#: Of a caller who was taken out of the file before the server started, for the jobs that it left.
_STRANGERS = Quota(max_running=1)


class Callers:
    """The callers of a file, read again when it changes; a file that is broken then is logged, and nothing changes."""

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.monotonic, *, asks_for_certificates: bool = True
    ) -> None:
        """Read the file; raises ConfigurationError with all that is wrong.

        A server that does not ask for certificates takes no caller who has nothing else to show.
        """
        read = functools.partial(_read, path, asks_for_certificates)
        self._file = FollowedFiles((path,), read, "the callers")
        self._clock = clock
        self._looked = clock()
        self._quotas: dict[str, Quota] = {}
        self._note_quotas()

    def __len__(self) -> int:
        return len(self._current())

    def with_token(self, token: str) -> Caller | None:
        """The caller who has this token; takes as long for a wrong one as for a right one."""
        digest, found = token_sha256(token), None
        for entry in self._current():
            for known in entry.tokens:
                if hmac.compare_digest(known, digest):
                    found = entry.caller
        return found

    def with_certificate(self, common_name: str) -> Caller | None:
        """The caller whose certificate has this common name."""
        found = (entry.caller for entry in self._current() if common_name in entry.certificates)
        return next(found, None)

    def quota(self, name: str) -> Quota:
        """What the caller of this name may have; who was taken out of the file keeps what it had for what it left."""
        self._current()
        return self._quotas.get(name, _STRANGERS)

    def _current(self) -> tuple["_Entry", ...]:
        now = self._clock()
        if now - self._looked >= _REREAD_S:
            self._looked = now
            if self._file.look():
                self._note_quotas()
        return self._file.value

    def _note_quotas(self) -> None:
        self._quotas |= {entry.caller.name: entry.caller.quota for entry in self._file.value}


@dataclass(frozen=True, slots=True)
class _Entry:
    caller: Caller
    tokens: tuple[str, ...]
    certificates: tuple[str, ...]


_KEYS = ("token_sha256", "certificates", "scopes", "max_waiting", "max_running", "max_bytes_per_minute")
_TOKENS_ALLOWED = (
    "hashes of tokens, as `styleserve callers new` prints them; if it is the token itself, make a new one, since this "
    "one stands in a file now"
)
_CERTIFICATES_ALLOWED = "common names of certificates"


def _read(path: Path, asks_for_certificates: bool, contents: Sequence[bytes]) -> tuple[_Entry, ...]:
    """The callers; raises ConfigurationError with all that is wrong."""
    (data,) = contents
    document = decode_mapping(data, str(path))
    problems = [f"{path}: {complaint}" for complaint in unknown_keys(document, ["callers"])]
    callers = document.get("callers")
    if not isinstance(callers, dict) or not callers:
        raise ConfigurationError(f"{path}: got no `callers`; allowed: a mapping of names to what each caller may do")
    entries = []
    for name, settings in callers.items():
        known = settings if isinstance(settings, dict) else {}
        reading = _Reading(f"{path}: callers.{name}", known, asks_for_certificates)
        entries.append(reading.entry(name))
        problems += reading.problems
    problems += _shared(path, entries)
    if problems:
        raise ConfigurationError("\n".join(problems))
    return tuple(entries)


def _shared(path: Path, entries: list[_Entry]) -> Iterator[str]:
    """A complaint for each token and certificate that two callers have, and for names that are one to some disks."""
    owners: dict[str, str] = {}
    names: dict[str, str] = {}
    for entry in entries:
        name = entry.caller.name
        alike = names.setdefault(name.casefold(), name)
        if alike != name:
            yield f"{path}: callers.{name}: got a name like {alike!r}; allowed: names that differ in more than case"
        for key in (*entry.tokens, *entry.certificates):
            if key in owners:
                yield f"{path}: callers.{entry.caller.name}: {key!r} stands at {owners[key]!r} too; allowed: one caller"
            owners[key] = entry.caller.name


class _Reading:
    """One caller's settings; what is wrong is gathered in `problems`."""

    def __init__(self, where: str, settings: Mapping[str, object], asks_for_certificates: bool) -> None:
        self._where = where
        self._settings = settings
        self._asks_for_certificates = asks_for_certificates
        self.problems = [f"{where}: {complaint}" for complaint in unknown_keys(settings, _KEYS)]

    def entry(self, name: object) -> _Entry:
        """The caller, as far as its settings can be read."""
        if not isinstance(name, str):
            self._complain(f"got the name {shown(name)}, which is no text; quote it")
        elif not is_callers_name(name):
            self._complain(f"got the name {shown(name)}; allowed: {NAMES_ALLOWED}")
        tokens, certificates = self._tokens(), self._certificates()
        self._check_can_call()
        quota = Quota(self._count("max_waiting"), self._count("max_running"), self._bytes())
        return _Entry(Caller(str(name), frozenset(self._scopes()), quota), tokens, certificates)

    def _complain(self, complaint: str) -> None:
        self.problems.append(f"{self._where}: {complaint}")

    def _check_can_call(self) -> None:
        """Complain of a caller who has nothing to show that it would be asked for."""
        if self._settings.get("token_sha256"):
            return
        if not self._settings.get("certificates"):
            self._complain("got neither `token_sha256` nor `certificates`; allowed: one of them, or both")
        elif not self._asks_for_certificates:
            self._complain(
                "got `certificates` alone, which no caller is asked for without tls_client_ca; allowed: "
                "`token_sha256`, or a server with tls_client_ca"
            )

    def _tokens(self) -> tuple[str, ...]:
        """The hashes; no other value is shown: it may be a token, and a complaint goes to logs that others read."""
        values = self._list("token_sha256", _kind, _TOKENS_ALLOWED)
        for number, value in enumerate(values, 1):
            if not isinstance(value, str) or not is_sha256(value):
                self._complain(f"token_sha256: {number}: got {_kind(value)}, no SHA-256; allowed: {_TOKENS_ALLOWED}")
        return tuple(value for value in values if isinstance(value, str) and is_sha256(value))

    def _certificates(self) -> tuple[str, ...]:
        values = self._list("certificates", shown, _CERTIFICATES_ALLOWED)
        for value in values:
            if not isinstance(value, str) or not is_name(value):
                self._complain(f"certificates: got {shown(value)}; allowed: {_CERTIFICATES_ALLOWED}")
        return tuple(value for value in values if isinstance(value, str) and is_name(value))

    def _list(self, key: str, describe: Callable[[object], str], allowed: str) -> list[object]:
        values = self._settings.get(key, [])
        if isinstance(values, list):
            return values
        self._complain(f"{key}: got {describe(values)}; allowed: a list of {allowed}")
        return []

    def _scopes(self) -> list[Scope]:
        values = self._settings.get("scopes")
        if not isinstance(values, list) or not values or any(value not in SCOPES for value in values):
            self._complain(f"scopes: got {shown(values)}; allowed: a list of {', '.join(SCOPES)}")
            return []
        return values

    def _count(self, key: str) -> int | None:
        value = self._settings.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST_JOBS:
            self._complain(f"{key}: got {shown(value)}; allowed: 1 to {_MOST_JOBS}, or nothing for no bound")
            return None
        return value

    def _bytes(self) -> int | None:
        value = self._settings.get("max_bytes_per_minute")
        if value is None:
            return None
        try:
            return parse_size(str(value))
        except ConfigurationError as error:
            self._complain(f"max_bytes_per_minute: {error}")
            return None


def _kind(value: object) -> str:
    """What is said of a value that may be secret."""
    if isinstance(value, str):
        return f"text of {len(value)} characters"
    return f"a value of type {type(value).__name__}"
