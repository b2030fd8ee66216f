"""Dropout's mask from TensorFlow's random bits, four values to a word."""

import tensorflow as tf

LEVELS = 2**16


def mask(shape, rate, seed_generator, dtype):
    """Arguments and result as for `closer_tf.dropout.mask`."""
    dropped = round(rate * LEVELS)  # of so many levels
    seed = tf.cast(tf.math.floormod(seed_generator.next(), tf.int32.max - 1), tf.int32)
    shape = tf.convert_to_tensor(shape, tf.int32)
    count = tf.reduce_prod(shape)
    words = tf.random.stateless_uniform([(count + 3) // 4], seed, minval=None, maxval=None, dtype=tf.uint64)
    levels = tf.reshape(tf.reshape(tf.bitcast(words, tf.uint16), [-1])[:count], shape)
    return tf.cast(levels >= tf.constant(dropped, tf.uint16), dtype) * tf.constant(LEVELS / (LEVELS - dropped), dtype)
