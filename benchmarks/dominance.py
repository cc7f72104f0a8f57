"""Pictures of ours that are nearer to style and content at once than a peer's of the same pair.

    python -m benchmarks.dominance [--sides 256 512] [--pairs 16 4] [--precisions bfloat16 float32]

`benchmarks.peers` draws whole curves, which takes twelve paintings a pair. One picture says as much of one peer: where
it is at most as far from the content as the peer's and nearer to the style, our curve over strengths lies below the
peer's point. `standard` is to be at no point above `classic` and the published schedule, `fine` at least 10 % below.
A pair is painted at strength 1/2, and then at the next weaker or stronger ones until one shows that, or none is left.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks import gallery, report
from benchmarks.gallery import Gallery, Judged, Pair
from benchmarks.painting import SCHEDULE
from benchmarks.strength import of_strength
from styleserve.presets import PRESETS

#: The style distance of ours, in shares of the peer's, that is wanted at most.
WANTED: Mapping[str, float] = {"standard": 1.0, "fine": 0.9}
PEERS = {"classic": PRESETS["classic"], "schedule": SCHEDULE}
_TENTHS = (1, 2, 3, 4, 5, 6)
_FIRST = 5


@dataclass(frozen=True, slots=True)
class Comparison:
    """A picture of ours beside a peer's: distances in shares of the peer's."""

    pair: str
    peer: str
    preset: str
    strength: float
    style: float
    content: float

    @property
    def is_shown(self) -> bool:
        """Whether it lies as far below the peer's point as is wanted."""
        return self.content <= 1 and self.style <= WANTED[self.preset]


def main() -> None:
    """Paint, judge, print, and write docs/benchmarks/dominance.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    gallery.add_sides(parser)
    parser.add_argument(
        "--precisions",
        nargs="+",
        choices=gallery.PRECISIONS,
        default=["auto"],
        help="what is painted in none of them is painted in the last (default: auto)",
    )
    arguments = parser.parse_args()
    results: dict[str, report.Value] = {}
    with ExitStack() as opened:
        own = [opened.enter_context(gallery.opened(name)) for name in arguments.precisions]
        for side, num_pairs in zip(arguments.sides, arguments.pairs, strict=True):
            found = [compare for pair in gallery.pairs(side, num_pairs) for compare in comparisons(own, pair)]
            header, rows = _table(found)
            print(f"\n{side} px, {num_pairs} pairs\n{report.table(header, rows)}", flush=True)
            results[str(side)] = [_record(compare) for compare in found]
    report.write("dominance", {"weights": own[0].subject.weights.label, "comparisons": results})


def comparisons(galleries: Sequence[Gallery], pair: Pair) -> Iterator[Comparison]:
    """Of each preset with each peer, the one that shows it, or else the last."""
    for peer, recipe in PEERS.items():
        theirs = gallery.result_of_any(galleries, pair, recipe)
        for preset in WANTED:
            yield _closest(galleries, pair, peer, theirs, preset)


def _closest(galleries: Sequence[Gallery], pair: Pair, peer: str, theirs: Judged, preset: str) -> Comparison:
    """At strength 1/2, or weaker where that is too far from the content, or stronger where it is near enough to it."""

    def at(tenths: int) -> Comparison:
        ours = gallery.result_of_any(galleries, pair, of_strength(preset, tenths / 10))
        quotients = ours.style / theirs.style, ours.content / theirs.content
        return Comparison(pair.name, peer, preset, tenths / 10, *quotients)

    found = at(_FIRST)
    others = [tenths for tenths in _TENTHS if tenths > _FIRST]
    if found.content > 1:
        others = [tenths for tenths in reversed(_TENTHS) if tenths < _FIRST]
    for tenths in others:
        if found.is_shown:
            break
        found = at(tenths)
    return found


def _table(found: Sequence[Comparison]) -> tuple[list[str], list[list[report.Value]]]:
    """A row a peer and preset: pairs that show it, of how many, and the largest quotient of the style distances."""
    header = ["peer", "preset", "pairs", "shown", "style / peer's, at most"]
    rows: list[list[report.Value]] = []
    for peer in PEERS:
        for preset in WANTED:
            of_both = [own for own in found if (own.peer, own.preset) == (peer, preset)]
            shown = sum(own.is_shown for own in of_both)
            rows.append([peer, preset, len(of_both), shown, max(own.style for own in of_both)])
    return header, rows


def _record(compare: Comparison) -> Mapping[str, report.Value]:
    return {name: getattr(compare, name) for name in Comparison.__slots__}


if __name__ == "__main__":
    main()
