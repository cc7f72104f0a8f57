"""Peers' points that cannot be measured again outlive the next run, and few pictures are painted against each."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = "weights@sha256:0"


@pytest.fixture
def peers(benchmark):
    return benchmark("peers")


@pytest.fixture
def dominance(benchmark):
    return benchmark("dominance")


@dataclasses.dataclass(frozen=True)
class Pair:
    name: str


class Gallery:
    """Ours lie on a curve; every peer's picture is at one point, which may be all that there is."""

    def __init__(self, peer_style: float, peer_content: float, precision="float32", has_ours=True) -> None:
        self.peer = peer_style, peer_content
        self.subject = SimpleNamespace(precision=precision)
        self.has_ours = has_ours
        self.strengths: list[float] = []

    def has(self, pair, recipe) -> bool:
        return self.has_ours or recipe.strength is None

    def result(self, pair, recipe):
        from benchmarks.gallery import Judged

        if recipe.strength is None:
            return Judged(1.0, 1, 1.0, *self.peer, "a machine")
        self.strengths.append(recipe.strength)
        return Judged(1.0, 1, 1.0, 0.1 / recipe.strength, recipe.strength, "a machine")


def write(peers, *names: str) -> None:
    points = [{"pair": "a b", "peer": name, "seconds": 2.0, "style": 0.5, "content": 0.25} for name in names]
    text = json.dumps({"side": 256, "weights": WEIGHTS, "points": points})
    (peers.report.FOLDER / "peers.json").write_text(text)


def test_a_point_of_another_program_stays_and_those_of_recipes_are_painted_again(peers):
    write(peers, "classic", "schedule", "another program")
    assert peers.points_of_others(256, WEIGHTS) == {"a b": [peers.Point("another program", 0.5, 0.25, 2.0)]}


def test_a_run_that_would_lose_such_a_point_is_refused(peers):
    write(peers, "another program")
    for side, weights in ((512, WEIGHTS), (256, "others")):
        with pytest.raises(SystemExit, match="would overwrite them"):
            peers.points_of_others(side, weights)


def test_without_such_points_anything_may_be_painted(peers):
    assert peers.points_of_others(512, WEIGHTS) == {}
    write(peers, "classic")
    assert peers.points_of_others(512, WEIGHTS) == {}


def test_the_point_that_is_there_is_one_of_them(peers, monkeypatch):
    monkeypatch.setattr(peers.report, "FOLDER", ROOT / "docs" / "benchmarks")
    written = peers.report.read("peers")
    found = peers.points_of_others(written["side"], written["weights"])
    assert sum(map(len, found.values())) == sum(point["peer"] not in peers.PEERS for point in written["points"]) > 0


def test_a_peer_far_from_the_content_is_compared_with_the_preset_itself(dominance):
    gallery = Gallery(0.3, 0.9)
    found = list(dominance.comparisons([gallery], Pair("a b"), "classic"))
    assert [(one.preset, one.strength, one.is_shown) for one in found] == [("standard", 0.5, True), ("fine", 0.5, True)]
    assert gallery.strengths == [0.5, 0.5]


def test_a_peer_near_to_the_content_is_compared_at_the_strength_that_comes_as_near(dominance):
    gallery = Gallery(0.6, 0.21)
    found = list(dominance.comparisons([gallery], Pair("a b"), "classic"))
    assert [(one.strength, one.is_shown) for one in found] == [(0.2, True), (0.2, True)]
    assert gallery.strengths == [0.5, 0.2] * 2


def test_what_is_all_but_the_same_is_tried_at_the_next_strength_too(dominance):
    gallery = Gallery(0.201, 0.61)  # of ours, 0.2 at 0.5
    standard, _ = dominance.comparisons([gallery], Pair("a b"), "classic")
    assert (standard.strength, standard.is_shown) == (0.6, True)
    gallery = Gallery(0.201, 0.59)
    standard, _ = dominance.comparisons([gallery], Pair("a b"), "classic")
    assert (standard.strength, standard.is_shown) == (0.5, True), "the stronger one is too far from the content"


def test_what_no_strength_shows_is_told(dominance):
    gallery = Gallery(0.52, 0.21)  # of ours, 0.5 at 0.2: nearer, but not by a tenth
    standard, fine = dominance.comparisons([gallery], Pair("a b"), "classic")
    assert (standard.is_shown, fine.is_shown) == (True, False)
    assert fine.strength == 0.2
    assert gallery.strengths[-1] == 0.3, "a stronger one was tried, which is too far from the content"


def test_a_comparison_has_the_precision_of_both_pictures(dominance):
    galleries = [Gallery(0.3, 0.9, "bfloat16", has_ours=False), Gallery(0.1, 0.1, "float32")]
    standard, _ = dominance.comparisons(galleries, Pair("a b"), "classic")
    assert (standard.precision, standard.peer_precision) == ("float32", "bfloat16")
    assert standard.content == pytest.approx(0.5 / 0.9), "the peer's picture is the first gallery's"


def test_comparisons_with_other_peers_and_sizes_stay_in_the_file(dominance):
    def compared(peer: str, style: float):
        return dominance.Comparison("a b", peer, "fine", 0.5, style, 1.0, "float32", "bfloat16")

    def known() -> dict[str, list[tuple[str, float]]]:
        comparisons = dominance.report.read("dominance")["comparisons"]
        return {side: [(one["peer"], one["style"]) for one in found] for side, found in comparisons.items()}

    dominance.keep(WEIGHTS, 256, [compared("classic", 0.5), compared("schedule", 0.6)])
    dominance.keep(WEIGHTS, 512, [compared("classic", 0.7)])
    dominance.keep(WEIGHTS, 256, [compared("classic", 0.4)])
    assert known() == {"256": [("schedule", 0.6), ("classic", 0.4)], "512": [("classic", 0.7)]}
    dominance.keep("others", 512, [compared("classic", 0.8)])
    assert known() == {"512": [("classic", 0.8)]}
