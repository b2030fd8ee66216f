"""Nadam's update of one variable in two of TensorFlow's own kernels, each one pass over memory."""

import keras
import tensorflow as tf


def update(variable, m, v, gradient, beta_1, beta_2, of_momentum, of_gradient, epsilon):
    """Move the means on, and the variable by `(of_momentum m + of_gradient gradient) / (sqrt(v) + epsilon)`.

    The first kernel is Adam's with its bias correction taken out, which leaves the momentum's part of the step; the second is
    Adagrad's, told to leave its accumulator `v` alone, which leaves the gradient's.

    Args:
        variable, m, v: Keras variables of one shape: what is trained, and the running means of its gradient and its square.
        gradient: tensor of that shape.
        beta_1, beta_2: decays of the means.
        of_momentum, of_gradient, epsilon: scalar tensors, see `closer_tf.nn.optimizers.Nadam`.
    """
    variable, m, v = (_resource(each) for each in (variable, m, v))
    dtype = gradient.dtype
    zero = tf.zeros([], dtype)
    tf.raw_ops.ResourceApplyAdam(
        var=variable,
        m=m,
        v=v,
        beta1_power=zero,
        beta2_power=zero,
        lr=of_momentum,
        beta1=tf.constant(beta_1, dtype),
        beta2=tf.constant(beta_2, dtype),
        epsilon=epsilon,
        grad=gradient,
    )
    tf.raw_ops.ResourceApplyAdagradV2(var=variable, accum=v, lr=of_gradient, epsilon=epsilon, grad=gradient, update_slots=False)


def _resource(variable):
    """The handle of a Keras variable, or of the plain one that it becomes inside an update on several devices."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle
