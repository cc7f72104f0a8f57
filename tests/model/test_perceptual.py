"""The evaluator on a network of untrained weights, which is narrow wherever no rounding and no kernel is tried."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from styleserve import images
from styleserve.engine.engine import Engine
from styleserve.engine.specification import JobSpecification
from styleserve.evaluation import PendingTargets
from styleserve.events import EngineEvent, Finished
from styleserve.model import perceptual
from styleserve.model.calibration import natural_image
from styleserve.model.light import light
from styleserve.model.perceptual import PerceptualEvaluator
from styleserve.model.targets import TargetStore
from styleserve.model.vgg import VggNetwork, taps_of
from styleserve.model.weights import BLOCKS
from styleserve.optimizers.adam import Adam
from styleserve.optimizers.lbfgs import Lbfgs
from styleserve.presets import PRESETS, resolve
from styleserve.recipes import FARTHEST_CONTENT, RecipeChanges
from styleserve.workers.exactness import is_exact_in_batches
from support.network import NARROW, make_evaluator, needs_onednn, random_filters, see, smooth, style

TERMS = ("content", "style", "total_variation")
NEVER_IN_BATCHES = "this processor's kernels round a canvas in a batch otherwise; an engine judges one by one on it"


class NotingAdam(Adam):
    """Adam that notes the sizes of its batches."""

    def __init__(self, evaluator, sizes):
        super().__init__(evaluator)
        self._sizes = sizes

    def step(self, runs):
        self._sizes.append(len(runs))
        super().step(runs)


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory):
    return make_evaluator(TargetStore(tmp_path_factory.mktemp("targets")))


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """Another one alike, as after a start anew."""
    return make_evaluator(TargetStore(tmp_path_factory.mktemp("twin")))


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    return make_evaluator(TargetStore(tmp_path_factory.mktemp("half")), precision="bfloat16")


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    return make_narrow(tmp_path_factory.mktemp("narrow"))


@pytest.fixture(scope="module")
def exact(evaluator):
    """The evaluator, where it is exact in batches."""
    return exact_or_skipped(evaluator)


@pytest.fixture(scope="module")
def exact_half(half):
    return exact_or_skipped(half)


def exact_or_skipped(evaluator):
    if not is_exact_in_batches(evaluator, natural_image):
        pytest.skip(NEVER_IN_BATCHES)
    return evaluator


def make_narrow(folder, seed=0):
    return make_evaluator(TargetStore(folder), NARROW, seed=seed)


@pytest.mark.parametrize("preset", ["classic", "paper", "standard"])
def test_the_gradient_is_the_slope_of_finite_differences(evaluator, preset):
    recipe = dataclasses.replace(PRESETS[preset], optimizer="lbfgsb", content_bound=0.5)
    objective = evaluator.objective(smooth(1), [style(2)], recipe)
    canvas = smooth(3)
    (evaluation,) = evaluator.evaluate([canvas], [objective])
    steepest = evaluation.gradient / np.abs(evaluation.gradient).max()
    direction = smooth(4) - 0.5 + steepest  # not across the slope, where the difference is mostly rounding
    step = np.float32(2e-4)  # small enough to stay on one side of almost every ReLU and maximum
    above, below = evaluator.evaluate([canvas + step * direction, canvas - step * direction], [objective] * 2)
    slope = (above.losses.total - below.losses.total) / (2 * step)
    assert slope == pytest.approx(np.sum(evaluation.gradient.astype(np.float64) * direction), rel=0.02)


@needs_onednn
@pytest.mark.parametrize("preset", ["classic", "paper", "standard"])
def test_an_evaluation_is_the_same_to_the_bit_alone_and_in_a_batch(exact, preset):
    recipe = dataclasses.replace(PRESETS[preset], optimizer="lbfgsb")
    canvases = [smooth(seed) for seed in (1, 2, 3)]
    objectives = [exact.objective(smooth(seed), [style(seed + 10)], recipe) for seed in (4, 5, 6)]
    together = exact.evaluate(canvases, objectives)
    for canvas, objective, batched in zip(canvases, objectives, together, strict=True):
        (alone,) = exact.evaluate([canvas], [objective])
        assert batched.losses == alone.losses
        np.testing.assert_array_equal(batched.gradient, alone.gradient)


@pytest.mark.parametrize("term", TERMS)
def test_a_weight_counts_for_its_own_term_alone_and_the_terms_add_up(evaluator, term):
    recipe = dataclasses.replace(PRESETS["standard"], optimizer="lbfgsb", content_bound=0.1)
    doubled = dataclasses.replace(recipe, **{f"{term}_weight": 2 * getattr(recipe, f"{term}_weight")})
    plain, heavy = (
        evaluator.evaluate([smooth(1)], [evaluator.objective(smooth(2), [style(3)], own)])[0].losses
        for own in (recipe, doubled)
    )
    for name in TERMS:
        assert getattr(plain, name) > 0
        assert getattr(heavy, name) == pytest.approx((2 if name == term else 1) * getattr(plain, name)), name
    assert heavy.total == pytest.approx(heavy.content + heavy.style + heavy.total_variation)


@pytest.mark.parametrize("preset", ["classic", "paper", "standard"])
def test_a_canvas_that_is_the_content_has_no_content_loss(evaluator, preset):
    recipe = dataclasses.replace(PRESETS[preset], optimizer="lbfgsb", content_bound=0.01)
    objective = evaluator.objective(smooth(1), [style(2)], recipe)
    own, other = (evaluator.evaluate([canvas], [objective])[0].losses for canvas in (smooth(1), smooth(3)))
    assert own.content < 1e-9 * other.content
    assert own.style > 0


def test_a_canvas_that_is_the_style_has_no_style_loss(narrow):
    standard = PRESETS["standard"]
    recipe = dataclasses.replace(standard, loss=dataclasses.replace(standard.loss, style_sizes=1))
    objective = narrow.objective(smooth(2, 64, 64), [style(2)], recipe)
    painting = images.decode(style(2).data, images.ImageLimits()).pixels
    own, other = (narrow.evaluate([canvas], [objective])[0].losses for canvas in (painting, smooth(5, 64, 64)))
    assert own.style < 1e-4 * other.style


def test_where_edges_are_continued_the_features_of_a_content_of_one_colour_have_no_frame(narrow):
    standard, plain = PRESETS["standard"], np.full((64, 64, 3), (0.9, 0.4, 0.1), np.float32)
    layers = (("block1_conv1", 1.0),)
    for replicates in (True, False):
        loss = dataclasses.replace(standard.loss, content_layers=layers, replicate_edges=replicates)
        recipe = dataclasses.replace(standard, loss=loss)
        features = np.asarray(narrow.objective(plain, [style(2)], recipe).tensors()[1])
        assert np.allclose(features, features[:, 9:10, 9:10], rtol=1e-4) == replicates


def test_a_texture_is_scaled_relative_to_the_canvas(narrow):
    """A style at twice the size of a canvas is what it is to a canvas twice as large."""
    recipe, twice = PRESETS["classic"], dataclasses.replace(style(2), scale=2.0)
    found, plain, expected = (
        grams_of(narrow.objective(smooth(1, side, side), [seen], recipe))
        for side, seen in ((48, twice), (48, style(2)), (96, style(2)))
    )
    for scaled, unscaled, wanted in zip(found, plain, expected, strict=True):
        np.testing.assert_allclose(scaled, wanted, rtol=1e-5)
        assert not np.allclose(unscaled, wanted, rtol=1e-2)


def test_targets_of_a_blend_lie_between_those_of_its_styles(narrow):
    recipe = PRESETS["paper"]
    first, second = (narrow.objective(smooth(1), [style(seed)], recipe) for seed in (2, 3))
    mixed = narrow.objective(smooth(1), [style(2, weight=0.25), style(3, weight=0.75)], recipe)
    for a, b, between in zip(first.tensors()[2:], second.tensors()[2:], mixed.tensors()[2:], strict=True):
        np.testing.assert_allclose(between, 0.25 * a + 0.75 * b, rtol=1e-4, atol=1e-5)


def passes_of(pending: PendingTargets) -> int:
    passes = 0
    while not pending.is_ready:
        passes += pending.look()
    return passes


def test_targets_are_computed_once_and_a_second_start_computes_none(tmp_path):
    recipe = PRESETS["standard"]
    catalogued = style(2, is_catalogued=True)
    first = make_narrow(tmp_path)
    assert passes_of(first.prepare(catalogued)) == 5
    second = make_narrow(tmp_path)
    assert passes_of(second.prepare(catalogued)) == 0
    content = smooth(1, 128, 100)
    objective = second.objective(content, [catalogued], recipe)
    for stored, computed in zip(
        objective.tensors(), first.objective(content, [catalogued], recipe).tensors(), strict=True
    ):
        np.testing.assert_allclose(stored, computed, rtol=1e-5)
    assert objective.network_passes == 1


def test_targets_of_a_network_with_maps_are_read_back_as_they_were_to_the_bit(tmp_path):
    """Half of each matrix is kept, and products with maps round each half by itself."""
    recipe, catalogued, content = PRESETS["standard"], style(2, is_catalogued=True), smooth(1, 64, 64)
    starts = (PerceptualEvaluator(light(), "float32", TargetStore(tmp_path)) for _ in range(2))
    computed, read_back = (start.objective(content, [catalogued], recipe).tensors() for start in starts)
    for expected, found in zip(computed, read_back, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_targets_of_other_weights_are_not_taken_from_the_same_folder(tmp_path):
    recipe, catalogued = PRESETS["classic"], style(2, is_catalogued=True)
    grams = []
    for seed in (0, 1):
        objective = make_narrow(tmp_path, seed).objective(smooth(1), [catalogued], recipe)
        grams.append(grams_of(objective)[0])
        assert objective.network_passes == 2
    assert not np.allclose(*grams, rtol=0.1)


def test_a_style_is_prepared_a_tile_at_a_time_and_its_targets_are_those_that_a_canvas_finds(tmp_path, monkeypatch):
    monkeypatch.setattr(perceptual, "STYLE_TILE_SIDE", 128)
    monkeypatch.setattr(perceptual, "PREPARED_SIDE", 256)
    recipe, content = PRESETS["standard"], smooth(1, 256, 256)
    pending = make_narrow(tmp_path / "prepared").prepare(style(2, is_catalogued=True))
    seen = []
    while not pending.is_ready:
        seen.append((pending.coming_pixels, pending.look()))
    whole, tile = 128 * 128, seen[-1][0]
    # An image is decoded before it is seen; the largest in four tiles, each with what its core has of the halo.
    decoded = (0, 0)
    assert seen[-7:] == [decoded, (whole, 1), decoded, (tile, 0), (tile, 0), (tile, 0), (tile, 1)]
    assert whole < tile <= 256 * 256
    prepared, own = make_narrow(tmp_path / "prepared"), make_narrow(tmp_path / "own")
    found, expected = (
        evaluator.objective(content, [style(2, is_catalogued=True)], recipe) for evaluator in (prepared, own)
    )
    for one, other in zip(found.tensors(), expected.tensors(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    assert (found.network_passes, expected.network_passes) == (1, 3)


def test_a_style_that_a_canvas_waits_for_meanwhile_is_seen_once(tmp_path):
    evaluator, catalogued = make_narrow(tmp_path), style(2, is_catalogued=True)
    pending = evaluator.prepare(catalogued)
    pending.look()
    objective = evaluator.objective(smooth(1, 64, 64), [catalogued], PRESETS["standard"])
    objective.tensors()
    assert passes_of(pending) + objective.network_passes == 5 + 1


def test_targets_come_a_tile_at_a_time_and_a_style_that_two_wait_for_is_seen_once(tmp_path, monkeypatch):
    monkeypatch.setattr(perceptual, "STYLE_TILE_SIDE", 64)
    evaluator, recipe = make_narrow(tmp_path), PRESETS["classic"]
    alone = make_narrow(tmp_path).objective(smooth(1, 96, 96), [style(2)], recipe)
    objectives = [evaluator.objective(smooth(seed, 96, 96), [style(2)], recipe) for seed in (1, 3)]
    looks = [0, 0]
    while not all(objective.is_ready for objective in objectives):
        for number, objective in enumerate(objectives):
            if not objective.is_ready:
                assert 0 < objective.piece.share < 1
                objective.look()
                looks[number] += 1
    # Four tiles of the style, and each content at once.
    assert sum(looks) == 4 + 2
    assert sorted(objective.network_passes for objective in objectives) == [1, 2]
    for shared, own in zip(objectives[0].tensors(), alone.tensors(), strict=True):
        np.testing.assert_allclose(shared, own, rtol=1e-5)


def test_a_look_that_failed_for_one_canvas_is_begun_anew_by_whoever_shares_it(tmp_path, monkeypatch):
    monkeypatch.setattr(perceptual, "STYLE_TILE_SIDE", 64)
    evaluator, recipe = make_narrow(tmp_path), PRESETS["classic"]
    one, other = (evaluator.objective(smooth(seed, 96, 96), [style(2)], recipe) for seed in (1, 3))
    judge = evaluator._judge(one.form)
    with monkeypatch.context() as broken:
        broken.setattr(judge, "traced", lambda name: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            one.look()
    shared = other.tensors()
    alone = make_narrow(tmp_path).objective(smooth(3, 96, 96), [style(2)], recipe).tensors()
    for own, wanted in zip(shared, alone, strict=True):
        np.testing.assert_allclose(own, wanted, rtol=1e-5)


def test_an_image_whose_targets_are_known_is_not_decoded_again(tmp_path):
    recipe, catalogued = PRESETS["standard"], style(2, is_catalogued=True)
    unreadable = dataclasses.replace(catalogued, data=b"")
    first = make_narrow(tmp_path)
    made = first.objective(smooth(1, 64, 48), [catalogued], recipe).tensors()
    for evaluator in (first, make_narrow(tmp_path)):
        assert evaluator.has_targets(unreadable, recipe, 64, 48)
        assert not evaluator.has_targets(unreadable, recipe, 80, 48)
        assert not evaluator.has_targets(style(4, is_catalogued=True), recipe, 64, 48)
        known = evaluator.objective(smooth(1, 64, 48), [unreadable], recipe)
        for tensor, wanted in zip(known.tensors(), made, strict=True):
            np.testing.assert_allclose(tensor, wanted, rtol=1e-5)
        assert known.network_passes == 1


@needs_onednn
def test_a_style_is_seen_alike_to_the_bit_beside_a_canvas_that_is_judged_whole_or_in_tiles(evaluator):
    recipe, content = PRESETS["standard"], smooth(1, 200, 150)
    whole, tiled = (evaluator.objective(content, [unseen(side)], recipe, side) for side in (None, 64))
    for tensor, wanted in zip(grams_of(tiled), grams_of(whole), strict=True):
        np.testing.assert_array_equal(tensor, wanted)


@needs_onednn
def test_a_style_in_tiles_is_seen_alike_to_the_bit_at_one_size_and_at_two(evaluator, monkeypatch):
    monkeypatch.setattr(perceptual, "STYLE_TILE_SIDE", 128)
    two, one = (
        evaluator.objective(smooth(1, height, 256), [unseen(height)], PRESETS["standard"]) for height in (32, 31)
    )
    assert [objective.form.design.style_sizes for objective in (two, one)] == [2, 1]
    for tensor, wanted in zip(grams_of(one), grams_of(two)[:5], strict=True):
        np.testing.assert_array_equal(tensor, wanted)


def unseen(name):
    """One style under a key of its own, by which nothing of it is known."""
    return dataclasses.replace(style(2), key=f"unseen {name}")


def grams_of(objective):
    return objective.tensors()[1 + len(objective.form.content_taps) :]


def test_a_strangers_style_image_leaves_nothing_on_disk(tmp_path):
    make_narrow(tmp_path).objective(smooth(1), [style(2)], PRESETS["standard"]).tensors()
    assert not list(tmp_path.iterdir())


def test_every_size_is_served_by_one_trace(narrow):
    recipe = dataclasses.replace(PRESETS["standard"], optimizer="lbfgsb")
    for size in ((16, 16), (17, 40), (33, 20)):
        content = smooth(1, *size)
        narrow.evaluate([content], [narrow.objective(content, [style(2)], recipe)])
    counts = {
        function.experimental_get_tracing_count()
        for judge in narrow._judges.values()
        for function in judge._traced.values()
    }
    assert counts == {1}


def test_every_network_has_its_own_kernels_in_a_process_whose_networks_are_frozen(tmp_path):
    """Where TensorFlow takes kernels as frozen, a call that is not traced may get the kernel of another network."""
    program = """
import json, sys
from styleserve.model import device
device.configure("float32", device.LEAST_BYTES_TO_FREEZE)
from styleserve.model.perceptual import PerceptualEvaluator
from styleserve.model.targets import TargetStore
from styleserve.model.weights import BLOCKS, untrained
networks = [PerceptualEvaluator(untrained(seed), "float32", TargetStore(sys.argv[1])) for seed in (0, 1)]
print(json.dumps(networks[1]._gains))
"""
    run = [sys.executable, "-c", program, str(tmp_path)]
    printed = subprocess.run(run, capture_output=True, check=True).stdout
    features = see(VggNetwork(random_filters(1), tf.float32), natural_image(128), list(taps_of(BLOCKS)), True)
    expected = {name: 1 / float(tf.reduce_mean(feature)) for name, feature in features.items()}
    assert json.loads(printed) == pytest.approx(expected, rel=1e-4)


def test_bfloat16_is_near_float32_and_stays_off_for_line_searches(half):
    canvas = smooth(1)
    recipe = resolve(RecipeChanges(), RecipeChanges())
    fast = half.objective(smooth(2), [style(3)], recipe)
    exact = half.objective(smooth(2), [style(3)], dataclasses.replace(recipe, optimizer="lbfgsb"))
    assert (fast.form.precision, exact.form.precision) == ("bfloat16", "float32")
    (rough,), (fine,) = half.evaluate([canvas], [fast]), half.evaluate([canvas], [exact])
    assert rough.losses.total == pytest.approx(fine.losses.total, rel=0.02)
    cosine = np.sum(rough.gradient * fine.gradient) / (np.linalg.norm(rough.gradient) * np.linalg.norm(fine.gradient))
    assert cosine > 0.9


@needs_onednn
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_the_same_job_gives_the_same_pixels_to_the_bit(evaluator, twin, optimizer):
    pictures = []
    for own in (evaluator, twin):
        events: list[EngineEvent] = []
        engine = Engine(own, {"adam": Adam(own), "lbfgs": Lbfgs(own)}, events.append)
        recipe = dataclasses.replace(PRESETS["standard"], iterations=6, optimizer=optimizer)
        engine.accept(JobSpecification("a", smooth(1, 100, 75), (style(2),), recipe))
        while engine.step():
            pass
        (picture,) = (event.pixels for event in events if isinstance(event, Finished))
        pictures.append(picture)
    np.testing.assert_array_equal(*pictures)


def test_the_bound_is_the_leeway_as_a_share_of_the_contents_features_at_one_size(narrow):
    recipe = resolve(RecipeChanges(), RecipeChanges(strength=0.25))
    content = smooth(4, 400, 300)
    judged_at = images.fit(content, 256)
    features = see(narrow._networks["float32"], judged_at, ["block4_conv2"], True)["block4_conv2"]
    norm = np.sqrt(np.mean(np.square(features.numpy() * narrow._gains["block4_conv2"])))
    calibrated, network_passes = narrow.calibrate(content, recipe)
    assert calibrated.content_bound == pytest.approx(FARTHEST_CONTENT / 4 / norm, rel=1e-4)
    assert network_passes == 1


def test_a_network_that_sees_less_of_a_content_allows_it_less(tmp_path):
    content, recipe = smooth(1), PRESETS["standard"]
    weights = random_filters(0, NARROW)
    bounds = [
        PerceptualEvaluator(own, "float32", TargetStore(tmp_path)).calibrate(content, recipe)[0].content_bound
        for own in (weights, dataclasses.replace(weights, leeway=0.5))
    ]
    assert bounds[1] == pytest.approx(bounds[0] / 2, rel=1e-4)


def test_a_content_that_may_not_move_at_all_is_judged_in_numbers(narrow):
    recipe = resolve(RecipeChanges(), RecipeChanges(strength=1e-300))
    calibrated, _ = narrow.calibrate(smooth(1), recipe)
    (evaluation,) = narrow.evaluate([smooth(3)], [narrow.objective(smooth(1), [style(2)], calibrated)])
    assert evaluation.losses.is_finite
    assert np.isfinite(evaluation.gradient).all()


def test_a_recipe_without_a_bound_is_what_it_was_and_costs_no_look_at_the_content(narrow):
    assert narrow.calibrate(smooth(4), PRESETS["classic"]) == (PRESETS["classic"], 0)


def test_content_within_its_bound_costs_nothing_and_beyond_it_the_square_of_the_share_beyond(narrow):
    recipe = dataclasses.replace(resolve(RecipeChanges(), RecipeChanges()), content_weight=1.0, optimizer="lbfgsb")
    content, canvas = smooth(1), smooth(3)
    tight = dataclasses.replace(recipe, content_bound=0.01)
    distance = 0.01 * (1 + evaluate_content(narrow, tight, content, canvas) ** 0.5)
    beyond = evaluate_content(narrow, dataclasses.replace(recipe, content_bound=0.6 * distance), content, canvas)
    within = evaluate_content(narrow, dataclasses.replace(recipe, content_bound=1.1 * distance), content, canvas)
    assert beyond == pytest.approx((1 / 0.6 - 1) ** 2, rel=1e-3)
    assert within == 0.0


def evaluate_content(evaluator, recipe, content, canvas):
    (evaluation,) = evaluator.evaluate([canvas], [evaluator.objective(content, [style(2)], recipe)])
    return evaluation.losses.content


def test_style_is_compared_at_the_canvass_own_size_and_at_half_of_it(narrow):
    both = dataclasses.replace(resolve(RecipeChanges(), RecipeChanges()), optimizer="lbfgsb")
    own = dataclasses.replace(both, loss=dataclasses.replace(both.loss, style_sizes=1))
    canvas, half = smooth(3, 64, 48), tf.nn.avg_pool2d(smooth(3, 64, 48)[np.newaxis], 2, 2, "VALID")[0].numpy()
    parts = [evaluate_style(narrow, own, canvas), evaluate_style(narrow, own, half)]
    assert evaluate_style(narrow, both, canvas) == pytest.approx(np.mean(parts), rel=1e-4)


def evaluate_style(evaluator, recipe, canvas):
    (evaluation,) = evaluator.evaluate([canvas], [evaluator.objective(canvas, [style(2)], recipe)])
    return evaluation.losses.style


def test_a_canvas_too_small_to_halve_is_compared_at_its_own_size(narrow):
    objective = narrow.objective(smooth(1, 40, 20), [style(2)], resolve(RecipeChanges(), RecipeChanges()))
    assert objective.form.design.style_sizes == 1


@needs_onednn
@pytest.mark.parametrize("fixture", ["exact", "exact_half"], ids=["float32", "bfloat16"])
def test_a_job_beside_others_gives_the_same_pixels_to_the_bit(request, fixture):
    evaluator = request.getfixturevalue(fixture)
    recipe = dataclasses.replace(PRESETS["standard"], optimizer="adam", iterations=3)

    def paint(names: str) -> dict[str, np.ndarray]:
        events: list[EngineEvent] = []
        sizes: list[int] = []
        engine = Engine(evaluator, {"adam": NotingAdam(evaluator, sizes)}, events.append)
        for index, name in enumerate(names):
            engine.accept(JobSpecification(name, smooth(index, 77, 64), (style(index + 10),), recipe))
        while engine.step():
            pass
        assert (max(sizes) > 1) == (len(names) > 1)
        return {event.job_id: event.pixels for event in events if isinstance(event, Finished)}

    together = paint("abc")
    np.testing.assert_array_equal(together["a"], paint("a")["a"])
    assert not np.array_equal(together["a"], together["b"])
