"""TensorFlow's random bits, four values to a word."""

import tensorflow as tf


def levels(seed, shape):
    """Random whole numbers of 16 bits.

    Args:
        seed: int tensor (2,).
        shape: tuple of ints or scalar tensors.
    """
    seed = tf.cast(tf.math.floormod(seed, tf.int32.max - 1), tf.int32)
    shape = tf.convert_to_tensor(shape, tf.int32)
    count = tf.reduce_prod(shape)
    words = tf.random.stateless_uniform([(count + 3) // 4], seed, minval=None, maxval=None, dtype=tf.uint64)
    return tf.reshape(tf.reshape(tf.bitcast(words, tf.uint16), [-1])[:count], shape)
