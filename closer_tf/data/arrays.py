"""Your own arrays: images in an .npz file."""

import numpy as np

from closer_tf.data.npz import read_npz
from closer_tf.data.splits import Source, Split, hold_out
from closer_tf.errors import DataError


def arrays(path, test_fraction=0.2):
    """Images and labels from an .npz file.

    The file holds `x_train` (n, height, width, channels) or (n, height, width), numbers; `y_train` (n,) or (n, 1), integers or
    strings; optionally `x_test` and `y_test`, and `label_names` for integer labels 0, 1, ...

    Args:
        path: the .npz file.
        test_fraction: fraction of each class held out when the file has no `x_test`.

    Returns:
        `Source`. Its `input_scale` is 1/255 for 8-bit images, 1 / the largest value of other integers, and 1 for floats.

    Raises:
        DataError: an array is missing, of the wrong shape or kind, not finite, or labels and images do not match.
    """
    return source_of(path, read_npz(path), test_fraction)


def source_of(path, stored, test_fraction=0.2):
    """As `arrays`, from the arrays that the file holds: a dict of name to array."""
    raw = {"train": _inputs(path, stored, "x_train")}
    labels = {"train": _labels(path, stored, "y_train", len(raw["train"]))}
    if "x_test" in stored:
        raw["test"] = _inputs(path, stored, "x_test")
        labels["test"] = _labels(path, stored, "y_test", len(raw["test"]))
        if raw["test"].shape[1:] != raw["train"].shape[1:]:
            raise DataError(
                f"{path}: x_test images have shape {raw['test'].shape[1:]}, those of x_train {raw['train'].shape[1:]}"
            )
    names, values = _names(path, stored, labels["train"])
    splits = {key: Split(raw[key], _positions(path, f"y_{key}", labels[key], values)) for key in raw}
    if "test" not in splits:
        splits["train"], splits["test"] = hold_out(splits["train"], test_fraction, names, str(path))
    scale = _scale(stored["x_train"])
    return Source(splits["train"], splits["test"], names, scale)


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
    if images.dtype.kind not in "uif":
        raise DataError(f"{path}: {key}: expected numbers, found {images.dtype}")
    if not np.isfinite(images).all():
        raise DataError(f"{path}: {key}: holds values that are not finite")
    return images if images.dtype == np.uint8 else images.astype(np.float32)


def _labels(path, stored, key, count):
    labels = _array(path, stored, key)
    if labels.shape == (count, 1):  # as Keras ships CIFAR
        labels = labels[:, 0]
    if labels.shape != (count,):
        raise DataError(f"{path}: {key}: expected one label per image ({count}), found shape {labels.shape}")
    if labels.dtype.kind not in "iuU":
        raise DataError(f"{path}: {key}: expected integers or strings, found {labels.dtype}")
    return labels


def _names(path, stored, labels):
    """Label names, and the label values they stand for."""
    values = np.unique(labels)
    if len(values) < 2:
        raise DataError(f"{path}: y_train: expected at least two different labels, found {len(values)}")
    if "label_names" not in stored:
        return tuple(str(value) for value in values), values
    names = stored["label_names"]
    if labels.dtype.kind == "U" or values.min() < 0 or values.max() >= names.size:
        raise DataError(f"{path}: label_names: {names.size} names do not cover the labels {values.min()} to {values.max()}")
    return tuple(str(name) for name in names.ravel()), np.arange(names.size)


def _positions(path, key, labels, values):
    unknown = np.setdiff1d(labels, values)
    if len(unknown):
        raise DataError(f"{path}: {key}: label '{unknown[0]}' does not occur in y_train")
    return np.searchsorted(values, labels)
