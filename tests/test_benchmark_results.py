"""What benchmarks make of what they measured, and what they leave in their files."""

import json
import math
from types import SimpleNamespace

import pytest

WEIGHTS = "weights@sha256:0"


def of_pairs(*styles: tuple[float, float]) -> dict[str, dict[str, list[float]]]:
    """Pairs whose style distances in float32 and bfloat16 are these."""
    return {
        f"pair {rank}": {"float32": [float32, 0.5], "bfloat16": [bfloat16, 0.5]}
        for rank, (float32, bfloat16) in enumerate(styles)
    }


def test_means_in_bfloat16_are_compared_with_means_in_float32_and_pairs_with_pairs(benchmark):
    precision, pairs = benchmark("precision"), of_pairs((0.1, 0.11), (0.3, 0.27))
    assert precision.differences(pairs, 0) == pytest.approx([10, -10])
    assert precision.difference_of_means(pairs, 0) == pytest.approx(-5)
    assert precision.difference_of_means(pairs, 1) == 0


def test_distances_of_other_sides_and_recipes_stay_unless_other_weights_judged(benchmark):
    precision = benchmark("precision")
    old, new = of_pairs((0.1, 0.2)), of_pairs((0.3, 0.4))
    precision.report.write("precision", {"weights": WEIGHTS, "distances": {"256": {"draft": old, "fine": old}}})
    assert precision.added(WEIGHTS, 256, {"fine": new}) == {"256": {"draft": old, "fine": new}}
    assert precision.added(WEIGHTS, 512, {"fine": new}) == {"256": {"draft": old, "fine": old}, "512": {"fine": new}}
    assert precision.added("others", 256, {"fine": new}) == {"256": {"fine": new}}


def test_times_of_other_sides_stay_each_with_its_machine(benchmark):
    times = benchmark("times")

    def timed(share: float) -> list[dict[str, str | float]]:
        row = {f"{preset} / classic": share for preset in ("draft", "standard", "fine")}
        return [{"pair": "a b", **row}, {"pair": "median", **row}]

    for side, share in ((256, 0.5), (512, 0.6), (256, 0.7)):
        times.keep(side, "bfloat16", timed(share))
    shares = {side: [pair["fine"] for pair in pairs] for side, pairs in times.shares().items()}
    assert shares == {"256": [0.7], "512": [0.6]}
    assert all("processor" in own["machine"] for own in times.report.read("times")["sides"].values())


@pytest.fixture
def painted(benchmark):
    """A painting of one look, in so many seconds."""
    judged = benchmark("gallery").Judged
    return lambda seconds, machine="here": [judged(seconds, 10, 1.5, 0.25, 0.5, machine)]


def rows(benchmark, of_recipe) -> dict[str, dict[str, object]]:
    quality = benchmark("quality")
    header, rows = quality._table(of_recipe)
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


def test_times_are_compared_over_the_pairs_that_one_quiet_machine_has_painted_by_both(benchmark, painted):
    told = rows(
        benchmark,
        {
            "classic": [painted(10), painted(10), painted(10)],
            "draft": [painted(2), painted(9, "elsewhere"), painted(math.nan)],
            "fine": [painted(30, "elsewhere"), painted(30, "elsewhere"), painted(math.nan)],
        },
    )
    assert told["draft"]["time / classic"] == pytest.approx(0.2)
    assert told["fine"]["time / classic"] is None
    assert told["classic"]["seconds"] is None


def test_seconds_are_means_over_the_pairs_that_one_machine_has_painted_by_all(benchmark, painted):
    told = rows(benchmark, {"classic": [painted(10), painted(10, "elsewhere")], "draft": [painted(2), painted(4)]})
    assert (told["classic"]["seconds"], told["draft"]["seconds"]) == (10, 2)


def test_a_painting_keeps_its_machine_and_its_seconds_if_there_are_any(benchmark, painted):
    gallery = benchmark("gallery")
    kept = {"a": painted(2.5), "b": painted(math.nan, "elsewhere")}
    text = json.dumps({"paintings": {key: gallery._record(looks) for key, looks in kept.items()}})
    (gallery.report.FOLDER / "paintings.json").write_text(text)
    known = gallery._read()
    assert known["a"] == kept["a"]
    assert known["b"][0].machine == "elsewhere"
    assert math.isnan(known["b"][0].seconds)


def test_calls_with_deadlines_of_other_sides_stay_each_with_its_machine(benchmark, monkeypatch):
    deadlines = benchmark("deadlines")

    def call(width: int):
        return deadlines.Row(64, width, "draft", "alone", 5.0, 4.5, "deadline", width, 7)

    for machine, side, width in (("old", 384, 100), ("old", 1024, 900), ("new", 384, 200)):
        monkeypatch.setattr(deadlines.report, "machine", lambda name=machine: {"name": name})
        deadlines.keep(side, WEIGHTS, "float32", [call(width)])
    assert deadlines.runs() == {"384": [call(200)], "1024": [call(900)]}
    written = deadlines.report.read("deadlines")["runs"]
    assert {side: run["machine"]["name"] for side, run in written.items()} == {"384": "new", "1024": "old"}


def test_batches_are_counted_by_their_sizes_and_stepped(benchmark):
    stepped: list[list[str]] = []
    optimizer = SimpleNamespace(upkeep=None, start=None, snapshot=None, resume=None, step=stepped.append)
    counted = benchmark("batching").Counted(optimizer)
    for runs in (["a", "b"], ["a"], ["a", "b"]):
        counted.step(runs)
    assert counted.sizes == {2: 2, 1: 1}
    assert stepped == [["a", "b"], ["a"], ["a", "b"]]


@pytest.mark.parametrize(("only", "limits"), [(None, {"auto", "1800MB"}), ("whole", {"auto"}), ("tiled", {"1800MB"})])
def test_memory_is_measured_of_the_canvases_that_are_asked_for(benchmark, only, limits):
    arguments = SimpleNamespace(laps=1, sides=[1024], presets=["paper"], only=only, iterations=None)
    assert {limit for _, _, limit, _ in benchmark("memory")._cases(arguments)} == limits


def test_memory_is_measured_over_the_iterations_that_are_asked_for(benchmark):
    arguments = SimpleNamespace(laps=2, sides=[128, 1024], presets=["paper", "draft"], only="tiled", iterations=2)
    asked = [("paper", 1024, "1800MB", 2), ("draft", 1024, "1800MB", 2)]
    assert list(benchmark("memory")._cases(arguments)) == 2 * asked
