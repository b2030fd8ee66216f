"""The `deterministic` switch; docs/reproducibility.md says what is equal to the bit with and without it."""

import keras

from closer_tf.errors import ConfigError


def make_deterministic():
    """Have the backend use only operations that give the same bits every time, for the rest of the process.

    Under TensorFlow, operations that cannot do so raise an error, and Keras compiles nothing with XLA.

    Raises:
        ConfigError: the backend has no such switch.
    """
    if keras.backend.backend() != "tensorflow":
        raise ConfigError(f"deterministic: Keras's backend '{keras.backend.backend()}' has no such switch")
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
