"""How precise matrix products are: NVIDIA's GPUs take float32 products in TF32, with 3 digits, unless told otherwise."""

import contextlib

import keras

OF_JAX = {"float32": "highest", "tensorfloat32": "tensorfloat32", "bfloat16": "highest"}


@contextlib.contextmanager
def products_in(precision):
    """Context in which float32 products are as precise as `compute.precision` says.

    Args:
        precision: 'float32', 'tensorfloat32', or 'bfloat16', under which what the encoders leave in float32 is true float32.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        with jax.default_matmul_precision(OF_JAX[precision]):
            yield
    elif backend == "tensorflow":
        from closer_tf.nn.tensorflow_precision import without_tf32

        with without_tf32():
            yield
    else:
        yield


@contextlib.contextmanager
def true_float32():
    """Context for what must not be rounded whatever the encoders' products are: losses, and coordinates of images."""
    if keras.backend.backend() != "jax":  # TensorFlow has one switch for all, see `products_in`
        yield
        return
    import jax

    with jax.default_matmul_precision("highest"):
        yield
