"""The time that is said to be left, by a clock of our own."""

import re

import pytest

from closer_tf.training import loop
from closer_tf.training.loop import ProgressLines


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still; a list of one number."""
    now = [0.0]
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    return now


def train(lines, clock, first, last, steps, at_once=1, compiling=0.0, step=1.0, validating=0.0):
    """Epochs `first` to `last` of `steps` steps, the first call `compiling` seconds longer."""
    for epoch in range(first, last):
        lines.on_epoch_begin(epoch)
        for done in range(0, steps, at_once):
            taken = min(at_once, steps - done)
            clock[0] += taken * step + (compiling if epoch == first and done == 0 else 0)
            lines.on_train_batch_end(done + at_once - 1)  # as Keras counts: as if the last call had taken all its steps
        clock[0] += validating + (compiling if epoch == first else 0)
        lines.on_epoch_end(epoch, {"loss": 1.0})


def said(capsys):
    return re.findall(r"left: (.*)", capsys.readouterr().out)


def test_what_the_first_epoch_compiles_is_not_time_left(clock, capsys):
    with ProgressLines(10, 20) as lines:
        train(lines, clock, 0, 10, 20, compiling=500.0, validating=2.0)
    left = said(capsys)
    assert left[0] == "3 min 0 s"  # nine epochs of twenty steps
    assert left[1:3] == ["2 min 56 s", "2 min 34 s"] and left[-1] == "0 s"  # with their validation


def test_several_steps_at_a_call(clock, capsys):
    with ProgressLines(11, 20) as lines:
        train(lines, clock, 0, 2, 20, at_once=8, compiling=500.0)
    assert said(capsys) == ["3 min 20 s", "3 min 0 s"]


def test_a_first_epoch_of_one_call_says_nothing_of_the_others(clock, capsys):
    with ProgressLines(3, 5) as lines:
        train(lines, clock, 0, 2, 5, at_once=8, compiling=500.0)
    assert said(capsys) == ["not known yet", "5 s"]
    with ProgressLines(1, 5) as lines:
        train(lines, clock, 0, 1, 5, at_once=8)
    assert said(capsys) == ["0 s"]


def test_the_rest_of_a_stopped_epoch_is_not_taken_for_a_whole_one(clock, capsys):
    with ProgressLines(10, 20) as lines:
        train(lines, clock, 4, 5, 4, compiling=300.0)
        train(lines, clock, 5, 7, 20)
    assert said(capsys) == ["1 min 40 s", "1 min 20 s", "1 min 0 s"]
