"""The figures in the tables of docs/benchmarks are those of the files beside it, as far as they are written out.

A table is known by its section's link to a file and by its first two columns. Rows are found by their names, and
those of recipes and variants else by their figures, so that a table may call a variant what it likes.
"""

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "benchmarks"
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


@dataclass(frozen=True)
class Table:
    """A table of the document: what is written in its cells, and the files that its section links to."""

    section: str
    files: tuple[str, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def key(self) -> tuple[str, ...]:
        """The first file of its section, and its first two columns."""
        return (self.files or ("",))[0], *self.header[:2]


def tables() -> Iterator[Table]:
    """All tables of the document."""
    for section in re.split(r"^## ", (FOLDER / "README.md").read_text(), flags=re.MULTILINE):
        files = tuple(re.findall(r"\]\(([\w-]+)\.json\)", section))
        for block in re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE):
            header, _, *rows = (
                tuple(cell.strip() for cell in line.strip("|\n ").split("|")) for line in block.splitlines()
            )
            # A trailing cell that is empty is eaten with the line's end.
            rows = [(*row, *[""] * (len(header) - len(row))) for row in rows]
            yield Table(section.partition("\n")[0], files, header, tuple(rows))


def numbers(cell: str) -> list[str]:
    """The numbers of a cell, as they are written."""
    return _NUMBER.findall(cell)


def is_shown(written: str, value: float) -> bool:
    """Whether a number is what the value is when it is rounded to as many digits as are written."""
    digits, _, exponent = written.partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))
    return math.isclose(float(written), value, rel_tol=0, abs_tol=0.5 * unit * (1 + 1e-6))


def are_shown(cells: Sequence[str], values: Sequence[float | Sequence[float]]) -> bool:
    """Whether each cell has its values; an empty one says nothing."""
    for cell, wanted in zip(cells, values, strict=True):
        expected = [wanted] if isinstance(wanted, int | float) else list(wanted)
        found = numbers(cell)
        if found and (len(found) != len(expected) or not all(map(is_shown, found, expected))):
            return False
    return True


Values = Sequence[float | Sequence[float]]


def compare(table: Table, known: Mapping[str, Values], num_names: int = 1, is_free: bool = False) -> None:
    """Hold each row's cells, but for those that name it, to the known one of its name; or, free, of its figures."""
    left = dict(known)
    for row in sorted(table.rows, key=lambda row: name_of(row, num_names) not in known):
        name, cells = name_of(row, num_names), row[num_names:]
        candidates = [name] if name in left else [other for other in left if is_free and are_shown(cells, left[other])]
        assert candidates, f"{table.section}: nothing in {table.files} is {row}; what is left: {left}"
        assert are_shown(cells, left[candidates[0]]), f"{table.section}: {row} is {left[candidates[0]]}"
        del left[candidates[0]]
    assert not left, f"{table.section}: not in the table: {left}"


def name_of(row: Sequence[str], num_names: int) -> str:
    return ", ".join(cell.replace("`", "") for cell in row[:num_names])


def ablation(table: Table, results: dict) -> None:
    compare(table, {name: columns(pairs) for name, pairs in results["distances"].items()}, is_free=True)


def columns(rows: Sequence[Sequence[float]]) -> list[float]:
    """Means of the columns."""
    return [mean(column) for column in zip(*rows, strict=True)]


def quality(table: Table, results: dict) -> None:
    known = {
        side: {of_recipe["recipe"]: _told(list(of_recipe.values())[2:]) for of_recipe in means}
        for side, means in results["means"].items()
    }
    of_some_side(table, known, is_free=True)


def of_some_side(table: Table, known: Mapping[str, Mapping[str, Values]], is_free: bool = False) -> None:
    """Hold a table that is of one of a file's sides to each until one is shown."""
    found = []
    for side, own in known.items():
        try:
            return compare(table, own, is_free=is_free)
        except AssertionError as error:
            found.append(f"{side}: {error}")
    raise AssertionError("\n".join(found))


def _told(values: Sequence[float | None]) -> Values:
    """What is not known has no number, so its cell may have none."""
    return [[] if value is None else value for value in values]


def peers(table: Table, results: dict) -> None:
    names = dict.fromkeys(point["peer"] for point in results["points"])
    quotients = {
        name: [
            [point[f"`{preset}` style / peer's"] for point in results["points"] if point["peer"] == name]
            for preset in ("standard", "fine")
        ]
        for name in names
    }
    compare(table, quotients, is_free=True)


def dominance(table: Table, results: dict) -> None:
    """Pairs in which a picture of ours is nearer to both, of how many, and the largest quotient of style distances."""
    wanted = {"standard": 1.0, "fine": 0.9}
    known = {}
    for side, comparisons in json.loads((FOLDER / "dominance.json").read_text())["comparisons"].items():
        for one in comparisons:
            name = f"{side}, {one['peer']}, {one['preset']}"
            shown, pairs, most = known.get(name, (0, 0, 0.0))
            is_shown = one["content"] <= 1 and one["style"] <= wanted[one["preset"]]
            known[name] = (shown + is_shown, pairs + 1, max(most, one["style"]))
    compare(table, {name: [list(values[:2]), values[2]] for name, values in known.items()}, num_names=3)


def optimizers(table: Table, results: dict) -> None:
    goal = results["curves"]["Adam"]["losses"][-1]
    known = {}
    for name, curve in results["curves"].items():
        rank = next(rank for rank, loss in enumerate(curve["losses"]) if loss <= goal)
        own = [len(curve["evaluations"]), curve["passes"], curve["seconds"][-1], curve["losses"][-1]]
        known[name] = [*own, curve["evaluations"][rank], curve["seconds"][rank]]
    compare(table, known, is_free=True)


def bare_loop(table: Table, results: dict) -> None:
    pairs = results["seconds_per_evaluation"]
    compare(table, {side: [*pair, pair[0] / pair[1]] for side, pair in pairs.items()})


def evaluation(table: Table, results: dict) -> None:
    known = {}
    for of_side in results["sides"]:
        seconds, speeds = of_side["seconds"], of_side["products_per_s"]
        theirs = min(taken for name, taken in seconds.items() if name.startswith("PyTorch"))
        for precision, product in speeds.items():
            ours = seconds[precision]
            speed = of_side["work"] / ours
            own = [ours, theirs, ours / theirs, speed / 1e9, product / 1e9, speed / product]
            known[f"{of_side['side']}, {precision}"] = own
    compare(table, known, num_names=2)


def precision(table: Table, results: dict) -> None:
    """Of both distances the difference of the means, and the largest of a pair, in percent."""
    known = {}
    for side, of_side in results["distances"].items():
        for name, of_recipe in of_side.items():
            known[f"{side}, {name}"] = []
            for which in (0, 1):
                both = [(own["bfloat16"][which], own["float32"][which]) for own in of_recipe.values()]
                means, *pairs = (100 * (ours / theirs - 1) for ours, theirs in (columns(both), *both))
                known[f"{side}, {name}"] += [means, max(map(abs, pairs))]
    compare(table, known, num_names=2)


def strength(table: Table, results: dict) -> None:
    """Over the pairs at every size, of which the first has all."""
    sides = list(next(iter(results["style and content"].values())))
    of_pairs = [own for own in results["style and content"].values() if list(own) == sides]
    known = {}
    for rank, value in enumerate(results["strengths"]):
        style, content = ([mean(pair[side][rank][which] for pair in of_pairs) for side in sides] for which in (0, 1))
        contents = [[pair[side][rank][1] for side in sides] for pair in of_pairs]
        spread = max(max(own) / min(own) - 1 if min(own) > 0 else 0.0 for own in contents)
        known[f"{value:g}"] = [*content, spread, *style]
    compare(table, known)


def memory(table: Table, results: dict) -> None:
    """Equal jobs are those of several laps, and shown by their medians."""
    laps = defaultdict(list)
    for job in results["jobs"]:
        laps[f"{job['preset']}, {job['side']}, {job['tile_side'] or 'whole'}, {job['evaluations']}"].append(job)
    known = {
        name: [
            *(median(job[what] for job in jobs) / 1e9 for what in ("predicted_bytes", "measured_bytes")),
            *(median(job[what] for job in jobs) for what in ("predicted_s", "measured_s")),
        ]
        for name, jobs in laps.items()
    }
    compare(table, known, num_names=4)


def sizes(table: Table, results: dict) -> None:
    known = {}
    for name, own in results["seconds_per_megapixel"].items():
        ratio = median(new / same for new, same in zip(own["different"], own["one"], strict=True))
        known[name] = [own["one"], own["different"], ratio]
    compare(table, known)


def batching(table: Table, results: dict) -> None:
    """The wanted ratio is no measurement, and a difference of none is written as a word."""
    known = {}
    for optimizer, of_sides in results["optimizers"].items():
        for side, own in of_sides.items():
            apart_s, at_once_s = median(own["apart_s"]), median(own["at_once_s"])
            ratio = median(both / each for both, each in zip(own["at_once_s"], own["apart_s"], strict=True))
            per_megapixel = [seconds / own["megapixels"] for seconds in (apart_s, at_once_s)]
            known[f"{optimizer}, {side}"] = [apart_s, at_once_s, ratio, *per_megapixel]
            assert own["difference"] == 0
    assert {row[-1] for row in table.rows} == {"none"}
    wanted = table.header.index("wanted")
    rows = tuple((*row[:wanted], *row[wanted + 1 : -1]) for row in table.rows)
    compare(Table(table.section, table.files, table.header, rows), known, num_names=2)


def times(table: Table, results: dict) -> None:
    known = {
        side: {
            row["pair"]: [row[f"{name} / classic"] for name in ("draft", "standard", "fine")] for row in own["times"]
        }
        for side, own in read("times")["sides"].items()
    }
    of_some_side(table, known)


def anytime(table: Table, results: dict) -> None:
    """A column for each deadline."""
    points = results["quality"]
    written = [table.header[1:], *(row[1:] for row in table.rows)]
    for cells, name in zip(written, ("deadline_s", "style", "content"), strict=True):
        assert are_shown(cells, [point[name] for point in points]), name


def deadlines(table: Table, results: dict) -> None:
    """Runs by their largest side: calls by how they ended, and of those by their deadline the shares of its time.

    Shares are the least and the most that is right, and those that are not.
    """
    known = {}
    for side, run in read("deadlines")["runs"].items():
        calls = run["calls"]
        by_deadline = [call for call in calls if call["stop_reason"] == "deadline"]
        shares = sorted(100 * call["spent_s"] / call["deadline_s"] for call in by_deadline)
        right = [share for share in shares if share >= 80]
        ended = Counter(call["stop_reason"] for call in calls)
        late = sum(call["spent_s"] > call["deadline_s"] for call in calls)
        told = [late, len(by_deadline), ended["completed"], ended["deadlineerror"]]
        assert sum(told[1:]) == len(calls) == 40
        known[f"64 to {side}"] = [*told, [right[0], right[-1], *shares[: len(shares) - len(right)]]]
    compare(table, known)


def networks(table: Table, results: dict) -> None:
    """Where `classic` was not painted, its cells are empty."""
    known = {}
    for name, rows in results.items():
        if name.endswith(" pairs"):
            *_, means, factors = rows
            known[name] = [*(means.get(column, []) for column in NETWORKS_COLUMNS), list(factors.values())[-2:]]
    compare(table, known, num_names=2)


NETWORKS_COLUMNS = [f"{name}, {what}" for name in ("classic", "standard", "light") for what in ("style", "content")]


def networks_evaluation(table: Table, results: dict) -> None:
    known = {}
    for name, timed in results.items():
        side, _, precision = name.partition(" evaluation, ")
        if precision:
            for preset in ("standard", "classic"):
                seconds = [timed["evaluation"][f"{preset}, {what}"] for what in ("vgg19 s", "light s", "times cheaper")]
                known[f"{preset}, {side}, {precision}"] = seconds
    compare(table, known, num_names=2)


def fidelity(table: Table, results: dict) -> None:
    known = {f"{point['way']}, {point['amount']:g}": list(point.values())[2:] for point in results["points"]}
    compare(table, known, num_names=2)


def students(table: Table, results: dict) -> None:
    untold = ("weights", "steps")
    known = {
        name: [value for figure, value in row.items() if figure not in untold]
        for name, row in results["students"].items()
    }
    compare(table, known)


def watchers(table: Table, results: dict) -> None:
    """The front's memory before anybody watched, and the most with watchers."""
    front_bytes, num_watchers = results["front_bytes"], str(results["reading"] + results["silent"])
    known = {
        "none": [results["alone_per_s"], front_bytes["alone"][0] / 1e6],
        num_watchers: [results["watched_per_s"], max(front_bytes["watched"]) / 1e6],
    }
    compare(table, known)


def checkpoints(table: Table, results: dict) -> None:
    known = {f"{case['side']}, {case['jobs']}": list(case.values())[2:] for case in results["cases"]}
    compare(table, known, num_names=2)


#: By the first file of a section and the beginning of a table's header.
CHECKS: Mapping[tuple[str, ...], Callable[[Table, dict], None]] = {
    ("quality", "recipe"): quality,
    ("quality", "pair"): times,
    ("by-optimizer", "recipe"): quality,
    ("paper", "recipe"): quality,
    ("peers", "peer"): peers,
    ("peers", "side"): dominance,
    ("ablation", "variant"): ablation,
    ("optimizers", "method"): optimizers,
    ("optimizers", "side"): bare_loop,
    ("evaluation", "side", "precision"): evaluation,
    ("precision", "side"): precision,
    ("strength", "strength"): strength,
    ("memory", "preset"): memory,
    ("sizes", "jobs"): sizes,
    ("batching", "optimizer"): batching,
    ("anytime", "deadline, s"): anytime,
    ("anytime", "sides"): deadlines,
    ("networks", "side"): networks,
    ("fidelity", "way"): fidelity,
    ("networks", "evaluation"): networks_evaluation,
    ("students", "student"): students,
    ("watchers", "watchers"): watchers,
    ("checkpoints", "side"): checkpoints,
}
#: Tables of what was noted and is in no file.
NOTED = {("evaluation", "side", "bfloat16")}


def read(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text())


def beginning(table: Table) -> tuple[str, ...] | None:
    """The table's place in `CHECKS`."""
    return next((key for key in CHECKS if table.key[: len(key)] == key), None)


@pytest.mark.parametrize("table", list(tables()), ids=lambda table: " ".join(table.key))
def test_a_table_shows_what_its_file_has(table):
    place = beginning(table)
    if place is None:
        assert table.key in NOTED, f"{table.section}: a table of nothing that is known: {table.header}"
    else:
        CHECKS[place](table, read(table.key[0]))


def test_every_file_with_a_table_has_it():
    assert {beginning(table) for table in tables()} - {None} == set(CHECKS)


def test_make_bench_runs_the_commands_of_the_document():
    """All but those of the students, which have to be trained first, and of pictures that someone else has.

    Names of recipes follow in the Makefile alone.
    """
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    made = [" ".join(line.split()) for line in re.findall(r"\(BIN\)/(python -m benchmarks\..*)", makefile)]
    shown = set(re.findall(r"`(python -m benchmarks\.[^`]*)`", (FOLDER / "README.md").read_text()))
    shown -= {"python -m benchmarks.judgement PHOTOGRAPH PAINTING PICTURE"}
    for command in shown - {"python -m benchmarks.students FOLDER"}:
        assert any(line == command or line.startswith(f"{command} classic ") for line in made), command
    named = {line.split()[2] for line in made}
    assert named == {command.split()[2] for command in shown} - {"benchmarks.students"}


@pytest.mark.parametrize(
    ("written", "value", "shown"),
    [
        ("0.184", 0.18449, True),
        ("0.184", 0.1846, False),
        ("1.02", 1.0246, True),
        ("2.40e7", 23_967_012.0, True),
        ("2.40e7", 23_900_000.0, False),
        ("301", 301, True),
        ("301", 302, False),
    ],
)
def test_a_figure_is_shown_when_it_is_rounded_right(written, value, shown):
    assert is_shown(written, value) is shown


def test_a_wrong_figure_is_found_whatever_its_row_is_called():
    table = Table("", (), ("variant", "style"), (("`one`", "0.12"), ("a new name", "0.34")))
    compare(table, {"one": [0.121], "two": [0.342]}, is_free=True)
    for known in ({"one": [0.131], "two": [0.342]}, {"one": [0.121], "two": [0.352]}, {"one": [0.121]}):
        with pytest.raises(AssertionError):
            compare(table, known, is_free=True)
    with pytest.raises(AssertionError, match="not in the table"):
        compare(table, {"one": [0.121], "two": [0.342], "three": [0.5]}, is_free=True)
    with pytest.raises(AssertionError, match="a new name"):
        compare(table, {"one": [0.121], "two": [0.342]})


def test_the_times_in_the_readme_are_medians_of_those_measured():
    times = [row for row in read("times")["sides"]["256"]["times"] if row["pair"] != "median"]
    header, row = re.search(r"(\| `draft` \|.*)\n\|[- |]+\n(.*)", (ROOT / "README.md").read_text()).groups()
    presets = re.findall(r"`(\w+)`", header)
    assert len(presets) == 4
    assert are_shown(row.strip("| ").split("|"), [median(run[f"{preset}, s"] for run in times) for preset in presets])
