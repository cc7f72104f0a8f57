"""What experiments change: equations written again in NumPy float64, and that each is carried out where it says."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from styleserve.model.perceptual import PerceptualEvaluator
from styleserve.model.targets import TargetStore
from styleserve.model.vgg import VggNetwork
from styleserve.optimizers import lbfgs
from styleserve.presets import PRESETS
from styleserve.recipes import AdamSettings
from support.network import NARROW, judge, random_filters, see, smooth, style
from support.toy import ToyEvaluator, ToyObjective

STANDARD = PRESETS["standard"]
LAYERS = [name for name, _ in STANDARD.loss.style_layers]
#: Of even height and width, so that half of it is the mean of four pixels everywhere.
CANVAS = smooth(1, 64, 80)
STYLE = style(2)


@pytest.fixture
def experiments(benchmark):
    return benchmark("experiments")


@pytest.fixture
def painting(benchmark):
    return benchmark("painting")


@pytest.fixture
def ablation(benchmark):
    return benchmark("ablation")


def evaluator(tmp_path, network=VggNetwork) -> PerceptualEvaluator:
    return PerceptualEvaluator(random_filters(0, NARROW), "float32", TargetStore(tmp_path), network)


def recipe_of(loss):
    """Nothing but the style counts."""
    return dataclasses.replace(STANDARD, content_weight=0.0, total_variation_weight=0.0, loss=loss)


def moments(image: np.ndarray, stride: int = 1) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Means and covariances of every `stride`-th channel of each style layer, by NumPy."""
    seen = see(VggNetwork(random_filters(0, NARROW), tf.float32), image, LAYERS, replicate_edges=True)
    flat = {name: flow.numpy()[0].reshape(-1, 8)[:, ::stride].astype(np.float64) for name, flow in seen.items()}
    return {name: (own.mean(axis=0), np.cov(own, rowvar=False, bias=True)) for name, own in flat.items()}


def relative(value: np.ndarray, target: np.ndarray) -> float:
    return float(np.linalg.norm(value - target) / np.linalg.norm(target))


def halved(image: np.ndarray) -> np.ndarray:
    return image.reshape(image.shape[0] // 2, 2, image.shape[1] // 2, 2, 3).mean(axis=(1, 3))


def style_loss(seen_at, canvas: np.ndarray, blocks=range(1, 6), stride: int = 1) -> float:
    """The mean over sizes and layers: of means and covariances in `blocks`, else of Gram matrices."""
    found = []
    for image, side in ((canvas, 80), (halved(canvas), 40)):
        own, wanted = moments(image, stride), moments(seen_at(side), stride)
        for block, name in enumerate(LAYERS, start=1):
            (mean, covariance), (style_mean, style_covariance) = own[name], wanted[name]
            if block in blocks:
                found.append((relative(mean, style_mean) + relative(covariance, style_covariance)) / 2)
            else:
                grams = (covariance + np.outer(mean, mean), style_covariance + np.outer(style_mean, style_mean))
                found.append(relative(*grams))
    return float(np.mean(found))


@pytest.mark.parametrize(("blocks", "stride"), [(range(1, 6), 1), ((4, 5), 1), (range(1, 6), 2), ((), 1)])
def test_means_and_covariances_are_compared_each_for_itself(experiments, tmp_path, blocks, stride):
    own = evaluator(tmp_path, experiments.Moments(stride))
    recipe = recipe_of(experiments.with_moments(STANDARD.loss, blocks))
    judged = judge(own, CANVAS, own.objective(CANVAS, [STYLE], recipe))
    expected = style_loss(lambda side: own._pictures.seen_at(STYLE, side), CANVAS, blocks, stride)
    assert judged.losses.style == pytest.approx(expected, rel=1e-4)


def test_the_gradient_of_means_and_covariances_is_the_slope_of_finite_differences(experiments, tmp_path):
    own = evaluator(tmp_path, experiments.Moments())
    objective = own.objective(CANVAS, [STYLE], recipe_of(experiments.with_moments(STANDARD.loss)))
    gradient = judge(own, CANVAS, objective).gradient.astype(np.float64)
    direction = gradient / np.linalg.norm(gradient)
    above, below = (
        judge(own, (CANVAS + step * direction).astype(np.float32), objective).losses.style for step in (0.002, -0.002)
    )
    assert (above - below) / 0.004 == pytest.approx(np.sum(gradient * direction), rel=0.02)


def test_a_network_with_moments_is_as_ever_where_means_are_not_asked_for(experiments, tmp_path):
    judged = []
    for number, network in enumerate((VggNetwork, experiments.Moments())):
        own = evaluator(tmp_path / str(number), network)
        judged.append(judge(own, CANVAS, own.objective(CANVAS, [STYLE], recipe_of(STANDARD.loss))))
    assert judged[1].losses.style == pytest.approx(judged[0].losses.style, rel=1e-6)
    np.testing.assert_allclose(judged[1].gradient, judged[0].gradient, atol=1e-6)


class Noting(ToyEvaluator):
    """Notes the design that each scale is judged by."""

    designs: dict[int, object]

    def objective(self, content, styles, recipe, tile_side=None):
        self.designs = {**getattr(self, "designs", {}), len(content): recipe.loss}
        return super().objective(content, styles, recipe, tile_side)


def test_the_usual_loss_gives_way_to_that_of_the_recipe_at_the_last_scale_alone(painting, ablation):
    recipe, experiment = ablation.EXPERIMENTS["means and covariances at the last scale"]
    noting, looks = Noting(), []
    painting.Painter(noting, experiment).paint(
        smooth(1, 256, 256), style(2), dataclasses.replace(recipe, iterations=6), looks.append
    )
    assert noting.designs == {64: STANDARD.loss, 128: STANDARD.loss, 256: recipe.loss}
    assert recipe.loss != STANDARD.loss


def numpy_slowing_adam(canvas: np.ndarray, target: np.ndarray, settings: AdamSettings, moves: int) -> np.ndarray:
    """Kingma and Ba's algorithm with gradient x - t, and a step size that falls to zero in a straight line."""
    x, m, v = canvas.astype(np.float64), 0.0, 0.0
    for t in range(1, moves + 1):
        m = settings.beta_1 * m + (1 - settings.beta_1) * (x - target)
        v = settings.beta_2 * v + (1 - settings.beta_2) * (x - target) ** 2
        rate = settings.learning_rate * (moves - t + 1) / moves
        step = rate * np.sqrt(1 - settings.beta_2**t) / (1 - settings.beta_1**t)
        x = np.clip(x - step * m / (np.sqrt(v) + settings.epsilon), 0, 1)
    return x


def test_the_step_size_falls_to_zero_in_a_straight_line(experiments):
    settings = AdamSettings(0.05, 0.9, 0.99, 1e-8, average_decay=0.0)
    start, target = smooth(1, 8, 8), smooth(2, 8, 8)
    adam = experiments.SlowingAdam(ToyEvaluator())
    run = adam.start(start, ToyObjective(target), dataclasses.replace(STANDARD, adam=settings), 12)
    while run.ended is None:
        adam.step([run])
    np.testing.assert_allclose(run.result(), numpy_slowing_adam(start, target, settings, 12), atol=1e-5)


@pytest.mark.parametrize(("name", "is_carried"), [("SlowingAdam", False), ("SlowingCarryingAdam", True)])
def test_moments_are_reset_at_each_scale_unless_they_are_carried(experiments, painting, name, is_carried):
    began: list[float] = []

    class NotingAdam(getattr(experiments, name)):
        def step(self, runs):
            if not runs[0].moves:
                began.append(float(tf.reduce_max(runs[0].state.second_moment)))
            super().step(runs)

    recipe = dataclasses.replace(STANDARD, optimizer="adam", iterations=6)
    painter = painting.Painter(ToyEvaluator(), experiments.Experiment(adam=NotingAdam))
    painter.paint(smooth(1, 128, 128), style(2), recipe, lambda look: None)
    assert [moment > 0 for moment in began] == [False, is_carried]


def test_sparing_lbfgs_paints_whole_canvases_with_the_history_of_tiles(experiments, painting):
    began = []

    class NotingLbfgs(experiments.SparingLbfgs):
        def step(self, runs):
            began.append(runs[0])
            super().step(runs)

    painter = painting.Painter(ToyEvaluator(), experiments.Experiment(lbfgs=NotingLbfgs))
    painter.paint(smooth(1, 64, 64), style(2), dataclasses.replace(STANDARD, iterations=4), lambda look: None)
    capacities = {run.curvature.capacity for run in began}
    rows = {run.vectors._rows.dtype.itemsize for run in began}
    assert (capacities, rows) == ({lbfgs.TILED_HISTORY}, {2})


def test_every_variant_of_the_ablation_does_the_work_of_standard(ablation):
    recipes = {**ablation.VARIANTS, **{name: recipe for name, (recipe, _) in ablation.EXPERIMENTS.items()}}
    assert len(recipes) == len(ablation.VARIANTS) + len(ablation.EXPERIMENTS)
    goal = ablation.work(STANDARD, 171, 256)
    for name, recipe in recipes.items():
        own = ablation.work(ablation.at_equal_work(recipe, 171, 256), 171, 256)
        assert own == pytest.approx(goal, rel=0.03), name


def test_a_size_at_which_styles_would_be_seen_in_tiles_is_refused(ablation, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["ablation", "--side", "512", "--variants", "means and covariances"])
    with pytest.raises(SystemExit):
        ablation.main()
    assert "--side: got 512; allowed: up to 320" in capsys.readouterr().err
