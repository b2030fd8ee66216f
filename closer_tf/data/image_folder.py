"""Your own images: a folder with one subfolder of image files per class, or a flat folder of images without labels."""

import math
import os
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from closer_tf.common.files import check_declared, given_path
from closer_tf.data.duplicates import warn_of_shared
from closer_tf.data.listing import described, image_files, is_hidden
from closer_tf.data.pictures import guess_white, read_picture, scaled
from closer_tf.data.scales import Scale, check_same_scale, difference, scale_of
from closer_tf.data.splits import Source, Split, hold_out, without_labels
from closer_tf.errors import CloserWarning, DataError

_SETS = {"train", "training", "test", "testing", "val", "valid", "validation"}


def image_folder(path, test_path=None, image_size=(32, 32), test_fraction=0.2, background=(255, 255, 255), white_level=None):
    """Images from class subfolders, or from one folder without labels, as 8-bit RGB; see `closer_tf.data.pictures`.

    Args:
        path: folder with one subfolder per class, or a folder of images without labels.
        test_path: folder of the same layout with the test images. Default: `test_fraction` of each class under `path`.
        image_size: (height, width) in pixels that every image is resized to, bilinear; one int for a square.
        test_fraction: fraction of each class held out when there is no `test_path`.
        background: (red, green, blue), 0 to 255, that transparent images are laid over.
        white_level: the value that is white in grey images of more than 8 bits. Default: 255, 1023, 4095, 16383 or 65535, the
            smallest that no image under `path` exceeds; 1 for floats up to 1.

    Returns:
        `Source`.

    Raises:
        DataError: a folder is missing or empty, a file is no image, test classes are unknown, or training and test images are
            not on one scale.
    """
    image_size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    train = _read(given_path(path), image_size, background)
    test = _read(given_path(test_path), image_size, background) if test_path is not None else None
    if test is not None and bool(test.names) != bool(train.names):
        flat, other = (path, test_path) if test.names else (test_path, path)
        raise DataError(f"{flat}: images without class subfolders, while {other} has classes; give both in one layout")
    white = _white_level(train, test, white_level)
    source = _source(train, test, white, test_fraction)
    warn_of_shared(source.train.inputs, source.test.inputs, str(test_path or path))
    return source


def folder_images(path, image_size, background=(255, 255, 255), white_level=None):
    """All images of a folder, class by class and in the order of their names, for encoders that were trained on others.

    Args:
        path, image_size, background: as for `image_folder`; one class will do.
        white_level: of what the encoders were trained on. Default: a guess, as for `image_folder`.

    Returns:
        (images (n, height, width, 3), int labels (n,), class names, file names below the folder, white level); no names where
        there are no classes, None for the white level where no image has more than 8 bits.

    Raises:
        DataError: as for `image_folder`; or the white level does not belong to these grey images.
    """
    path = given_path(path)
    folder = _read(path, tuple(image_size), background)
    files = [str(file.relative_to(path)) for of_class in _list(path)[0].values() for file in of_class]
    if folder.deep and white_level is not None:
        _check_white(folder, white_level)
    white = _white_level(folder, None, white_level)
    split = folder.split(white)
    return split.inputs, split.labels, folder.names, files, white


class _Folder(NamedTuple):
    """The images of a folder.

    Args:
        path: Path.
        names: tuple of str, the classes; empty where there are none.
        pictures: list of `Picture`.
        labels: int array, indices into the names, or 0.
    """

    path: Path
    names: tuple
    pictures: list
    labels: np.ndarray

    @property
    def deep(self):
        """List of the `Scale`s of grey images of more than 8 bits."""
        return [picture.deep for picture in self.pictures if picture.deep]

    def split(self, white):
        """`Split` of all images, 8-bit RGB; `white` is the white level of those of more than 8 bits."""
        images = [scaled(picture.pixels, white) if picture.deep else picture.pixels for picture in self.pictures]
        return Split(np.stack(images), self.labels)


def _source(train, test, white, test_fraction):
    if len(train.names) == 1:
        raise DataError(
            f"{train.path}: expected at least two class subfolders, found one: '{train.names[0]}'; for images without labels, "
            f"give the folder that they lie in"
        )
    splits, names = train.split(white), train.names or ("images",)
    if test is None:
        held = hold_out(splits, test_fraction, names, str(train.path))
    else:
        unknown = sorted(set(test.names) - set(train.names))
        if unknown:
            raise DataError(f"{test.path}: classes that {train.path} does not have: {', '.join(unknown)}")
        held = splits, test.split(white)
        check_same_scale(scale_of(splits.inputs), scale_of(held[1].inputs), str(train.path), str(test.path))
        if test.names:
            to_train_label = np.array([names.index(name) for name in test.names])
            held = splits, Split(held[1].inputs, to_train_label[test.labels])
    source = Source(*held, names, 1 / 255, white_level=white)
    return source if train.names else without_labels(source)


def _read(folder, image_size, background):
    if not os.path.isdir(folder):  # unlike pathlib's, false for a name that can be none
        if os.path.isfile(folder):
            arrays = '; --set \'dataset={"name": "arrays", "path": "FILE.npz"}\' takes images in arrays'
            raise DataError(f"{folder}: a file; expected a folder of images{arrays}")
        raise DataError(f"{folder}: no such folder")
    classes, left_out = _list(folder)
    count = sum(len(files) for files in classes.values())
    check_declared(f"{folder}: images of {image_size[0]} x {image_size[1]} pixels", count * 3 * math.prod(image_size))
    if left_out:
        _warn(f"{folder}: left out {left_out.total()} of {count + left_out.total()} files and folders: {described(left_out)}")
    pictures = [read_picture(file, image_size, background) for files in classes.values() for file in files]
    labels = np.repeat(np.arange(len(classes)), [len(files) for files in classes.values()])
    _warn_of_pictures(folder, pictures, background)
    return _Folder(folder, () if "" in classes else tuple(classes), pictures, labels)


def _list(folder):
    """(dict of class to its image files, Counter of what was left out); the class is '' where there are none."""
    above = [folder.resolve(), *folder.resolve().parents]
    classes, left_out = {}, Counter()
    children = sorted(folder.iterdir())
    for child in children:
        if not child.is_dir():
            continue
        if is_hidden(child.name):
            left_out["hidden"] += sum(len(names) for _, _, names in os.walk(child))
        elif any(os.path.samefile(child, place) for place in above):
            left_out["links to a folder that is read already"] += 1
        else:
            classes[child.name], skipped = image_files(child, above)
            left_out += skipped
    empty = [name for name, files in classes.items() if not files]
    classes = {name: files for name, files in classes.items() if files}
    loose, skipped = image_files(folder, recurse=False)
    left_out += skipped
    if classes:
        left_out += Counter({"class folders without images": len(empty), "images beside the class folders": len(loose)})
    if not classes and loose:
        left_out += Counter({"folders without images": len(empty)})
        classes = {"": loose}
    if not classes:
        found = f"; found {described(left_out)}" if left_out else ""
        raise DataError(f"{folder}: no images; expected {folder}/<class name>/<image>.png, .jpg, .tif, ...{found}")
    if {name.lower() for name in classes} <= _SETS:
        one = next(iter(classes))
        raise DataError(
            f"{folder}: its subfolders are sets, not classes: {', '.join(classes)}; set dataset.path={folder}/{one}, and "
            f"dataset.test_path for the test images"
        )
    return classes, +left_out


def _white_level(train, test, given):
    """The white level of grey images of more than 8 bits, the one given or a guess; None where there are none."""
    folders = [folder for folder in (train, test) if folder and folder.deep]
    if not folders:
        return None
    if given is not None:
        for folder in folders:
            brighter = sum(scale.high > given for scale in folder.deep)
            if brighter:
                _warn(f"{folder.path}: {brighter} grey images exceed the white level {given:g}; what is brighter becomes white")
        return given
    first = folders[0]
    white = guess_white(first.deep, str(first.path))
    if white not in (1, 255, 65535):
        high = max(scale.high for scale in first.deep)
        _warn(
            f"{first.path}: grey images of 16 bits reach {high:g}; {white} is taken for white; dataset.white_level changes that"
        )
    if len(folders) == 2:
        _check_deep(train, test, white)
    return white


def _check_deep(train, test, white):
    check_same_scale(_common(train.deep), _common(test.deep), str(train.path), str(test.path))
    brightest = max(scale.high for scale in test.deep)
    if brightest > white:
        raise DataError(
            f"{test.path}: grey images reach {brightest:g}, above {white}, which is white in {train.path}; set "
            f"dataset.white_level for both"
        )


def _check_white(folder, white):
    """Refuse grey images of more than 8 bits to which a white level does not belong: fractions where it is a large number."""
    found = _common(folder.deep)
    reason = difference(Scale(found.dtype, 0.0, float(white), white > 1, found.samples), found)
    if reason:
        raise DataError(
            f"{folder.path}: grey images: {found}, but white is {white:g} in what the encoders were trained on: {reason}; "
            "save them as those were"
        )


def _common(scales):
    """One `Scale` of several arrays."""
    low, high = min(scale.low for scale in scales), max(scale.high for scale in scales)
    return Scale(scales[0].dtype, low, high, all(scale.whole for scale in scales), len(scales))


def _warn_of_pictures(folder, pictures, background):
    """Say what of the images a user may not expect; refuse colours whose better half is lost."""
    upper = [picture.upper_peak for picture in pictures if picture.upper_peak is not None]
    if upper and 0 < max(upper) < 64:
        raise DataError(
            f"{folder}: {len(upper)} colour images of 16 bits per channel reach {256 * max(upper) + 255} at most; Pillow keeps "
            f"the upper 8 bits, which leaves {max(upper) + 1} levels; rescale them to 65535, or save them with 8 bits"
        )
    frames = sum(picture.frames for picture in pictures)
    if frames:
        _warn(f"{folder}: of {frames} images with several frames or pages the first is read")
    vanished = sum(picture.vanished for picture in pictures)
    if vanished:
        _warn(
            f"{folder}: {vanished} transparent images show nothing over the background {list(background)}; set "
            f"dataset.background to another colour"
        )


def _warn(message):
    warnings.warn(message, CloserWarning, stacklevel=3)
