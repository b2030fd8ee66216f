"""JAX's random bits."""

import jax
import jax.numpy as jnp


def levels(seed, shape):
    """Random whole numbers of 16 bits; arguments as in `closer_tf.tensorflow_dropout.levels`."""
    key = jax.random.wrap_key_data(seed.astype("uint32"), impl="threefry2x32")
    return jax.random.bits(key, shape, jnp.uint16)
