"""Documents: YAML files read as mappings, strictly; the style catalogue and the configuration share it."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import yaml

from styleserve.errors import ConfigurationError, nearest


def read_mapping(path: Path) -> dict[str, object]:
    """The mapping that the file holds; raises ConfigurationError that names the file, and the line where there is one.

    A key that stands twice is an error, which YAML's own reader would resolve in silence.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 (a SafeLoader)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or 'cannot be read'}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: not UTF-8; save the file as UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ConfigurationError(f"{path}: {line}{error.problem or 'not YAML'}") from None
    except yaml.YAMLError:
        raise ConfigurationError(f"{path}: not YAML; allowed: text of keys and values") from None
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise ConfigurationError(f"{path}: got no mapping; allowed: lines of `key: value`")
    return document


def write_mapping(mapping: Mapping[str, object]) -> str:
    """The text of a YAML file that `read_mapping` reads as this mapping of plain values, in its order."""
    text: str = yaml.safe_dump(dict(mapping), sort_keys=False, allow_unicode=True)
    return text


def unknown_keys(mapping: Mapping[str, object], known: Sequence[str]) -> list[str]:
    """A complaint for every key that is not known, with the nearest one that is."""
    return [_complain(key, known) for key in mapping if key not in known]


def _complain(key: str, known: Sequence[str]) -> str:
    near = nearest(str(key), known)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown key {key!r}; allowed: {', '.join(known)}{hint}"


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        """Construct as usual, once no key stands twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                mark = node.value[index][0].start_mark
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", mark)
        return super().construct_mapping(node, deep)
