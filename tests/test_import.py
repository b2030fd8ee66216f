import re
import subprocess
import sys

import pytest

import closer_tf


def python(code, *options):
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, timeout=300)


def test_import_is_quick_quiet_and_light():
    done = python(
        "import sys, closer_tf, closer_tf.config, closer_tf.plots; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    assert done.returncode == 0 and done.stdout + done.stderr == ""
    own = python("import keras, closer_tf", "-X", "importtime").stderr
    total = {line.split("|")[2].strip(): int(line.split("|")[1]) for line in own.splitlines() if re.match(r".*\d \|", line)}
    assert total["closer_tf"] < 500_000  # microseconds


def test_every_public_name_is_there():
    import closer_tf.evaluate
    import closer_tf.train  # a submodule must not take a public name's place

    for name in closer_tf.__all__:
        assert callable(getattr(closer_tf, name)) and getattr(closer_tf, name).__doc__
    assert set(closer_tf.__all__) <= set(dir(closer_tf))


@pytest.mark.parametrize("name", ["CLoSeRLoss", "Nadam", "TemporalLoss"])
def test_any_name_can_come_first(name):
    done = python(f"from closer_tf import {name}")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["nn.layers", "nn.objectives", "nn.pairwise", "nn.encoders", "data.streams", "training.loop", "estimator"]
)
def test_a_fresh_process_may_begin_with_any_module(name):
    looked_up = "keras.saving.get_registered_object('closer_tf>{}').__name__"
    known = "; ".join(looked_up.format(each) for each in ("CLoSeR", "RandomAffine", "TemporalLoss"))
    done = python(f"import closer_tf.{name}; import keras; {known}")
    assert done.returncode == 0 and done.stdout + done.stderr == "", done.stderr


def test_unknown_names_fail_as_usual():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(closer_tf, "nothing")  # noqa: B009


def test_what_guides_named_before_is_where_it_was():
    from closer_tf.nn import heads, layers
    from closer_tf.readout import measures, scores

    assert heads.Heads is layers.Heads
    assert all(getattr(measures, name) is getattr(scores, name) for name in measures.__all__)
