import warnings

import numpy as np
import pytest

from closer_tf.data.scales import check_same_scale, scale_of, warn_if_unscaled
from closer_tf.errors import CloserWarning, DataError

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (40, 6, 5, 3)).astype(np.uint8)
UNIT = (BYTES / 255).astype(np.float32)
Z = ((BYTES - 127.5) / 74).astype(np.float32)
DEEP = BYTES.astype(np.uint16) * 257
COUNTS = RNG.integers(0, 17, (40, 6, 5, 1))


def test_what_a_scale_says():
    assert scale_of(BYTES) == ("uint8", 0.0, 255.0, True, 40)
    assert scale_of(UNIT) == ("float32", 0.0, 1.0, False, 40)
    assert scale_of(BYTES.astype(np.float64))[3] and not scale_of(Z).whole
    assert str(scale_of(UNIT)) == "float32 from 0 to 1"
    late = np.zeros((3000, 2))
    late[-1, -1] = 0.5
    assert not scale_of(late).whole


@pytest.mark.parametrize(
    "train, other",
    [
        (BYTES, UNIT),
        (UNIT, BYTES),
        (BYTES, UNIT[:1]),
        (BYTES.astype(np.float32), UNIT),
        (UNIT, BYTES.astype(np.float32)),
        (UNIT, 255 * UNIT + 0.25),
        (255 * UNIT + 0.25, UNIT),
        (BYTES, (UNIT > 0.5).astype(np.float32)),
        (BYTES, BYTES % 2),
        (COUNTS, COUNTS / 16),
        (COUNTS / 16, COUNTS.astype(np.uint8)),
        (BYTES, DEEP),
        (DEEP, BYTES),
        (DEEP >> 4, BYTES),
        (UNIT, DEEP),
        (Z, BYTES),
        (BYTES, Z),
        (BYTES, Z[:1]),
        (UNIT, Z),
        (Z, UNIT),
        (2 * UNIT - 1, UNIT),
        (UNIT, 2 * UNIT - 1),
    ],
)
def test_stimuli_on_two_scales_are_refused(train, other):
    with pytest.raises(DataError, match="^x_test: .* from .* to .*, but x_train: .*; prepare both in the same way"):
        check_same_scale(scale_of(train), scale_of(other))


@pytest.mark.parametrize(
    "train, other",
    [
        (BYTES, BYTES // 20),
        (BYTES, BYTES[:1] * 0),
        (BYTES, BYTES[:1] % 2),
        (BYTES // 20, BYTES),
        (BYTES, BYTES.astype(np.float64)),
        (BYTES, BYTES.astype(np.int64)),
        (BYTES.astype(np.int64), BYTES // 30),
        (UNIT, UNIT.astype(np.float64)),
        (UNIT, UNIT * 0.05),
        (UNIT, UNIT * 0),
        (UNIT * 0, UNIT),
        (UNIT, UNIT - 0.02),
        (BYTES, 255 * UNIT * 0.9),
        (DEEP, DEEP // 50),
        (Z, 3 * Z),
        (Z, np.abs(Z[:3])),
        (COUNTS, COUNTS // 8),
        (COUNTS > 8, COUNTS > 10),
    ],
)
def test_darker_brighter_and_fewer_stimuli_pass(train, other):
    check_same_scale(scale_of(train), scale_of(other))


@pytest.mark.parametrize(
    "images, factor, remedy",
    [
        (
            BYTES.astype(np.float32),
            1.0,
            "reach 255 and are multiplied by 1; .* set dataset.input_scale=0.00392157, or dataset.inp.*=1 ",
        ),
        (DEEP.astype(np.float64), 1.0, "set dataset.input_scale=1.5259e-05"),
        (BYTES % 2, 1 / 255, "reach 1 and are multiplied by 0.00392157; .* set dataset.input_scale=1,"),
        (UNIT, 1 / 255, "set dataset.input_scale=1,"),
        (UNIT * 1e-6, 1.0, r"set dataset.input_scale=1e\+06"),
    ],
)
def test_unscaled_images_are_warned_of(images, factor, remedy):
    with pytest.warns(CloserWarning, match=f"^x_train: values .*{remedy}"):
        warn_if_unscaled(scale_of(images), factor)


@pytest.mark.parametrize(
    "images, factor",
    [
        (UNIT, 1),
        (Z, 1),
        (100 * Z, 1),
        (BYTES, 1 / 255),
        (BYTES.astype(np.float32), 1 / 255),
        (COUNTS, 1),
        (UNIT * 0, 1),
        (DEEP, 1),
    ],
)
def test_scaled_images_and_counts_are_not_warned_of(images, factor):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_unscaled(scale_of(images), factor)
