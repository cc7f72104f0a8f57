"""Pictures of ours that are nearer to style and content at once than a peer's of the same pair.

    python -m benchmarks.dominance [--sides 256 512] [--pairs 16 4] [--peers PEER ...] [--precisions bfloat16 float32]

`benchmarks.peers` draws whole curves, which takes twelve paintings a pair. One picture says as much of one peer: where
it is at most as far from the content as the peer's and nearer to the style, our curve over strengths lies below the
peer's point. `standard` is to be at no point above a peer's, `fine` at least 10 % below. A pair is painted at strength
1/2, and, where that does not show it clearly, at the strength that is expected to be as far from the content as the
peer's, and from there at the next weaker or stronger ones until one does, or the peer's distance is passed.

Comparisons with other peers, or at other sizes, stay in the file.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import gallery, report
from benchmarks.gallery import Gallery, Judged, Pair
from benchmarks.peers import PEERS
from benchmarks.strength import of_strength
from styleserve.recipes import Recipe

#: The style distance of ours, in shares of the peer's, that is wanted at most.
WANTED: Mapping[str, float] = {"standard": 1.0, "fine": 0.9}
#: How far below that a picture shows it clearly: the same one by two machines differs by as much.
_MARGIN = 0.03
_TENTHS = (1, 2, 3, 4, 5, 6)
_HALF = 5
_MARKERS = {"standard": "o", "fine": "D"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A picture of ours beside a peer's: distances in shares of the peer's, and the precision of either."""

    pair: str
    peer: str
    preset: str
    strength: float
    style: float
    content: float
    precision: str
    peer_precision: str

    @property
    def is_shown(self) -> bool:
        """Whether it lies as far below the peer's point as is wanted."""
        return self.content <= 1 and self.style <= WANTED[self.preset]

    @property
    def is_clear(self) -> bool:
        """Whether no rounding can have shown it."""
        return self.is_shown and self.style <= WANTED[self.preset] - _MARGIN


def main() -> None:
    """Paint, judge, print, and write docs/benchmarks/dominance.json and .png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    gallery.add_sides(parser)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), help="default: all")
    parser.add_argument(
        "--precisions",
        nargs="+",
        choices=gallery.PRECISIONS,
        default=["auto"],
        help="what is painted in none of them is painted in the last (default: auto)",
    )
    arguments = parser.parse_args()
    with ExitStack() as opened:
        # No comparison here is of seconds, so none are kept, and other work may run beside.
        own = [opened.enter_context(gallery.opened(name, is_quiet=False)) for name in arguments.precisions]
        for side, num_pairs in zip(arguments.sides, arguments.pairs, strict=True):
            found = [
                comparison
                for pair in gallery.pairs(side, num_pairs)
                for peer in arguments.peers
                for comparison in comparisons(own, pair, peer)
            ]
            header, rows = _table(found)
            print(f"\n{side} px, {num_pairs} pairs\n{report.table(header, rows)}", flush=True)
            keep(own[0].subject.weights.label, side, found)
    plot(kept(), report.FOLDER / "dominance.png")


def comparisons(galleries: Sequence[Gallery], pair: Pair, peer: str) -> Iterator[Comparison]:
    """Of each preset with the peer, the one that shows it best."""
    theirs = _result(galleries, pair, PEERS[peer])
    for preset in WANTED:
        yield _closest(galleries, pair, peer, theirs, preset)


def _result(galleries: Sequence[Gallery], pair: Pair, recipe: Recipe) -> tuple[Judged, str]:
    """The judgement of a result, and the precision that it was painted in."""
    owner = gallery.owner(galleries, pair, recipe)
    return owner.result(pair, recipe), owner.subject.precision


def _closest(
    galleries: Sequence[Gallery], pair: Pair, peer: str, theirs: tuple[Judged, str], preset: str
) -> Comparison:
    """At strength 1/2, or else as near to the peer's content distance as it takes."""
    other, peer_precision = theirs

    def at(tenths: int) -> Comparison:
        ours, precision = _result(galleries, pair, of_strength(preset, tenths / 10))
        quotients = ours.style / other.style, ours.content / other.content
        return Comparison(pair.name, peer, preset, tenths / 10, *quotients, precision, peer_precision)

    tried = [at(_HALF)]
    if not tried[0].is_clear:
        # The distance from the content grows nearly in proportion to the strength.
        tenths = min(max(int(_HALF / tried[0].content), _TENTHS[0]), _TENTHS[-1])
        tried.append(at(tenths))
        is_within = tried[-1].content <= 1
        while not tried[-1].is_clear and (tried[-1].content <= 1) == is_within:
            tenths += 1 if is_within else -1
            if tenths not in _TENTHS:
                break
            tried.append(at(tenths))
    return min(tried, key=lambda one: (not one.is_shown, one.content > 1, one.style))


def _table(found: Sequence[Comparison]) -> tuple[list[str], list[list[report.Value]]]:
    """A row a peer and preset: pairs that show it, of how many, and the largest quotient of the style distances."""
    header = ["peer", "preset", "pairs", "shown", "style / peer's, at most"]
    rows: list[list[report.Value]] = []
    for peer, preset in dict.fromkeys((own.peer, own.preset) for own in found):
        of_both = [own for own in found if (own.peer, own.preset) == (peer, preset)]
        shown = sum(own.is_shown for own in of_both)
        rows.append([peer, preset, len(of_both), shown, max(own.style for own in of_both)])
    return header, rows


def keep(weights: str, side: int, found: Sequence[Comparison]) -> None:
    """Write them; those of the same size with the same peers give way, all of them where other weights judged."""
    written = report.read("dominance")
    known = written.get("comparisons") if written.get("weights") == weights else {}
    assert isinstance(known, dict)
    peers = {own.peer for own in found}
    of_others = [record for record in known.get(str(side), []) if record["peer"] not in peers]
    records = [*of_others, *map(_record, found)]
    report.write("dominance", {"weights": weights, "comparisons": {**known, str(side): records}})


def kept() -> dict[str, list[Comparison]]:
    """All of the file, by size."""
    known = report.read("dominance").get("comparisons", {})
    assert isinstance(known, dict)
    return {side: [Comparison(**record) for record in records] for side, records in known.items()}


def plot(of_side: Mapping[str, Sequence[Comparison]], path: Path) -> None:
    """A panel a size: both quotients of each comparison, a colour a peer, a mark a preset; wanted is what is below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(of_side), figsize=(5 * len(of_side), 5.2), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    peers = dict.fromkeys(one.peer for found in of_side.values() for one in found)
    colours = {peer: f"C{rank}" for rank, peer in enumerate(peer for peer in PEERS if peer in peers)}
    for axis, (side, found) in zip(panels[0], of_side.items(), strict=True):
        for one in found:
            axis.plot(one.content, one.style, _MARKERS[one.preset], color=colours[one.peer], markersize=5, alpha=0.7)
        axis.axvline(1, color="0.3", linewidth=1)
        for preset, most in WANTED.items():
            style = "-" if most == 1 else "--"
            axis.axhline(most, color="0.3", linewidth=1, linestyle=style, label=f"wanted at most of {preset}")
        axis.set(title=f"{side} px", xlabel="content distance / the peer's", xlim=(0, None), ylim=(0, None))
        axis.grid(alpha=0.3)
    panels[0][0].set_ylabel("style distance / the peer's")
    for peer, colour in colours.items():
        panels[0][0].plot([], [], "s", color=colour, label=peer)
    for preset, marker in _MARKERS.items():
        panels[0][0].plot([], [], marker, color="0.5", label=preset)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize="small")
    figure.savefig(path, dpi=110)


def _record(compare: Comparison) -> Mapping[str, report.Value]:
    return {name: getattr(compare, name) for name in Comparison.__slots__}


if __name__ == "__main__":
    main()
