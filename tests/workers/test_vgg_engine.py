"""The engine of the service, as it is built where no weights can be fetched: by the light network."""

import dataclasses
import re

import pytest

from styleserve.costs import CostModel
from styleserve.engine.engine import Engine
from styleserve.engine.specification import JobSpecification
from styleserve.errors import ConfigurationError
from styleserve.events import EngineEvent, EngineInfo, Finished
from styleserve.presets import resolve
from styleserve.recipes import RecipeChanges
from styleserve.sizes import parse_size
from styleserve.workers import vgg_engine
from styleserve.workers.vgg_engine import VggEngineFactory
from support.network import smooth, style


@dataclasses.dataclass
class Built:
    """An engine, what it says of itself, and what it tells."""

    engine: Engine
    info: EngineInfo
    events: list[EngineEvent]


def factory(folder, memory_limit: int | None = None) -> VggEngineFactory:
    """One with a limit does not try whether batches are exact, which it would after the limit was found to do."""
    deterministic = memory_limit is not None
    return VggEngineFactory(
        "light", "auto", "float32", folder / "cache", folder / "data", memory_limit, deterministic=deterministic
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Built:
    events: list[EngineEvent] = []
    return Built(*factory(tmp_path_factory.mktemp("engine"))(events.append), events)


def test_an_engine_by_the_light_network_says_so_and_paints(built):
    assert built.info.weights.startswith("light@sha256:")
    assert built.info.weights_trained
    recipe = resolve(RecipeChanges(), RecipeChanges(preset="draft", iterations=8))
    built.engine.accept(JobSpecification("a", smooth(1, 64, 48), (style(2),), recipe))
    while built.engine.step():
        pass
    (finished,) = (event for event in built.events if isinstance(event, Finished))
    assert finished.pixels.shape == (64, 48, 3)


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
