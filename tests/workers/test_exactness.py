"""Jobs are judged together only where a batch gives each canvas the bytes that it gives alone."""

import dataclasses

from styleserve.model.calibration import natural_image
from styleserve.workers.exactness import is_exact_in_batches
from support.toy import ToyEvaluator


class RoundingEvaluator(ToyEvaluator):
    """Rounds the canvas in the middle of a batch of small ones otherwise."""

    def evaluate(self, canvases, objectives):
        judged = super().evaluate(canvases, objectives)
        if len(judged) == 3 and canvases[0].shape[1] < 64:
            judged[1] = dataclasses.replace(judged[1], gradient=judged[1].gradient * 1.000001)
        return judged


def test_the_toy_is_exact():
    assert is_exact_in_batches(ToyEvaluator(), natural_image)


def test_rounding_by_the_batch_is_found_though_it_be_of_one_canvas_of_one_size():
    assert not is_exact_in_batches(RoundingEvaluator(), natural_image)
