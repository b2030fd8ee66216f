"""Dropout that spends little on its random numbers."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("closer_tf")
class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout`, which under TensorFlow decides on each value by 16 random bits in place of 32.

    The fraction that is dropped is `rate` rounded to a multiple of 2^-16; arguments as for Keras's layer.
    """

    def call(self, inputs, training=False):
        """The inputs, some of them dropped in training."""
        if not training or not 0 < self.rate < 1 or self.noise_shape is not None:
            return super().call(inputs, training=training)
        return inputs * mask(ops.shape(inputs), self.rate, self.seed_generator, inputs.dtype)


def mask(shape, rate, seed_generator, dtype):
    """What dropout multiplies by: 0 with probability `rate`, else 1 / (1 - rate).

    Args:
        shape: tuple of ints or scalar tensors.
        rate: float in (0, 1).
        seed_generator: `keras.random.SeedGenerator`; moves on.
        dtype: the mask's.
    """
    if keras.backend.backend() != "tensorflow":
        return keras.random.dropout(ops.ones(shape, dtype), rate, seed=seed_generator)
    from closer_tf import tensorflow_dropout

    return tensorflow_dropout.mask(shape, rate, seed_generator, dtype)
