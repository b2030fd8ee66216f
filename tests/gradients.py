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


def weight_gradients(model, inputs, training):
    """Gradients of the sum of the squares of all of a model's outputs.

    Args:
        model: a Keras model.
        inputs: array, or list of arrays.
        training: whether it is called as in training.

    Returns:
        (of the trainable weights, of the inputs), two lists of arrays.
    """
    if keras.backend.backend() == "jax":
        import jax

        def total(weights, x):
            outputs, _ = model.stateless_call(weights, others, x, training=training)
            return _sum_of_squares(outputs)

        weights, others = ([each.value for each in of] for of in (model.trainable_variables, model.non_trainable_variables))
        found = jax.grad(total, argnums=(0, 1))(weights, keras.tree.map_structure(jax.numpy.asarray, inputs))
    else:
        import tensorflow as tf

        weights, x = [each.value for each in model.trainable_variables], keras.tree.map_structure(tf.constant, inputs)
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = _sum_of_squares(model(x, training=training))
        found = tape.gradient(value, (weights, x))
    return tuple([np.asarray(each) for each in keras.tree.flatten(part)] for part in found)


def _sum_of_squares(outputs):
    return sum(keras.ops.sum(keras.ops.square(each)) for each in keras.tree.flatten(outputs))
