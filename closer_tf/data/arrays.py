"""Your own arrays: images in an .npz file, with or without labels."""

import warnings

import numpy as np

from closer_tf.common.files import read_npz
from closer_tf.common.values import one_per_row, whole_numbers
from closer_tf.data.duplicates import warn_of_shared
from closer_tf.data.scales import check_same_scale, scale_of
from closer_tf.data.splits import Source, Split, hold_out, without_labels
from closer_tf.errors import CloserWarning, DataError

ARRAYS = ("x_train", "y_train", "x_test", "y_test", "label_names")


def arrays(path, test_fraction=0.2):
    """Images and labels from an .npz file.

    The file holds `x_train` (n, height, width, channels) or (n, height, width), numbers; `y_train` (n,) or (n, 1), whole
    numbers, truth values or strings; optionally `x_test` and `y_test`, and `label_names` for integer labels 0, 1, ... Without
    `y_train`, or where all of it is -1, there are no labels.

    Args:
        path: the .npz file.
        test_fraction: fraction of each class held out when the file has no `x_test`.

    Returns:
        `Source`. Its `input_scale` is 1/255 for 8-bit images, 1 / the largest value of other integers, and 1 for floats and
        truth values.

    Raises:
        DataError: an array is missing, of the wrong shape or kind, not finite, channels come first, labels and images do not
            match, or training and test images are not on one scale.
    """
    source = source_of(path, read_npz(path), test_fraction)
    warn_of_shared(source.train.inputs, source.test.inputs, str(path))
    return source


def source_of(path, stored, test_fraction=0.2):
    """As `arrays`, from the arrays that the file holds: a dict of name to array."""
    raw = {key: _inputs(path, stored, f"x_{key}") for key in ("train", "test") if key == "train" or "x_test" in stored}
    if "test" in raw:
        _check_test(path, stored, raw)
    scale = _scale(stored["x_train"])
    if _unlabelled(path, stored):
        return _without_labels(path, stored, raw, test_fraction, scale)
    return _labelled(path, stored, raw, test_fraction, scale)


def _labelled(path, stored, raw, test_fraction, scale):
    if "y_test" in stored and "x_test" not in stored:
        raise DataError(f"{path}: y_test, but no array 'x_test'; found {', '.join(stored)}")
    _warn_of_others(path, stored)
    labels = {key: _labels(path, stored, f"y_{key}", len(raw[key])) for key in raw}
    names, values = _names(path, stored, labels["train"])
    splits = {key: Split(raw[key], _positions(path, f"y_{key}", labels[key], values)) for key in raw}
    if "test" not in splits:
        splits["train"], splits["test"] = hold_out(splits["train"], test_fraction, names, str(path))
    return Source(splits["train"], splits["test"], names, scale)


def _without_labels(path, stored, raw, test_fraction, scale):
    _warn_of_others(path, stored, "no labels ('y_train'); ")
    splits = {key: Split(images, np.zeros(len(images), dtype=np.int64)) for key, images in raw.items()}
    if "test" not in splits:
        splits["train"], splits["test"] = hold_out(splits["train"], test_fraction, ("images",), str(path))
    return without_labels(Source(splits["train"], splits["test"], (), scale))


def _warn_of_others(path, stored, because=""):
    others = [key for key in stored if key not in ARRAYS]
    if others:
        warnings.warn(f"{path}: {because}what else it holds is not read: {', '.join(others)}", CloserWarning, stacklevel=3)


def _unlabelled(path, stored):
    """Whether there are no labels, or -1 for all."""
    if "y_train" not in stored:
        if "y_test" in stored or "label_names" in stored:
            found = "y_test" if "y_test" in stored else "label_names"
            raise DataError(f"{path}: no array 'y_train', but {found}; add y_train, or leave out both to train without labels")
        return True
    labels = stored["y_train"]
    return labels.dtype.kind in "if" and labels.size > 0 and bool((labels == -1).all())


def _scale(images):
    if images.dtype == np.uint8:
        return 1 / 255
    return 1 / max(int(images.max()), 1) if images.dtype.kind in "ui" else 1.0


def _array(path, stored, key):
    if key not in stored:
        raise DataError(f"{path}: no array '{key}'; found {', '.join(stored) or 'none'}")
    return stored[key]


def _inputs(path, stored, key):
    images = _array(path, stored, key)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or 0 in images.shape:
        raise DataError(f"{path}: {key}: expected (samples, height, width, channels), found shape {stored[key].shape}")
    if images.shape[1] <= 4 < min(images.shape[2:]):
        raise DataError(
            f"{path}: {key}: expected (samples, height, width, channels), found shape {images.shape}, which looks like "
            f"channels first; save {key}.transpose(0, 2, 3, 1)"
        )
    if images.dtype.kind not in "buif":
        raise DataError(f"{path}: {key}: expected numbers, found {images.dtype}")
    if not np.isfinite(images).all():
        raise DataError(f"{path}: {key}: holds values that are not finite")
    return images if images.dtype == np.uint8 else _float32(path, key, images)


def _float32(path, key, images):
    with np.errstate(over="ignore", under="ignore"):
        short = images.astype(np.float32)
    largest = np.abs(short).max()
    if np.isinf(largest) or largest < np.finfo(np.float32).tiny and images.any():
        raise DataError(f"{path}: {key}: {scale_of(images)}: float32 cannot hold these values; rescale them")
    return short


def _check_test(path, stored, raw):
    if raw["test"].shape[1:] != raw["train"].shape[1:]:
        raise DataError(f"{path}: x_test images have shape {raw['test'].shape[1:]}, those of x_train {raw['train'].shape[1:]}")
    try:
        check_same_scale(scale_of(stored["x_train"]), scale_of(stored["x_test"]))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _labels(path, stored, key, count):
    """One label per image: integers, truth values or strings."""
    labels = _array(path, stored, key)
    if one_per_row(labels).shape != (count,):
        guess = ""
        if labels.ndim == 2 and len(labels) == count:
            guess = f"; if it is one-hot, save {key}.argmax(axis=1)"
        raise DataError(f"{path}: {key}: expected one label per image ({count}), found shape {labels.shape}{guess}")
    try:
        labels = whole_numbers(one_per_row(labels))
    except DataError as error:
        raise DataError(f"{path}: {key}: {error}") from None
    if labels.dtype.kind not in "biuU":
        raise DataError(f"{path}: {key}: expected whole numbers, truth values or strings, found {labels.dtype}")
    fits = labels.dtype.kind == "u" and labels.max(initial=0) <= np.iinfo(np.int64).max
    return labels.astype(np.int64) if fits else labels  # beside uint64, NumPy takes int64 for float64


def _names(path, stored, labels):
    """Label names, and the label values they stand for."""
    values = np.unique(labels)
    if len(values) < 2:
        raise DataError(f"{path}: y_train: expected at least two different labels, found {len(values)}")
    if values.dtype.kind == "i" and values[0] == -1:
        message = (
            f"{path}: y_train: label -1 of {np.sum(labels == -1)} images is read as a class; if it means that they have no "
            f"label, leave those images out, or y_train as a whole"
        )
        warnings.warn(message, CloserWarning, stacklevel=2)
    if "label_names" not in stored:
        return tuple(str(value) for value in values), values
    names = stored["label_names"]
    if labels.dtype.kind == "U" or values.min() < 0 or values.max() >= names.size:
        raise DataError(f"{path}: label_names: {names.size} names do not cover the labels {values.min()} to {values.max()}")
    return tuple(str(name) for name in names.ravel()), np.arange(names.size)


def _positions(path, key, labels, values):
    if (labels.dtype.kind == "U") != (values.dtype.kind == "U"):
        raise DataError(f"{path}: {key}: labels of {labels.dtype}, those of y_train are of {values.dtype}")
    unknown = np.setdiff1d(labels, values)
    if len(unknown):
        raise DataError(f"{path}: {key}: label '{unknown[0]}' does not occur in y_train")
    return np.searchsorted(values, labels)
