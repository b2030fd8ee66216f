"""Your own images: a folder with one subfolder of PNG or JPEG files per class."""

import math
import os
import warnings

import numpy as np
from PIL import Image

from closer_tf.data.limits import check_declared
from closer_tf.data.splits import Source, Split, hold_out
from closer_tf.errors import DataError
from closer_tf.files import given_path

SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_PIXELS = 50_000_000  # a file that declares more is refused before it is decoded


def image_folder(path, test_path=None, image_size=(32, 32), test_fraction=0.2):
    """Images from class subfolders, as 8-bit RGB.

    Args:
        path: folder with one subfolder per class.
        test_path: folder of the same layout with the test images. Default: `test_fraction` of each class under `path`.
        image_size: (height, width) in pixels that every image is resized to, bilinear.
        test_fraction: fraction of each class held out when there is no `test_path`.

    Returns:
        `Source`.

    Raises:
        DataError: a folder is missing or empty, a file is no image, or test classes are unknown.
    """
    names, train = _read(given_path(path), image_size)
    if len(names) < 2:
        raise DataError(f"{path}: expected at least two class subfolders, found one: '{names[0]}'")
    if test_path is None:
        train, test = hold_out(train, test_fraction, names, str(path))
        return Source(train, test, names, 1 / 255)
    test_names, test = _read(given_path(test_path), image_size)
    unknown = sorted(set(test_names) - set(names))
    if unknown:
        raise DataError(f"{test_path}: classes that {path} does not have: {', '.join(unknown)}")
    to_train_label = np.array([names.index(name) for name in test_names])
    return Source(train, Split(test.inputs, to_train_label[test.labels]), names, 1 / 255)


def _read(folder, image_size):
    if not os.path.isdir(folder):  # unlike pathlib's, false for a name that can be none
        raise DataError(f"{folder}: no such folder")
    classes = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    if not classes:
        raise DataError(f"{folder}: no class subfolders; expected {folder}/<class name>/<image>.png or .jpg")
    images, labels, counted = [], [], 0
    for label, child in enumerate(classes):
        files = sorted(file for file in child.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        if not files:
            raise DataError(f"{child}: no {', '.join(SUFFIXES)} files in this class folder")
        counted += len(files)
        check_declared(f"{folder}: images of {image_size[0]} x {image_size[1]} pixels", counted * 3 * math.prod(image_size))
        images += [_image(file, image_size) for file in files]
        labels += [label] * len(files)
    return tuple(child.name for child in classes), Split(np.stack(images), np.array(labels))


def _image(file, image_size):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own warning of many pixels; ours is an error
            image = Image.open(file, formats=("PNG", "JPEG"))
        with image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{file}: {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read")
            height, width = image_size
            return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
    except DataError:
        raise
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise DataError(f"{file}: not a readable PNG or JPEG image: {str(error) or type(error).__name__}") from error
