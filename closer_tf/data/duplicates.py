"""Stimuli that are in training and test alike."""

import hashlib
import warnings

import numpy as np

from closer_tf.errors import CloserWarning

MAX_BYTES = 2**31  # more is not searched: it would take longer than some seconds


def warn_of_shared(train, test, what):
    """Warn of test stimuli that the training stimuli hold too, equal to the last bit.

    Args:
        train, test: arrays (n, ...) and (m, ...) of one type.
        what: what to call the source in the message.
    """
    if train.nbytes + test.nbytes > MAX_BYTES:
        return
    known = set(map(_digest, train))
    shared = sum(_digest(stimulus) in known for stimulus in test)
    if shared:
        message = f"{what}: {shared} of {len(test)} test images are in the training set as well, equal to the last bit"
        warnings.warn(message, CloserWarning, stacklevel=3)


def _digest(stimulus):
    return hashlib.blake2b(np.ascontiguousarray(stimulus).data, digest_size=16).digest()
