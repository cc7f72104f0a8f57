"""Growing: the run of one scale gives up what it holds before that of the next begins, whatever the optimizer."""

import numpy as np
import pytest

from styleserve.optimizers.adam import Adam
from styleserve.optimizers.lbfgs import Lbfgs
from styleserve.optimizers.lbfgsb import Lbfgsb
from styleserve.presets import PRESETS
from support.toy import ToyEvaluator, ToyObjective

START, TARGET = (np.full((6, 5, 3), value, np.float32) for value in (0.2, 0.7))
LARGE_TARGET = np.full((12, 10, 3), 0.7, np.float32)


@pytest.mark.parametrize("kind", [Adam, Lbfgs, Lbfgsb])
@pytest.mark.parametrize("is_ended", [False, True])
def test_what_one_scale_holds_is_gone_before_the_next_asks_for_its_own(kind, is_ended, monkeypatch):
    optimizer, recipe = kind(ToyEvaluator()), PRESETS["standard"]
    run = optimizer.start(START, ToyObjective(TARGET), recipe, 3)
    optimizer.step([run])
    while is_ended and run.ended is None:
        optimizer.step([run])
    order = []
    close, start = type(run).close, optimizer.start
    monkeypatch.setattr(type(run), "close", lambda closed: (order.append(closed is run), close(closed)))
    monkeypatch.setattr(optimizer, "start", lambda *given: (order.append("the next"), start(*given))[1])
    grown = optimizer.grow(run, ToyObjective(LARGE_TARGET), LARGE_TARGET.shape[:2], recipe, 3)
    assert order == [True, "the next"]
    assert not hasattr(run, "state")
    assert not hasattr(run, "vectors")
    assert grown.result().shape == LARGE_TARGET.shape
    grown.close()
