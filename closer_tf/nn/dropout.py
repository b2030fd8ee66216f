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
    return _from_seed(seed_generator.next(), shape, rate, dtype)


def masks(seeds, shape, rate, dtype):
    """The masks that G generators would draw next, side by side (G, *shape).

    Args:
        seeds: Keras variable (G, 2), the generators' states; moves on.
        shape, rate, dtype: as in `mask`.
    """
    now = seeds * 1  # read before they move on
    seeds.assign(now + ops.convert_to_tensor([0, 1], dtype=seeds.dtype))
    if keras.backend.backend() == "jax":
        return ops.vectorized_map(lambda seed: _from_seed(seed, shape, rate, dtype), now)
    return ops.stack([_from_seed(seed, shape, rate, dtype) for seed in ops.unstack(now)])


def _from_seed(seed, shape, rate, dtype):
    """The mask that follows from one seed (2,)."""
    if keras.backend.backend() == "jax":
        from closer_tf.nn.jax_dropout import levels
    else:
        from closer_tf.nn.tensorflow_dropout import levels
    dropped = round(rate * LEVELS)
    kept = ops.cast(levels(seed, shape) >= dropped, dtype)
    return kept * ops.convert_to_tensor(LEVELS / (LEVELS - dropped), dtype=dtype)
