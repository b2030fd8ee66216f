"""Dropout that spends little on its random numbers."""

import keras
from keras import ops

LEVELS = 2**16


@keras.saving.register_keras_serializable("closer_tf")
class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout`, which decides on each value by 16 random bits in place of 32.

    The fraction that is dropped is `rate` rounded to a multiple of 2^-16; arguments as for Keras's layer.
    """

    def call(self, inputs, training=False):
        """The inputs, some of them dropped in training."""
        plain = not training or not 0 < self.rate < 1 or self.noise_shape is not None
        if plain or keras.backend.backend() not in ("tensorflow", "jax"):
            return super().call(inputs, training=training)
        return inputs * mask(ops.shape(inputs), self.rate, self.seed_generator, inputs.dtype)


def mask(shape, rate, seed_generator, dtype):
    """What dropout multiplies by: 0 with probability `rate`, else 1 / (1 - rate).

    Args:
        shape: tuple of ints or scalar tensors.
        rate: float in (0, 1), taken as a multiple of 2^-16.
        seed_generator: `keras.random.SeedGenerator`; moves on.
        dtype: the mask's.
    """
    if keras.backend.backend() == "jax":
        from closer_tf.nn.jax_dropout import levels
    else:
        from closer_tf.nn.tensorflow_dropout import levels
    dropped = round(rate * LEVELS)
    kept = ops.cast(levels(seed_generator.next(), shape) >= dropped, dtype)
    return kept * ops.convert_to_tensor(LEVELS / (LEVELS - dropped), dtype=dtype)
