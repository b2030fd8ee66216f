"""Images and arrays of every kind are read as they were written, as Pillow and NumPy read them, or refused in one line.

CLOSER_TF_FUZZ_PIXELS sets how many images and how many array files are tried (default 200 of each).
"""

import os
import warnings

import numpy as np
import pytest
from images import over, png, rgb_of, turned, upright
from PIL import Image

from closer_tf.common.values import plain
from closer_tf.data import load_data
from closer_tf.data.pictures import WHITE
from closer_tf.errors import CloserWarning, DataError

COUNT = int(os.environ.get("CLOSER_TF_FUZZ_PIXELS", 200))
SEED = int(os.environ.get("CLOSER_TF_FUZZ_SEED", 0))
PER_FOLDER = 10
REFUSED = "refused"  # in place of what a file shows
BACKGROUNDS = [(255, 255, 255), (0, 0, 0), (10, 200, 90)]


class Folders:
    """Pairs of folders, train and test, of random images; `expected` maps each file to what it shows.

    That is (values, deep): float array (h, w, 3) of 0 to 255 for images of 8 bits, or (h, w) of stored grey values; or REFUSED.
    """

    def __init__(self, rng, path):
        self.rng, self.path, self.expected = rng, path, {}
        self.background = BACKGROUNDS[rng.integers(3)]
        self.size = tuple(int(side) for side in rng.integers(2, 14, 2))
        self.one_size = rng.random() < 0.5
        self.deep = rng.choice(["none", "none", "integers", "floats"])
        self.left_out = {"train": 0, "test": 0}
        for which in ("train", "test"):
            peak = (
                float(rng.choice([180, 255, 900, 4000, 60000, 65535]))
                if self.deep != "floats"
                else float(rng.choice([0.7, 1, 200, 4095]))
            )
            for k in range(PER_FOLDER // 2):
                folder = path / which / "ab"[k % 2]
                folder.mkdir(parents=True, exist_ok=True)
                shape = self.size if self.one_size else tuple(int(side) for side in rng.integers(1, 20, 2))
                deep = self.deep != "none" and (k == 0 or rng.random() < 0.6)
                file, shown = (
                    self._deep(folder / f"{k}", shape, peak, full=k == 0) if deep else self._shallow(folder / f"{k}", shape)
                )
                self.expected[file] = shown
            if rng.random() < 0.3:
                self._junk(path / which, which)
        if rng.random() < 0.1:
            self._damage()

    def _orientation(self):
        return int(self.rng.choice([1, 1, 1, *range(2, 9)]))

    def _suffix(self, suffix):
        return "." + (suffix.upper() if self.rng.random() < 0.2 else suffix)

    def _values(self, shape, bands=1, depth=8):
        """Random ints (h, w) or (h, w, bands) with large areas of one value."""
        values = self.rng.integers(0, 2**depth, (*shape, bands))
        values[self.rng.random(shape) < 0.3] = self.rng.integers(0, 2**depth, bands)
        return values[..., 0] if bands == 1 else values

    def _shallow(self, stem, shape):
        rng, kind = self.rng, self.rng.integers(12)
        if kind < 5:
            return self._png(stem, shape)
        orientation = self._orientation()
        exif = Image.Exif()
        exif[0x0112] = orientation
        if kind < 8:  # kept to the bit
            mode, suffix, options = [
                *(("1", "tif", {}), ("L", "tif", {"compression": "tiff_lzw"}), ("RGB", "tif", {}), ("RGBA", "tif", {})),
                *(("LA", "tif", {}), ("CMYK", "tif", {}), ("YCbCr", "tiff", {}), ("P", "tif", {}), ("RGB", "bmp", {})),
                *(
                    ("L", "bmp", {}),
                    ("1", "bmp", {}),
                    ("RGB", "ppm", {}),
                    ("L", "pgm", {}),
                    ("1", "pbm", {}),
                    ("RGBA", "tga", {}),
                ),
                *(("RGB", "tga", {}), ("P", "gif", {}), ("RGB", "jp2", {}), ("RGB", "webp", {"lossless": True})),
                *(("RGBA", "webp", {"lossless": True, "exact": True}), ("PA", "tif", {})),
            ][rng.integers(21)]
            bands = {"1": 1, "L": 1, "P": 1, "LA": 2, "PA": 2, "RGB": 3, "YCbCr": 3}.get(mode, 4)
            values, palette = self._values(shape, bands).astype(np.uint8), self._values((256,), 3).astype(np.uint8)
            if suffix not in ("tif", "tiff", "webp"):
                orientation = 1
            stored = np.ascontiguousarray(turned(values, orientation))
            image = Image.frombytes("L" if mode == "1" else mode, stored.shape[1::-1], stored.tobytes())
            if mode == "1":
                values = values >= 128
                image = Image.fromarray(stored >= 128)
            if mode in ("P", "PA"):
                image.putpalette(palette.ravel().tolist())
            if suffix in ("tif", "tiff", "webp"):
                options = {**options, "exif": exif}
            alpha = None
            if suffix == "gif":
                options = {"optimize": False}
                if rng.random() < 0.5:
                    options["transparency"] = int(values[0, 0])
                    alpha = np.where(values == values[0, 0], 0, 255)
            file = stem.with_suffix(self._suffix(suffix))
            image.save(file, **options)
            return file, rgb_of(values, mode, self.background, palette, alpha)
        mode, suffix = [("L", "jpg"), ("RGB", "jpeg"), ("CMYK", "jpg"), ("RGB", "webp"), ("RGBA", "webp")][rng.integers(5)]
        values = self._values(shape, {"L": 1, "RGB": 3}.get(mode, 4)).astype(np.uint8)
        stored = np.ascontiguousarray(turned(values, orientation))
        file = stem.with_suffix(self._suffix(suffix))
        Image.frombytes(mode, stored.shape[1::-1], stored.tobytes()).save(file, exif=exif, quality=int(rng.integers(20, 100)))
        return file, upright(pillows(file, self.background), orientation)

    def _png(self, stem, shape):
        rng = self.rng
        kind = rng.choice(["grey", "rgb", "palette", "grey_alpha", "rgba"])
        depth = int(rng.choice({"grey": [1, 2, 4, 8], "palette": [1, 2, 4, 8]}.get(kind, [8, 8, 16])))
        bands = {"grey": 1, "palette": 1, "grey_alpha": 2, "rgb": 3, "rgba": 4}[kind]
        values, orientation = self._values(shape, bands, depth), self._orientation()
        if depth == 16:
            values[..., 0][0, 0] = 60000  # or the folder may be taken for one of 12 bits
        palette = self._values((2**depth,), 3).astype(np.uint8) if kind == "palette" else None
        transparent, alpha, refused = None, None, False
        refusable = kind != "palette" and depth in (2, 4, 16)
        if rng.random() < (0.1 if refusable else 0.4) and kind in ("grey", "rgb", "palette"):
            if kind == "palette":
                opacity = self._values((int(rng.integers(1, 2**depth + 1)),))
                transparent = opacity.astype(np.uint8).tobytes()
                alpha = np.concatenate([opacity, np.full(2**depth - len(opacity), 255)])[values]
            else:
                colour = values[0, 0]
                transparent = np.atleast_1d(colour).astype(">u2").tobytes()
                alpha = np.where((values == colour) if kind == "grey" else (values == colour).all(axis=2), 0, 255)
                refused = refusable
        exif = Image.Exif()
        exif[0x0112] = orientation
        file = stem.with_suffix(self._suffix("png"))
        png(file, turned(values, orientation), kind, depth, palette, transparent, exif.tobytes().removeprefix(b"Exif\0\0"))
        if refused:
            return file, REFUSED
        if kind == "palette":
            colour = palette[values]
        else:
            shades = values // 256 if depth == 16 else values * (255 // (2**depth - 1))
            colour = (
                np.repeat(shades[..., None], 3, axis=2)
                if kind == "grey"
                else shades[..., [0, 0, 0] if bands == 2 else [0, 1, 2]]
            )
            alpha = shades[..., -1] if bands in (2, 4) else alpha
        return file, colour.astype(float) if alpha is None else over(colour, alpha, self.background)

    def _deep(self, stem, shape, peak, full):
        rng = self.rng
        values = rng.random(shape) * peak
        if full:
            values.ravel()[0] = peak
        if self.deep == "floats":
            values = (values if peak <= 1 else np.rint(values)).astype(np.float32)
            file = stem.with_suffix(
                self._suffix(str(rng.choice(["tif", "pfm" if ".pfm" in Image.registered_extensions() else "tiff"])))
            )
            Image.fromarray(values).save(file)
            return file, values
        values = np.rint(values).astype(np.int64)
        how = rng.choice(["png", "I;16", "I;16B", "I", "pgm"])
        if how == "png":
            file = stem.with_suffix(self._suffix("png"))
            orientation = self._orientation()
            exif = Image.Exif()
            exif[0x0112] = orientation
            png(file, turned(values, orientation), "grey", 16, exif=exif.tobytes().removeprefix(b"Exif\0\0"))
            return file, values
        stored = values.astype({"I;16B": ">u2", "I;16": "<u2"}.get(how, "<i4"))
        mode = "I" if how == "pgm" else how
        file = stem.with_suffix(self._suffix("pgm" if how == "pgm" else "tif"))
        Image.frombytes(mode, shape[::-1], stored.tobytes()).save(file)
        return file, values

    def _junk(self, folder, which):
        for place in ("a/.ipynb_checkpoints/0-checkpoint.png", "b/._0.png", "__MACOSX/a/._0.png", "a/x.txt", "b/.DS_Store"):
            if self.rng.random() < 0.5:
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
                (folder / place).write_bytes(self.rng.bytes(20))
                self.left_out[which] += not place.endswith(".DS_Store")

    def _damage(self):
        file = list(self.expected)[self.rng.integers(len(self.expected))]
        content = bytearray(file.read_bytes())
        if self.rng.random() < 0.5:
            content = content[: self.rng.integers(len(content))]
        else:
            content[self.rng.integers(len(content))] ^= 1 << self.rng.integers(8)
        file.write_bytes(bytes(content))
        self.damaged = file

    def outcome(self):
        """(train, test) uint8-like float arrays, or REFUSED."""
        deep = {
            which: [v for f, v in self.expected.items() if v is not REFUSED and v.ndim == 2 and f.parts[-3] == which]
            for which in ("train", "test")
        }
        if any(shown is REFUSED for shown in self.expected.values()):
            return REFUSED
        white = None
        if deep["train"] or deep["test"]:
            first = deep["train"] or deep["test"]
            high = max(v.max() for v in first)
            white = 1 if high <= 1 and self.deep == "floats" else min(level for level in WHITE if level >= high)
            if deep["train"] and deep["test"] and max(v.max() for v in deep["test"]) > white:
                return REFUSED
            if white > 1 and deep["test"] and self.deep == "floats" and max(v.max() for v in deep["test"]) <= 1:
                return REFUSED
        return [
            np.stack([self._resized(v, white) for f, v in sorted(self.expected.items()) if f.parts[-3] == which])
            for which in ("train", "test")
        ]

    def _resized(self, values, white):
        def bilinear(image):
            return np.asarray(image.resize(self.size[::-1], Image.Resampling.BILINEAR)).astype(float)

        if values.ndim == 2:
            grey = bilinear(Image.fromarray(values.astype(np.float32))) * 255 / white
            return np.repeat(np.rint(grey)[..., None], 3, axis=2)
        return bilinear(Image.fromarray(np.rint(values).astype(np.uint8)))


def pillows(file, background):
    """What Pillow reads of an 8-bit image file, by the formulas of its mode: float array (h, w, 3)."""
    with Image.open(file) as image:
        palette = np.array(image.getpalette("RGB") or [0] * 768).reshape(-1, 3)
        palette = np.concatenate([palette, np.zeros((256 - len(palette), 3))])
        return rgb_of(np.asarray(image), image.mode, background, palette)


@pytest.mark.timeout(0)
def test_images_are_read_as_they_are_or_refused(tmp_path):
    outcomes = {"read": 0, "refused": 0, "damaged, read": 0, "damaged, refused": 0}
    worst = 0
    for number in range(-(-COUNT // PER_FOLDER)):
        folders = Folders(np.random.default_rng([SEED, number]), tmp_path / str(number))
        expected, damaged = folders.outcome(), getattr(folders, "damaged", None)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", CloserWarning)
            try:
                data = load_data(
                    "image_folder",
                    path=str(folders.path / "train"),
                    test_path=str(folders.path / "test"),
                    image_size=folders.size,
                    background=folders.background,
                    validation_fraction=0,
                )
            except DataError as error:
                assert "\n" not in str(error) and str(folders.path) in str(error), str(error)
                assert damaged or expected is REFUSED, (number, str(error))
                outcomes["damaged, refused" if damaged else "refused"] += PER_FOLDER
                continue
        left_out = [str(one.message) for one in said if "left out" in str(one.message)]
        for which, count in folders.left_out.items():
            assert (count > 0) == any(f"/{which}: left out {count} of " in text for text in left_out), (number, left_out)
        assert damaged or expected is not REFUSED, number
        outcomes["damaged, read" if damaged else "read"] += PER_FOLDER
        if damaged:
            continue  # a flipped bit may change a pixel, and a palette, and metadata: others of the folder say enough
        for found, right in zip((data.train.inputs, data.test.inputs), expected):
            difference = np.abs(found - right)
            worst = max(worst, difference.max())
            assert difference.max() <= 2, (number, sorted(folders.expected), difference.max(axis=(1, 2, 3)))
    print(outcomes, "largest difference", worst)
    assert outcomes["read"] > 0.6 * COUNT and outcomes["refused"] > 0.03 * COUNT


# -------------------------------------------------------------------------------------------------------------- arrays

KINDS = "? u1 u1 u1 i1 u2 i2 u4 i4 u8 i8 f2 f4 f4 f8 g >u2 >i4 >f4 >f8 >i8".split()


def laid_out(rng, array, path):
    """The same array in another order in memory, with steps, or mapped from a file."""
    how = rng.integers(5)
    if how == 0:
        return np.asfortranarray(array)
    if how == 1:
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if how == 2:
        return array[::-1].copy()[::-1]
    if how == 3:
        np.save(path, array)
        return np.load(path, mmap_mode="r")
    return array


def images_of(rng, kind, shape):
    kind = np.dtype(kind)
    if kind.kind == "b":
        return rng.random(shape) < 0.5
    if kind.kind == "f":
        return (rng.random(shape) * rng.choice([1, 1, 255]) - rng.choice([0, 0, 0.5])).astype(kind)
    high = min(int(rng.choice([2, 17, 256, 4096, 60000])), np.iinfo(kind).max)
    return rng.integers(0, high, shape).astype(kind) - (
        kind.type(high // 3) if kind.kind == "i" and rng.random() < 0.3 else kind.type(0)
    )


def labels_of(rng, count, classes):
    """(labels, names): labels of a random type, at least two of each class, and what each is called."""
    index = np.concatenate([np.tile(np.arange(classes), 2), rng.integers(0, classes, count - 2 * classes)])
    rng.shuffle(index)
    words = np.array(["cat", "ant", "é", "10", "9", "a b", "", "Z"])[:classes]
    how = rng.integers(8)
    if how == 0 and classes == 2:
        labels, names = index == 1, [str(i == 1) for i in index]
    elif how < 3:
        labels = words[index] if how == 1 else np.char.encode(words[index], "utf-8")
        names = words[index].tolist()
    elif how == 3:
        labels, names = (index * 3 - 4).astype(rng.choice(["f4", "f8", "g", ">f8"])), [str(i * 3 - 4) for i in index.tolist()]
    else:
        labels, names = (index + 5).astype(rng.choice(["u1", "i2", "i8", ">i4", "u8"])), [str(i + 5) for i in index.tolist()]
    return (labels[:, None] if rng.random() < 0.3 else labels), np.array(names)


@pytest.mark.timeout(0)
@pytest.mark.filterwarnings("ignore::closer_tf.errors.CloserWarning")
def test_arrays_are_read_as_numpy_reads_them_or_refused(tmp_path):
    outcomes = {"read": 0, "refused": 0}
    for number in range(COUNT):
        rng = np.random.default_rng([SEED, number])
        classes = int(rng.integers(2, 6))
        count, shape = int(rng.integers(25, 40)), tuple(int(side) for side in rng.integers(3, 7, 2))
        shape = shape if rng.random() < 0.3 else (*shape, int(rng.choice([1, 2, 3, 4])))
        kind = str(rng.choice(KINDS))
        stored = {"x_train": images_of(rng, kind, (count, *shape))}
        stored["y_train"], names = labels_of(rng, count, classes)
        mistake = str(rng.choice([*[""] * 12, "nan", "scale", "labels", "nan label", "one class", "first", "long"]))
        own_test = rng.random() < 0.5
        if own_test:
            stored["x_test"], stored["y_test"] = stored["x_train"][3:25].copy(), stored["y_train"][3:25]
        refused = False
        if mistake == "nan" and np.dtype(kind).kind == "f":
            stored["x_train"][(0,) * stored["x_train"].ndim] = rng.choice([np.nan, np.inf])
            refused = True
        elif mistake == "scale" and own_test and stored["x_train"].dtype.kind in "ui" and stored["x_train"].max() > 1:
            stored["x_test"] = rng.random(stored["x_test"].shape).astype(np.float32)
            refused = True
        elif mistake == "labels":
            stored["y_train"], refused = np.arange(count) / 3, True
        elif mistake == "nan label":
            stored["y_train"], refused = np.where(np.arange(count) == 5, np.nan, 1.0 * np.arange(count) % 2), True
        elif mistake == "one class":
            stored["y_train"], refused = np.ones(count), True
        elif mistake == "first":
            stored["x_train"] = np.zeros((count, int(rng.integers(1, 5)), *rng.integers(5, 9, 2)))
            refused = True
        elif mistake == "long":
            stored["y_train"], refused = stored["y_train"][1:], True
        path = tmp_path / "own.npz"
        laid = {key: laid_out(rng, value, tmp_path / f"{key}.npy") for key, value in stored.items()}
        for key, value in laid.items():
            if value.dtype.kind not in "SU":
                np.testing.assert_array_equal(plain(value), stored[key])
        (np.savez if rng.random() < 0.5 else np.savez_compressed)(path, **laid)
        try:
            data = load_data("arrays", path=str(path), validation_fraction=0)
        except DataError as error:
            assert refused and "\n" not in str(error) and str(error).startswith(str(path)), (number, mistake, str(error))
            outcomes["refused"] += 1
            continue
        assert not refused, (number, mistake)
        outcomes["read"] += 1
        with np.load(path) as read:
            raw = {key: read[key] for key in read.files}
        images, scale = raw["x_train"].astype(float), 1.0
        if raw["x_train"].dtype.kind in "ui":
            scale = 1 / 255 if raw["x_train"].dtype == np.uint8 else 1 / max(int(raw["x_train"].max()), 1)
        images = images.reshape(count, *shape[:2], -1)
        said = np.array(data.label_names)
        assert data.input_scale == scale and sorted(set(names)) == sorted(said)
        if own_test:
            np.testing.assert_allclose(data.train.inputs, images, rtol=1e-6)
            np.testing.assert_allclose(data.test.inputs, images[3:25], rtol=1e-6)
            np.testing.assert_array_equal(said[data.train.labels], names)
            np.testing.assert_array_equal(said[data.test.labels], names[3:25])
            continue
        found = np.concatenate([data.train.inputs, data.test.inputs]).reshape(count, -1).astype(np.float32)
        of_found = said[np.concatenate([data.train.labels, data.test.labels])]
        wanted = images.reshape(count, -1).astype(np.float32)
        orders = [
            np.lexsort(np.column_stack([values, name == np.array(names[0])]).T)
            for values, name in ((found, of_found), (wanted, names))
        ]
        np.testing.assert_array_equal(found[orders[0]], wanted[orders[1]])
        pairs = [
            sorted((values.tobytes(), str(name)) for values, name in zip(*both))
            for both in ((found, of_found), (wanted, names))
        ]
        assert pairs[0] == pairs[1], number
    print(outcomes)
    assert outcomes["read"] > 0.6 * COUNT and outcomes["refused"] > 0.1 * COUNT
