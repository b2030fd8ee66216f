"""Whether two sets of stimuli are on one scale: 8-bit pixels and pixels divided by 255 are not."""

import warnings
from typing import NamedTuple

import numpy as np

from closer_tf.errors import CloserWarning, DataError

_FACTOR = 64  # 255 and 1 are further apart than this, two sets of images on one scale are not
_SAMPLES = 20  # fewer may be dark, or without negative values, by chance
_REACH = 16  # scaled inputs beyond this were not meant; z-scored ones stay within it


class Scale(NamedTuple):
    """What tells how an array was prepared; plain values, to be kept in place of the array.

    Args:
        dtype: NumPy's name of its type.
        low, high: its smallest and its largest value, as floats.
        whole: all values are whole numbers.
        samples: number of samples, along the first axis.
    """

    dtype: str
    low: float
    high: float
    whole: bool
    samples: int

    def __str__(self):
        return f"{self.dtype} from {self.low:.6g} to {self.high:.6g}"


def scale_of(stimuli):
    """The `Scale` of an array (n, ...) of finite numbers or truth values, with at least one value."""
    integers = stimuli.dtype.kind in "biu"
    whole = integers or all((block == np.floor(block)).all() for block in np.array_split(stimuli, -(-len(stimuli) // 1024)))
    return Scale(stimuli.dtype.name, float(stimuli.min()), float(stimuli.max()), bool(whole), len(stimuli))


def check_same_scale(train, other, train_name="x_train", other_name="x_test"):
    """Refuse stimuli that were prepared in another way than those of the training.

    Refused are fractions of at most 1 beside larger whole numbers; values more than 64 times larger than the training's, or
    values of at most 1 where the training's are more than 64 times larger, unless it is but some samples, of the same integers;
    values above 255 beside 8-bit ones; and values clearly below 0 where the other has 20 samples or more and none below 0. What
    is only darker, or brighter, passes.

    Args:
        train, other: `Scale`s of the training stimuli and of those to be used with them.
        train_name, other_name: what to call them in the message.

    Raises:
        DataError: the message says what both are, and what to do.
    """
    reason = difference(train, other)
    if reason:
        raise DataError(
            f"{other_name}: {other}, but {train_name}: {train}: {reason}; prepare both in the same way (one type, one division)"
        )


def warn_if_unscaled(scale, input_scale, name="x_train", key="dataset.input_scale"):
    """Warn of images without negative values that nothing brings to the range of 0 to 1.

    These are floats that reach more than 16 after the scaling (0 to 255, say), and values of any type that stay below 1/64: 0
    and 1 stored with 8 bits, and multiplied by 1/255.

    Args:
        scale: `Scale` of the training stimuli.
        input_scale: what they will be multiplied by.
        name, key: what to call them, and the setting that mends it.
    """
    reach = scale.high * input_scale
    too_large = reach > _REACH and scale.dtype.startswith("float")
    if scale.low >= 0 and (too_large or 0 < reach < 1 / _FACTOR):
        message = (
            f"{name}: values reach {scale.high:.6g} and are multiplied by {input_scale:.6g}; encoders are made for 0 to 1: set "
            f"{key}={1 / scale.high:.6g}, or {key}={input_scale:.6g} if this is meant"
        )
        warnings.warn(message, CloserWarning, stacklevel=2)


def difference(train, other):
    """Why the `Scale`s of training stimuli and of others cannot be one, in words, or '' where they can."""
    small, large = sorted((train, other), key=_peak)
    factor = _peak(large) / _peak(small) if _peak(small) else 1  # black images are on any scale
    integers = "f" not in (small.dtype[0], large.dtype[0])
    if large.whole and not small.whole and _peak(small) <= 1 < _peak(large):
        return "fractions beside whole numbers"
    few = integers and small.dtype == large.dtype and other.samples < _SAMPLES  # one dark stimulus is no other scale
    if factor > _FACTOR and (large is other or _peak(small) <= 1) and not few:
        return f"values differ by a factor of {factor:.3g}"
    if integers and factor > 8 and small.dtype in ("uint8", "int8") and _peak(large) > 255:
        return "8-bit values beside larger ones"
    for one, without in ((train, other), (other, train)):
        if one.low < -0.1 * _peak(one) and without.low >= 0 and without.samples >= _SAMPLES:
            return "values below 0 in one of them alone"
    return ""


def _peak(scale):
    return max(abs(scale.low), abs(scale.high))
