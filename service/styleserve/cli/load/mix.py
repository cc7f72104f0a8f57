"""Mix: the kinds of requests of a load and how often each comes, read from YAML in a file or on the command line."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias, TypeGuard, get_args

from styleserve.documents import parse_mapping, read_mapping, unknown_keys
from styleserve.errors import ConfigurationError
from styleserve.images import MAX_SIDE, MIN_SIDE
from styleserve.presets import PRESETS
from styleserve.recipes import MAX_ITERATIONS, OPTIMIZERS, OptimizerName

#: `paint` waits for a picture, `watch` follows one by its stream, `cancel` has a job cancelled, `leave` hangs up, and
#: `read` reads a job.
Action: TypeAlias = Literal["paint", "watch", "cancel", "leave", "read"]
ACTIONS: tuple[Action, ...] = get_args(Action)

_LONGEST_S = 3600.0
_CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"do": ACTIONS, "preset": tuple(PRESETS), "optimizer": OPTIMIZERS}
)
_RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "weight": (0, 1e6),
        "side": (MIN_SIDE, MAX_SIDE),
        "iterations": (0, MAX_ITERATIONS),
        "after_s": (0, _LONGEST_S),
    }
)
_WHOLE = ("side", "iterations")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request.

    `weight` is its share among the kinds. The picture is a square of `side` pixels; preset, optimizer and iterations
    that are left out are the style's and the server's. `after_s` seconds pass before the job is cancelled or left.
    """

    name: str
    do: Action = "paint"
    weight: float = 1.0
    style: str = "mosaic"
    side: int = 64
    preset: str | None = None
    optimizer: OptimizerName | None = None
    iterations: int | None = None
    after_s: float = 0.5


DEFAULT_MIX = (
    Kind("small", weight=4, side=64, preset="draft"),
    Kind("large", weight=1, side=256, preset="draft"),
    Kind("watched", do="watch", weight=2, side=128, preset="draft"),
    Kind("cancelled", do="cancel", side=128),
    Kind("left", do="leave", side=128),
    Kind("reads", do="read", weight=6),
)
_KEYS = tuple(field.name for field in fields(Kind) if field.name != "name")


def read_mix(source: str) -> tuple[Kind, ...]:
    """The kinds that a file of this name holds, or the text itself where it begins with a brace.

    Raises ConfigurationError, which names all that is wrong.
    """
    is_inline = source.lstrip().startswith("{")
    where = "mix" if is_inline else source
    mapping = parse_mapping(source, where) if is_inline else read_mapping(Path(source))
    problems = list(_problems(where, mapping))
    if problems:
        raise ConfigurationError("\n".join(problems))
    kinds = tuple(Kind(name=name, **settings) for name, settings in mapping.items())  # type: ignore[arg-type]
    if not any(kind.weight for kind in kinds):
        raise ConfigurationError(f"{where}: got no kind of request; allowed: kinds whose weights sum to more than 0")
    return kinds


def _problems(where: str, mapping: Mapping[str, object]) -> Iterator[str]:
    for name, settings in mapping.items():
        place = f"{where}: {name}"
        if not isinstance(settings, dict):
            yield f"{place}: got {settings!r}; allowed: a mapping with any of {', '.join(_KEYS)}"
            continue
        yield from (f"{place}: {complaint}" for complaint in unknown_keys(settings, _KEYS))
        for key, value in settings.items():
            if problem := _problem(key, value):
                yield f"{place}: {key}: got {value!r}; allowed: {problem}"


def _problem(key: str, value: object) -> str:
    """What a value would have to be, or nothing when it is."""
    if key in _CHOICES:
        return "" if value in _CHOICES[key] else ", ".join(_CHOICES[key])
    if key in _RANGES:
        low, high = _RANGES[key]
        kind = "a whole number" if key in _WHOLE else "a number"
        return "" if _is_number(value, key in _WHOLE) and low <= value <= high else f"{kind} from {low:g} to {high:g}"
    return "" if key != "style" or (isinstance(value, str) and value) else "a style's name"


def _is_number(value: object, must_be_whole: bool) -> TypeGuard[float]:
    is_number = isinstance(value, int) or (isinstance(value, float) and not must_be_whole)
    return is_number and not isinstance(value, bool)
