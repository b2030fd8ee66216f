"""Compile, differentiate and wait for a result on whichever backend Keras runs on: TensorFlow or JAX."""

import keras
import numpy as np


def compiled(function):
    """`function` of tensors, compiled as the backend compiles a training step."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, autograph=False)


def value_and_gradient(function):
    """`function` of one tensor as a compiled function that returns its value and its gradient."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(jax.value_and_grad(function))
    import tensorflow as tf

    @tf.function(autograph=False)
    def both(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        return value, tape.gradient(value, x)

    return both


def wait(result):
    """Return when the result has been computed."""
    for value in keras.tree.flatten(result):
        np.asarray(value)


def bare_step(model, batch):
    """A function that runs one compiled training step on a batch in the backend's memory and waits for it."""
    if keras.backend.backend() != "tensorflow":
        return lambda: model.train_on_batch(*batch)
    import tensorflow as tf

    if "bare" not in model.__dict__:
        model.__dict__["bare"] = tf.function(lambda *data: model.train_step(data), autograph=False)
    data = tuple(tf.constant(part) for part in batch)
    return lambda: wait(model.__dict__["bare"](*data)["loss"])
