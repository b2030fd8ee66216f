import io
import re

import numpy as np
import pytest
from images import over, png, rgb_of, turned
from PIL import Image

from closer_tf.data import load_data
from closer_tf.data.image_folder import image_folder
from closer_tf.data.pictures import guess_white, read_picture, scaled, to_rgb
from closer_tf.data.scales import scale_of
from closer_tf.errors import CloserWarning, DataError

RNG = np.random.default_rng(0)
SIZE = (7, 9)
PINK = (250, 120, 200)
RAMP = np.linspace(0, 1, 63).reshape(SIZE)
BANDS = {"L": 1, "P": 1, "LA": 2, "La": 2, "PA": 2, "RGB": 3, "YCbCr": 3, "HSV": 3, "RGBA": 4, "RGBa": 4, "RGBX": 4, "CMYK": 4}


def image_of(mode):
    """(image, its values, its palette) of random content; premultiplied bands never exceed the opacity."""
    values = RNG.integers(0, 256, (*SIZE, BANDS[mode])).astype(np.uint8)
    if mode in ("La", "RGBa"):
        values[..., :-1] = values[..., :-1] * (values[..., -1:] / 255)
    palette = RNG.integers(0, 256, (256, 3)).astype(np.uint8)
    values = values[..., 0] if BANDS[mode] == 1 else values
    image = Image.frombytes(mode, SIZE[::-1], values.tobytes())
    if mode in ("P", "PA"):
        image.putpalette(palette.ravel().tolist())
    return image, values, palette


@pytest.mark.parametrize("mode", BANDS)
def test_each_mode_by_its_formula(mode):
    image, values, palette = image_of(mode)
    found, vanished = to_rgb(image, PINK)
    assert found.mode == "RGB" and not vanished
    expected = rgb_of(values, mode, PINK, palette)
    np.testing.assert_allclose(np.asarray(found).astype(float), expected, atol={"HSV": 3, "La": 2, "RGBa": 2}.get(mode, 1.01))


def test_two_levels():
    bits = RNG.random(SIZE) < 0.5
    found = np.asarray(to_rgb(Image.fromarray(bits), PINK)[0])
    np.testing.assert_array_equal(found, np.repeat(255 * bits[..., None], 3, axis=2))


def test_lab_by_way_of_srgb():
    colours = RNG.integers(40, 215, (*SIZE, 3)).astype(np.uint8)
    lab = Image.fromarray(colours).convert("LAB")
    found = np.asarray(to_rgb(lab, PINK)[0]).astype(int)
    assert lab.mode == "LAB" and np.abs(found - colours).max() <= 20 and np.abs(found - colours).mean() < 2


@pytest.mark.parametrize(
    "mode, transparent",
    [("1", 0), ("1", 255), ("L", 77), ("RGB", (1, 2, 3)), ("P", 5), ("P", bytes(range(0, 240, 3)))],
    ids=["0 of 2 levels", "255 of 2 levels", "grey", "colour", "one of a palette", "a palette's opacities"],
)
def test_transparent_colours_and_palettes(tmp_path, mode, transparent):
    if mode == "1":
        values = RNG.random(SIZE) < 0.5
        image, palette, alpha = Image.fromarray(values), None, np.where(255 * values == transparent, 0, 255)
    else:
        image, values, palette = image_of(mode)
        values = values.copy()
        values[2:4] = transparent if mode in ("L", "RGB") else transparent if isinstance(transparent, int) else 0
        image = Image.frombytes(mode, SIZE[::-1], values.tobytes())
        if mode == "P":
            image.putpalette(palette.ravel().tolist())
            opacity = np.full(256, 255)
            if isinstance(transparent, bytes):
                opacity[: len(transparent)] = list(transparent)
            else:
                opacity[transparent] = 0
            alpha = opacity[values]
        else:
            same = values == transparent
            alpha = np.where(same if mode == "L" else same.all(axis=2), 0, 255)
    image.save(tmp_path / "a.png", transparency=transparent)
    found = read_picture(tmp_path / "a.png", SIZE, PINK).pixels
    expected = rgb_of(values, mode, PINK, palette, alpha)
    np.testing.assert_allclose(found.astype(float), expected, atol=1.01)
    assert (found[alpha == 0] == PINK).all() and (alpha == 0).any()


def test_a_transparent_gif(tmp_path):
    image, values, palette = image_of("P")
    image.save(tmp_path / "a.gif", transparency=int(values[0, 0]), optimize=False)
    found = read_picture(tmp_path / "a.gif", SIZE, PINK).pixels
    alpha = np.where(values == values[0, 0], 0, 255)
    np.testing.assert_array_equal(found, rgb_of(values, "P", PINK, palette, alpha))


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
@pytest.mark.parametrize("peak", [200, 1000, 4095, 9000, 65535])
def test_deep_grey_is_scaled_by_the_depth_that_holds_it(tmp_path, mode, peak):
    values = np.rint(RAMP * peak).astype({"I": "<i4", "I;16B": ">u2"}.get(mode, "<u2"))
    Image.frombytes(mode, SIZE[::-1], values.tobytes()).save(tmp_path / "a.tif")
    picture = read_picture(tmp_path / "a.tif", SIZE)
    white = {200: 255, 1000: 1023, 4095: 4095, 9000: 16383, 65535: 65535}[peak]
    assert picture.deep.high == peak and guess_white([picture.deep], "x") == white
    expected = np.rint(values.astype(float) * 255 / white)
    np.testing.assert_array_equal(scaled(picture.pixels, white), np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize("peak, white", [(0.4, 1), (1.0, 1), (255.0, 255), (3000.0, 4095)])
def test_floats(tmp_path, peak, white):
    values = (RAMP * peak).astype(np.float32)
    values = values if peak <= 1 else np.rint(values)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    picture = read_picture(tmp_path / "a.tiff", SIZE)
    assert guess_white([picture.deep], "x") == white
    np.testing.assert_array_equal(scaled(picture.pixels, white)[..., 1], np.rint(values.astype(float) * 255 / white))


def test_what_is_white_is_asked_where_it_cannot_be_known():
    def scale(*values, dtype=np.float32):
        return scale_of(np.array([values], dtype=dtype))

    for deep, says in (
        ([scale(0, 212.5)], "reach 212.5: what is white\\? Set dataset.white_level, for example to 255"),
        ([scale(0, 0.5), scale(0, 1e7)], "reach 1e\\+07: what is white\\?"),
        ([scale(0, 70000, dtype=np.int32)], "reach 70000: what is white\\?"),
        ([scale(0, 1), scale(0, 9, dtype=np.uint16)], "some grey images hold integers, others floats"),
    ):
        with pytest.raises(DataError, match=f"^imgs: .*{says}"):
            guess_white(deep, "imgs")


def test_deep_grey_that_is_refused(tmp_path):
    def message(values, **options):
        Image.fromarray(values).save(tmp_path / "odd.tif", **options)
        with pytest.raises(DataError) as error:
            read_picture(tmp_path / "odd.tif", SIZE)
        assert str(error.value).startswith(f"{tmp_path / 'odd.tif'}: mode ") and "\n" not in str(error.value)
        return str(error.value)

    values = np.rint(RAMP * 4095).astype(np.uint16)
    assert "0 as white" in message(values, tiffinfo={262: 0})
    assert "values below 0 (-5)" in message(values.astype(np.int32) - 5)
    assert "not finite" in message(np.where(RAMP > 0.5, np.nan, RAMP).astype(np.float32))
    assert "signed values" in message((RAMP * 255).astype(np.uint8), tiffinfo={339: 2})
    png(tmp_path / "odd.png", values, "grey", 16, transparent=b"\0\5")
    with pytest.raises(DataError, match="odd.png: mode I.*transparent grey value"):
        read_picture(tmp_path / "odd.png", SIZE)


@pytest.mark.parametrize("kind, depth, transparent", [("grey", 2, b"\0\1"), ("grey", 4, b"\0\1"), ("rgb", 16, bytes(6))])
def test_transparent_colours_of_other_depths_are_refused(tmp_path, kind, depth, transparent):
    shape = SIZE if kind == "grey" else (*SIZE, 3)
    png(tmp_path / "odd.png", RNG.integers(0, 2**depth, shape), kind, depth, transparent=transparent)
    with pytest.raises(DataError, match="odd.png: .*transparent colour that is not of 8 bits"):
        read_picture(tmp_path / "odd.png", SIZE)


@pytest.mark.parametrize("kind, channels", [("grey_alpha", 2), ("rgb", 3), ("rgba", 4)])
def test_colours_of_16_bits_keep_the_upper_8(tmp_path, kind, channels):
    values = RNG.integers(0, 2**16, (*SIZE, channels))
    png(tmp_path / "a.png", values, kind, 16)
    picture = read_picture(tmp_path / "a.png", SIZE, PINK)
    colour = (values // 256)[..., [0, 0, 0] if channels == 2 else [0, 1, 2]]
    expected = over(colour, values[..., -1] // 256, PINK) if channels in (2, 4) else colour
    np.testing.assert_allclose(picture.pixels.astype(float), expected, atol=1.01)
    assert picture.upper_peak > 200


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_images_are_turned_upright(tmp_path, suffix, orientation):
    scene = np.zeros((*SIZE, 3), np.uint8)
    scene[:2], scene[2:, :3] = (255, 0, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(turned(scene, orientation).repeat(8, axis=0).repeat(8, axis=1))
    stored.save(tmp_path / f"a.{suffix}", exif=exif, **({"lossless": True} if suffix == "webp" else {"quality": 95}))
    found = read_picture(tmp_path / f"a.{suffix}", SIZE).pixels.astype(int)
    assert np.abs(found[4:, 5:]).max() < 60 and np.abs(found[0] - (255, 0, 0)).max() < 60
    assert np.abs(found[4:, 0] - (0, 0, 255)).max() < 60


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16"])
def test_uncompressed_tiffs_of_all_orientations(tmp_path, mode, orientation):
    """Opened by name, Pillow turns those of some modes wrongly."""
    values = RNG.integers(0, 256, (*SIZE, 4) if mode == "RGBA" else SIZE).astype("<u2" if mode == "I;16" else np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(turned(values, orientation))
    Image.frombytes(mode, stored.shape[1::-1], stored.tobytes()).save(tmp_path / "a.tif", exif=exif)
    picture = read_picture(tmp_path / "a.tif", SIZE, PINK)
    expected = values if mode == "I;16" else rgb_of(values, mode, PINK)
    np.testing.assert_allclose(picture.pixels.astype(float), expected, atol=1.01)


def test_metadata_that_cannot_be_read_turn_nothing(tmp_path):
    values = RNG.integers(0, 256, (*SIZE, 3))
    png(tmp_path / "a.png", values, "rgb", exif=b"II*\0\xff\xff\xff\xff")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png", SIZE).pixels, values)


def test_the_first_of_several_frames(tmp_path):
    frames = [Image.fromarray(np.full((*SIZE, 3), value, np.uint8)) for value in (10, 200)]
    for suffix in ("gif", "tif", "png", "webp"):
        frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
        picture = read_picture(tmp_path / f"a.{suffix}", SIZE)
        assert picture.frames and np.abs(picture.pixels.astype(int) - 10).max() <= 1
    assert not read_picture(_saved(tmp_path / "b.png", frames[0]), SIZE).frames


def _saved(path, image, **options):
    image.save(path, **options)
    return path


def test_ink_of_the_colour_of_the_background_is_noticed(tmp_path):
    ink = np.zeros((*SIZE, 4), np.uint8)
    ink[2:4, :, 3] = 255
    _saved(tmp_path / "a.png", Image.fromarray(ink))
    assert read_picture(tmp_path / "a.png", SIZE, (0, 0, 0)).vanished
    assert not read_picture(tmp_path / "a.png", SIZE, (255, 255, 255)).vanished


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp", "gif", "ppm", "tga", "jp2"])
def test_cut_files_are_refused_by_name(tmp_path, suffix):
    pixels = RNG.integers(0, 256, (64, 48, 3)).astype(np.uint8)
    whole = io.BytesIO()
    Image.fromarray(pixels).save(whole, format={"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}.get(suffix, suffix))
    for part in (0, 3, 0.3, 0.6, 0.9):
        length = part if part > 1 else int(part * len(whole.getvalue()))
        path = tmp_path / f"cut.{suffix}"
        path.write_bytes(whole.getvalue()[:length])
        with pytest.raises(DataError, match=re.escape(f"{path}: not a readable image: ")):
            read_picture(path, (64, 48))


# ----------------------------------------------------------------------------------------------------- in image folders


def folder_of(path, images, suffix="png"):
    """A folder with the classes a and b, which share the images."""
    for k, image in enumerate(images):
        place = path / "ab"[k % 2]
        place.mkdir(parents=True, exist_ok=True)
        _saved(place / f"{k:02}.{suffix}", image)
    return str(path)


def deep(peak, count=8):
    """16-bit images that reach `peak`."""
    noise = [np.where(RAMP == 1, 1, RNG.uniform(0, 1, SIZE)) for _ in range(count)]
    return [Image.fromarray(np.rint(RAMP * part * peak).astype(np.uint16)) for part in noise]


def test_a_folder_of_12_bits_says_what_is_white(tmp_path):
    path = folder_of(tmp_path / "imgs", deep(4000))
    with pytest.warns(CloserWarning, match="imgs: grey images of 16 bits reach 4000; 4095 is taken for white"):
        data = load_data("image_folder", path=path, image_size=SIZE, validation_fraction=0)
    assert 248 <= data.train.inputs.max() <= 249 and len(np.unique(data.train.inputs)) > 50
    data = load_data("image_folder", path=path, image_size=SIZE, white_level=8000)
    assert data.train.inputs.max() == round(4000 * 255 / 8000)
    with pytest.warns(CloserWarning, match="imgs: 8 grey images exceed the white level 3000; what is brighter becomes white"):
        data = load_data("image_folder", path=path, image_size=SIZE, white_level=3000)
    assert data.train.inputs.max() == 255


def test_a_source_knows_its_white_level(tmp_path):
    for peak, options, white in ((65535, {}, 65535), (200, {}, 255), (65535, {"white_level": 70000}, 70000)):
        path = folder_of(tmp_path / f"{peak}{len(options)}", deep(peak))
        assert image_folder(path, image_size=SIZE, **options).white_level == white
    path = folder_of(
        tmp_path / "shallow", [Image.fromarray(RNG.integers(0, 256, (*SIZE, 3)).astype(np.uint8)) for _ in range(4)]
    )
    assert image_folder(path, image_size=SIZE).white_level is None


def test_the_white_level_of_the_training_images_holds_for_the_test_images(tmp_path):
    train = folder_of(tmp_path / "train", deep(65535))
    dark = folder_of(tmp_path / "dark", deep(3000))
    data = load_data("image_folder", path=train, test_path=dark, image_size=SIZE)
    assert data.test.inputs.max() == round(3000 / 257)
    with (
        pytest.warns(CloserWarning, match="4095 is taken for white"),
        pytest.raises(DataError, match="train: grey images reach 65535"),
    ):
        load_data("image_folder", path=dark, test_path=train, image_size=SIZE)


def test_floats_beside_other_floats_are_refused(tmp_path):
    def floats(peak):
        return [
            Image.fromarray(np.rint(RAMP * 255).astype(np.float32) * np.float32(peak / 255) * (1 - k / 40)) for k in range(8)
        ]

    unit = folder_of(tmp_path / "unit", floats(1), "tif")
    bytes_ = folder_of(tmp_path / "bytes", [Image.fromarray(np.rint(np.asarray(i))) for i in floats(255)], "tif")
    for train, test in ((unit, bytes_), (bytes_, unit)):
        with pytest.raises(DataError, match="prepare both in the same way"):
            load_data("image_folder", path=train, test_path=test, image_size=SIZE)


def test_images_divided_by_255_beside_8_bit_ones_are_refused(tmp_path):
    images = [RNG.integers(0, 256, (*SIZE, 3)).astype(np.uint8) for _ in range(80)]
    train = folder_of(tmp_path / "train", [Image.fromarray(i) for i in images[:40]])
    test = folder_of(tmp_path / "test", [Image.fromarray((i / 255).astype(np.uint8)) for i in images[40:]])
    with pytest.raises(DataError, match="test: uint8 from 0 to 1, but .*train: uint8 from 0 to 255"):
        load_data("image_folder", path=train, test_path=test, image_size=SIZE)


def test_colours_of_12_in_16_bits_are_refused(tmp_path):
    for k in range(4):
        (tmp_path / "ab"[k % 2]).mkdir(exist_ok=True)
        png(tmp_path / "ab"[k % 2] / f"{k}.png", RNG.integers(0, 4096, (*SIZE, 3)), "rgb", 16)
    with pytest.raises(DataError, match="4 colour images of 16 bits per channel reach 4095 at most"):
        load_data("image_folder", path=str(tmp_path), image_size=SIZE)


def test_what_a_folder_says_of_its_images(tmp_path):
    def ink(k):
        values = np.full((*SIZE, 4), 255, np.uint8)
        values[..., 3] = RNG.integers(0, 2, SIZE) * 255
        return Image.fromarray(values)

    path = folder_of(tmp_path / "white", [ink(k) for k in range(8)])
    with pytest.warns(CloserWarning) as said:
        load_data("image_folder", path=path, image_size=SIZE)
    assert "8 transparent images show nothing over the background [255, 255, 255]" in str(said[0].message)
    assert "2 of 2 test images are in the training set as well" in str(said[1].message)
    data = load_data("image_folder", path=path, image_size=SIZE, background=(0, 0, 0))
    assert set(np.unique(data.train.inputs)) == {0, 255}
