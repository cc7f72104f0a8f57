"""The engine of the service, as it is built where no weights can be fetched: by the light network."""

import re

import pytest

from styleserve import memory
from styleserve.engine.specification import JobSpecification
from styleserve.errors import ConfigurationError
from styleserve.events import EngineEvent, Finished
from styleserve.presets import resolve
from styleserve.recipes import RecipeChanges
from styleserve.sizes import parse_size
from styleserve.workers.vgg_engine import VggEngineFactory
from support.network import smooth, style


def test_an_engine_by_the_light_network_says_so_and_paints(tmp_path):
    events: list[EngineEvent] = []
    factory = VggEngineFactory("light", "auto", "float32", tmp_path / "cache", tmp_path / "data")
    engine, info = factory(events.append)
    assert info.weights.startswith("light@sha256:")
    assert info.weights_trained
    recipe = resolve(RecipeChanges(), RecipeChanges(preset="draft", iterations=8))
    engine.accept(JobSpecification("a", smooth(1, 64, 48), (style(2),), recipe))
    while engine.step():
        pass
    (finished,) = (event for event in events if isinstance(event, Finished))
    assert finished.pixels.shape == (64, 48, 3)


def test_a_limit_below_what_the_engine_takes_by_itself_is_refused_with_the_least_that_works(tmp_path):
    factory = VggEngineFactory("light", "auto", "float32", tmp_path, tmp_path, parse_size("200MB"))
    with pytest.raises(ConfigurationError, match="got 200MB; allowed: at least") as caught:
        factory([].append)
    least = re.search(r"at least (\d+MB)", str(caught.value))
    assert least is not None
    assert parse_size(least[1]) > (memory.resident_bytes() or 0) / 2
