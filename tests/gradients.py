"""Values and gradients on whichever backend Keras runs on, without compiling."""

import keras
import numpy as np


def value_and_gradient(function, point):
    """A scalar function of one tensor at a point (array).

    Returns:
        (value, gradient): float, and array like `point`.
    """
    if keras.backend.backend() == "jax":
        import jax

        value, gradient = jax.value_and_grad(function)(jax.numpy.asarray(point))
    else:
        import tensorflow as tf

        point = tf.constant(point)
        with tf.GradientTape() as tape:
            tape.watch(point)
            value = function(point)
        gradient = tape.gradient(value, point)
    return float(value), np.asarray(gradient)
