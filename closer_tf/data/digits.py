"""scikit-learn's handwritten digits: real images that need no download."""

import numpy as np

from closer_tf.data.splits import Source, Split, hold_out


def digits(test_fraction=0.25):
    """1797 handwritten digits of 8 x 8 pixels, one channel, values 0 to 16.

    Args:
        test_fraction: fraction of each class held out as the test set.

    Returns:
        `Source`.
    """
    from sklearn.datasets import load_digits

    stored = load_digits()
    names = tuple(str(name) for name in stored.target_names)
    samples = Split(stored.images[..., None].astype(np.uint8), stored.target)
    train, test = hold_out(samples, test_fraction, names, "digits")
    return Source(train, test, names, 1 / 16)
