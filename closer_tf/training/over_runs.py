"""What callbacks see of several runs that train in one: means over the runs."""

import math

import keras
import numpy as np


class MeansOverRuns(keras.callbacks.Callback):
    """Hands on to a callback what happens to several runs that train in one, with the means over them as logs.

    A run whose loss is not finite any more does not count.

    Args:
        callback: Keras callback, which sees the model that the runs are trained in.
    """

    def __init__(self, callback):
        super().__init__()
        self.callback = callback

    def set_params(self, params):
        """As Keras calls it."""
        super().set_params(params)
        self.callback.set_params(params)

    def set_model(self, model):
        """As Keras calls it."""
        super().set_model(model)
        self.callback.set_model(model)

    def on_train_begin(self, logs=None):
        """Hand on."""
        self.callback.on_train_begin(means_over_runs(logs))

    def on_train_end(self, logs=None):
        """Hand on."""
        self.callback.on_train_end(means_over_runs(logs))

    def on_epoch_begin(self, epoch, logs=None):
        """Hand on."""
        self.callback.on_epoch_begin(epoch, means_over_runs(logs))

    def on_epoch_end(self, epoch, logs=None):
        """Hand on."""
        self.callback.on_epoch_end(epoch, means_over_runs(logs))

    def on_train_batch_begin(self, batch, logs=None):
        """Hand on."""
        self.callback.on_train_batch_begin(batch, means_over_runs(logs))

    def on_train_batch_end(self, batch, logs=None):
        """Hand on."""
        self.callback.on_train_batch_end(batch, means_over_runs(logs))

    def on_test_begin(self, logs=None):
        """Hand on."""
        self.callback.on_test_begin(means_over_runs(logs))

    def on_test_end(self, logs=None):
        """Hand on."""
        self.callback.on_test_end(means_over_runs(logs))

    def on_test_batch_begin(self, batch, logs=None):
        """Hand on."""
        self.callback.on_test_batch_begin(batch, means_over_runs(logs))

    def on_test_batch_end(self, batch, logs=None):
        """Hand on."""
        self.callback.on_test_batch_end(batch, means_over_runs(logs))


def means_over_runs(logs):
    """Logs that are vectors over runs as their means over those that are finite; NaN where none is.

    Args:
        logs: dict of name to number or vector, or None.

    Returns:
        dict of name to float.
    """
    values = {key: np.asarray(value, dtype=float) for key, value in (logs or {}).items()}
    finite = {key: value[np.isfinite(value)] for key, value in values.items()}
    return {key: float(value.mean()) if value.size else math.nan for key, value in finite.items()}
