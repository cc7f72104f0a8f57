"""Documents: YAML files read as mappings, strictly; the style catalogue and the configuration share it.

A file may come from anywhere, so what YAML allows beyond plain settings is refused: aliases, which let a few lines
stand for gigabytes, deep nesting, numbers without end. So is whatever is no regular file, since a pipe can keep its
reader, and a stop that waits for it, for ever.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path

import yaml

from styleserve.errors import ConfigurationError
from styleserve.files import read_bounded
from styleserve.hints import nearest

#: Of a file, in bytes; reading YAML takes about a second for each 100 kB.
MAX_BYTES = 64 * 1024
_MAX_DEPTH = 16
_LARGEST_INTEGER = 2**64
#: Of what is shown of a value, in characters.
_MAX_SHOWN = 200
_MAX_UNKNOWN_KEYS = 8


def read_mapping(path: Path) -> dict[str, object]:
    """The mapping that the file holds; raises ConfigurationError that names the file."""
    try:
        data = read_bounded(path, MAX_BYTES)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or 'cannot be read'}") from None
    return decode_mapping(data, str(path))


def decode_mapping(data: bytes, where: str) -> dict[str, object]:
    """The mapping that the bytes of a file are; raises ConfigurationError that says `where`."""
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"{where}: got more than {MAX_BYTES} bytes; allowed: up to {MAX_BYTES}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{where}: not UTF-8; save the file as UTF-8 text") from None
    return parse_mapping(text, where)


def parse_mapping(text: str, where: str) -> dict[str, object]:
    """The mapping that the text is; raises ConfigurationError that says `where`, and the line where there is one.

    A key that stands twice is an error, which YAML's own reader would resolve in silence.
    """
    try:
        document = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ConfigurationError(f"{where}: {line}{_shorten(error.problem or 'not YAML')}") from None
    except yaml.YAMLError:
        raise ConfigurationError(f"{where}: not YAML; allowed: text of keys and values") from None
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise ConfigurationError(f"{where}: got no mapping; allowed: lines of `key: value`")
    return document


def write_mapping(mapping: Mapping[str, object]) -> str:
    """The text of a YAML file that `read_mapping` reads as this mapping of plain values, in its order."""
    text: str = yaml.safe_dump(dict(mapping), sort_keys=False, allow_unicode=True)
    return text


def unknown_keys(keys: Iterable[object], known: Sequence[str]) -> list[str]:
    """Complaints about the first keys that are not known, with the nearest that is, and about how many more there are.

    A mapping is its keys.
    """
    unknown = [key for key in keys if key not in known]
    complaints = [_complain(key, known) for key in unknown[:_MAX_UNKNOWN_KEYS]]
    if len(unknown) > _MAX_UNKNOWN_KEYS:
        complaints.append(f"{len(unknown) - _MAX_UNKNOWN_KEYS} more unknown keys")
    return complaints


def shown(value: object) -> str:
    """A value as a complaint shows it, in a line that is not too long."""
    return _shorten(repr(value))


def _complain(key: object, known: Sequence[str]) -> str:
    near = nearest(key, known) if isinstance(key, str) else []
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown key {shown(key)}; allowed: {', '.join(known)}{hint}"


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses duplicate keys, aliases, deep nesting, and values that are not what their tag says."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose as usual, unless it is an alias or too deep."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "an alias; write the value out", mark)
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"nested deeper than {_MAX_DEPTH} levels", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        """Construct as usual; whatever a constructor raises for a value of the wrong form is an error of the file."""
        if node.tag not in self.yaml_constructors:
            raise _wrong(node, "a tag or sign that plain settings do not have; quote it")
        try:
            value: object = super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception:
            raise _wrong(node, "a value that is not what YAML takes it for; quote it") from None
        if isinstance(value, int) and not -_LARGEST_INTEGER < value < _LARGEST_INTEGER:
            raise _wrong(node, "a whole number beyond 64 bits")
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        """Construct as usual, once it is a mapping, which a tag may claim of anything, and no key stands twice."""
        if not isinstance(node, yaml.MappingNode):
            raise _wrong(node, "a tag of a mapping before something else")
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise _wrong(key_node, "a list or mapping in the place of a key")
            if key in seen:
                raise _wrong(key_node, f"the key {key!r} stands twice")
            seen.add(key)
        return super().construct_mapping(node, deep)


def _wrong(node: yaml.Node, problem: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
