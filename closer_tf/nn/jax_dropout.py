"""JAX's random bits."""

import math

import jax
import jax.numpy as jnp
from jax.extend.random import threefry_2x32


def levels(seed, shape):
    """Random whole numbers of 16 bits; arguments as in `closer_tf.nn.tensorflow_dropout.levels`.

    `jax.random.bits` computes 64 bits for each number, whatever its width; here each 64 are four numbers.
    """
    count = math.prod(shape)
    words = threefry_2x32(seed.astype("uint32"), jnp.arange(-(-count // 2), dtype="uint32"))
    return jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[:count].reshape(shape)
