"""The engine of the service, as it is built where no weights can be fetched: by the light network."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from styleserve.costs import CostModel
from styleserve.engine.checkpoints import CHECKPOINTS, CheckpointFolder, Checkpoints
from styleserve.engine.engine import Engine
from styleserve.engine.scheduler import MAX_BATCH
from styleserve.engine.specification import JobSpecification
from styleserve.errors import ConfigurationError
from styleserve.events import EngineEvent, EngineInfo, Finished, Progressed
from styleserve.presets import resolve
from styleserve.recipes import RecipeChanges
from styleserve.sizes import parse_size
from styleserve.workers import vgg_engine
from styleserve.workers.vgg_engine import VggEngineFactory
from support.network import smooth, style


@dataclass
class Built:
    """An engine, what it says of itself, what happens in it, and where it keeps its checkpoints."""

    engine: Engine
    info: EngineInfo
    events: list[EngineEvent]
    folder: Path

    def accept(self, *job_ids: str) -> None:
        recipe = resolve(RecipeChanges(), RecipeChanges(preset="draft", iterations=8))
        for job_id in job_ids:
            self.engine.accept(JobSpecification(job_id, smooth(1, 64, 48), (style(2),), recipe))


def factory(folder: Path, memory_limit: int | None = None) -> VggEngineFactory:
    """One whose engines keep jobs apart."""
    return VggEngineFactory(
        "light", "auto", "float32", folder / "cache", folder / "data", memory_limit, deterministic=True
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Built:
    events: list[EngineEvent] = []
    folder = tmp_path_factory.mktemp("light")
    return Built(*factory(folder)(events.append), events, folder / "data" / CHECKPOINTS)


def test_an_engine_by_the_light_network_says_so_and_paints(built):
    assert built.info.weights.startswith("light@sha256:")
    assert built.info.weights_trained
    built.accept("a")
    while built.engine.step():
        pass
    (finished,) = (event for event in built.events if isinstance(event, Finished))
    assert finished.pixels.shape == (64, 48, 3)


def test_where_jobs_are_to_be_kept_apart_no_step_is_for_two_of_them(built):
    built.accept("b", "c")
    moved = set()
    is_busy = True
    while is_busy:
        built.events.clear()
        is_busy = built.engine.step()
        of_step = {event.job_id for event in built.events if isinstance(event, Progressed)}
        assert len(of_step) <= 1
        moved |= of_step
    assert moved == {"b", "c"}


def test_a_job_is_written_down_for_engines_of_the_same_weights_and_arithmetic(built):
    built.accept("d")
    while not any(isinstance(event, Progressed) and event.job_id == "d" for event in built.events):
        built.engine.step()
    built.engine.close()
    network = f"{built.info.weights} {built.info.precision}"
    kept, of_another = (Checkpoints(CheckpointFolder(built.folder), name).read("d") for name in (network, "another"))
    assert kept is not None
    assert of_another is None


@pytest.mark.parametrize(
    ("deterministic", "is_gpu", "is_exact", "expected"),
    [
        (False, False, True, MAX_BATCH),
        (False, False, False, 1),
        (False, True, False, MAX_BATCH),
        (True, False, True, 1),
        (True, True, True, 1),
    ],
)
def test_jobs_are_judged_together_where_that_changes_no_picture_or_on_a_gpu_unless_they_are_to_be_kept_apart(
    deterministic, is_gpu, is_exact, expected
):
    chosen = dataclasses.replace(factory(Path()), deterministic=deterministic)
    assert chosen.max_batch(is_gpu, lambda: is_exact) == expected


@pytest.mark.parametrize("started_bytes", [0, 2_960_000_000], ids=["for a picture", "for the start"])
def test_a_limit_below_what_the_engine_takes_by_itself_is_refused_with_the_least_that_works(
    built, tmp_path, monkeypatch, started_bytes
):
    """The costs are those that were measured of the engine that was built: another measurement takes as long."""

    def measured(*arguments: object) -> CostModel:
        return dataclasses.replace(built.info.costs, budget_bytes=arguments[-1])

    def least_told(limit: int) -> int:
        with pytest.raises(ConfigurationError, match=f"got {limit // 10**6}MB; allowed: at least") as caught:
            factory(tmp_path, limit)([].append)
        return parse_size(re.search(r"at least (\d+MB)", str(caught.value))[1])

    monkeypatch.setattr(vgg_engine, "fit_costs", measured)
    monkeypatch.setattr(vgg_engine, "peak_resident_bytes", lambda: started_bytes)
    least = least_told(parse_size("200MB"))
    assert least > started_bytes
    assert least_told(least - vgg_engine._TOLD_BYTES) == least
    factory(tmp_path, least)([].append)
