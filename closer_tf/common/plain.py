"""Arrays as other programs hand them over, as the types that NumPy, Keras and TensorFlow share. Nothing is unpickled."""

import numpy as np

from closer_tf.errors import DataError

EXACT = 2**53  # whole numbers up to here are exact as floats


def plain(array):
    """An array in the machine's byte order; long doubles as float64, bytes as text, columns of objects as what they hold.

    Args:
        array: any array. One of Python objects becomes text where each is a str, or each bytes, and numbers or truth values
            where each is one; else it is returned as it is.

    Returns:
        An array, the same one where nothing is to be changed.

    Raises:
        DataError: bytes that are no UTF-8, or long doubles that float64 cannot hold.
    """
    if array.dtype.kind == "O":
        array = _of_objects(array)
    if array.dtype.kind == "S":
        try:
            return np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"holds bytes that are no UTF-8 text: {error}") from None
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        with np.errstate(over="ignore", under="ignore"):
            short = array.astype(np.float64)
        if (np.isinf(short) != np.isinf(array)).any():
            raise DataError(f"holds {array.dtype} values that float64 cannot hold")
        return short
    if array.dtype.kind in "iuf":  # C's long long is another type than int64 to TensorFlow
        shared = np.dtype(f"{array.dtype.kind}{array.dtype.itemsize}")
        return array if array.dtype.char == shared.char and array.dtype.isnative else array.astype(shared)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def whole_numbers(array):
    """Floating-point whole numbers as int64; any other array as it is.

    Raises:
        DataError: floats that are not finite, not whole, or too large to be exact.
    """
    if array.dtype.kind != "f":
        return array
    if not np.isfinite(array).all():
        raise DataError("holds values that are not finite")
    fractions = array != np.floor(array)
    if fractions.any():
        raise DataError(f"expected whole numbers, found {array[fractions].ravel()[0]}")
    largest = float(np.abs(array).max(initial=0))
    if largest > EXACT:
        raise DataError(f"expected whole numbers up to {EXACT}, found {largest:g}")
    return array.astype(np.int64)


def one_per_row(array):
    """A column (n, 1) or a row (1, n) as (n,); any other array as it is."""
    return array.ravel() if array.ndim == 2 and 1 in array.shape else array


def _of_objects(array):
    values = array.ravel().tolist()
    if not values:
        return array
    if all(isinstance(value, (bytes, np.bytes_)) for value in values):
        return array.astype("S")
    if all(isinstance(value, str) for value in values):
        return array.astype("U")
    if all(isinstance(value, (bool, np.bool_)) for value in values):
        return array.astype(bool)
    if all(isinstance(value, (int, float, np.integer, np.floating)) for value in values):
        return np.array(values).reshape(array.shape)
    return array
