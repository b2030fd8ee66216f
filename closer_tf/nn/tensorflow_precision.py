"""TensorFlow's switch for products in TF32, which is on by itself."""

import contextlib

import tensorflow as tf


@contextlib.contextmanager
def without_tf32():
    """Context in which float32 products are true float32."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
