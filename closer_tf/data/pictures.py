"""One image file as 8-bit RGB, whatever Pillow calls its mode; what cannot become that without a guess is refused.

| Pillow's mode | becomes |
|---|---|
| 1, L | the same grey in all three channels |
| RGB, RGBX | itself; the X is dropped |
| P | its palette's colours |
| LA, La, PA, RGBA, RGBa, and any of the above with a transparent colour or palette | laid over the background colour |
| CMYK, YCbCr, HSV, LAB | Pillow's own conversion, LAB by way of sRGB; colour profiles are not applied |
| I, I;16, I;16B, I;16L, I;16N, F (grey of more than 8 bits) | grey values as they are stored: see `guess_white` |

Images are turned as their EXIF orientation says. Of several frames or pages the first is read. Of colours of 16 bits per
channel Pillow keeps the upper 8.
"""

import contextlib
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image

from closer_tf.data.listing import formats
from closer_tf.data.scales import Scale, scale_of
from closer_tf.errors import DataError

MAX_PIXELS = 50_000_000  # a file that declares more is refused before it is decoded
WHITE = (255, 1023, 4095, 16383, 65535)  # of 8, 10, 12, 14 and 16 bits
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_SEE_THROUGH = ("LA", "La", "PA", "RGBA", "RGBa")
_ORIENTATION = 0x0112
_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PHOTOMETRIC, _SAMPLE_FORMAT = 262, 339  # TIFF tags


class Picture(NamedTuple):
    """One image, at its final size.

    Args:
        pixels: uint8 array (height, width, 3); of grey of more than 8 bits float32 (height, width), not scaled yet.
        deep: `Scale` of the grey values as stored, where there are more than 8 bits.
        upper_peak: largest upper half of a colour of 16 bits per channel; None for other images.
        vanished: everything that it shows has the colour of the background.
        frames: more than one frame or page.
    """

    pixels: np.ndarray
    deep: Scale | None = None
    upper_peak: int | None = None
    vanished: bool = False
    frames: bool = False


def read_picture(file, image_size, background=(255, 255, 255)):
    """Read an image file.

    Args:
        file: Path.
        image_size: (height, width) in pixels that it is resized to, bilinear.
        background: (red, green, blue), each 0 to 255, what transparent images are laid over.

    Returns:
        `Picture`.

    Raises:
        DataError: the file is no readable image, too large, or of a kind that would have to be guessed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own, of many pixels or odd metadata
            # from a stream: Pillow maps some files that it opens by name, and then turns a TIFF of another orientation wrongly
            with open(file, "rb") as stream, Image.open(stream, formats=formats()) as image:
                return _read(file, image, image_size, tuple(background))
    except DataError:
        raise
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise DataError(f"{file}: not a readable image: {str(error) or type(error).__name__}") from error


def _read(file, image, image_size, background):
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"{file}: {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read")
    tags, raw_modes = getattr(image, "tag_v2", {}), _raw_modes(image)
    image.load()
    upright = _upright(image)
    if image.mode in DEEP:
        if tags.get(_PHOTOMETRIC) == 0:
            raise DataError(
                f"{file}: mode {image.mode} with 0 as white, which Pillow does not turn round; save it with 0 as black"
            )
        if "transparency" in image.info:
            raise DataError(f"{file}: mode {image.mode} with a transparent grey value; save it without, or as 8-bit RGBA")
        return _deep(file, upright, image_size, _has_frames(image))
    if image.mode == "L" and 2 in np.atleast_1d(tags.get(_SAMPLE_FORMAT, 1)):
        raise DataError(f"{file}: mode L with signed values, which Pillow reads as unsigned; save them as 0 to 255")
    sixteen_bit = any(";16" in raw for raw in raw_modes)
    if "transparency" in image.info and (sixteen_bit or any(raw in ("L;2", "L;4") for raw in raw_modes)):
        raise DataError(f"{file}: mode {image.mode} with a transparent colour that is not of 8 bits; save it as 8-bit RGBA")
    rgb, vanished = to_rgb(upright, background)
    upper_peak = max(high for _, high in rgb.getextrema()) if sixteen_bit else None
    height, width = image_size
    pixels = np.asarray(rgb.resize((width, height), Image.Resampling.BILINEAR))
    return Picture(pixels, None, upper_peak, vanished, _has_frames(image))


def _upright(image):
    """The image turned as its EXIF orientation says; metadata that cannot be read say nothing."""
    if image.format == "TIFF":  # Pillow turns these when it loads them
        return image
    orientation = 1
    with contextlib.suppress(Exception):
        orientation = image.getexif().get(_ORIENTATION, 1)
    return image.transpose(_TURNED[orientation]) if orientation in _TURNED else image


def to_rgb(image, background):
    """A Pillow image of one of the modes in the table above, but not of more than 8 bits, as RGB.

    Args:
        image: `PIL.Image.Image`.
        background: (red, green, blue), 0 to 255.

    Returns:
        (image, vanished): an RGB image, and whether all that it shows went into the background.
    """
    palette = image.mode == "P" and image.palette is not None and "A" in image.palette.mode
    if image.mode not in _SEE_THROUGH and "transparency" not in image.info and not palette:
        return image.convert("RGB"), False
    clear = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    ground = Image.new("RGBA", clear.size, (*background, 255))
    rgb = Image.alpha_composite(ground, clear).convert("RGB")
    shown = clear.getchannel("A").getextrema()
    vanished = shown[0] < shown[1] and rgb.getextrema() == tuple((value, value) for value in background)
    return rgb, vanished


def _deep(file, image, image_size, frames):
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise DataError(f"{file}: mode {image.mode}: holds values that are not finite")
    scale = scale_of(values.astype(values.dtype.newbyteorder("="), copy=False))
    if scale.low < 0:
        raise DataError(f"{file}: mode {image.mode}: holds values below 0 ({scale.low:g}); shift them so that 0 is black")
    height, width = image_size
    grey = Image.fromarray(values.astype(np.float32))
    return Picture(np.asarray(grey.resize((width, height), Image.Resampling.BILINEAR)), scale, frames=frames)


def _raw_modes(image):
    """How the pixels lie in the file, in Pillow's words; known before the image is loaded."""
    arguments = [tile[3] for tile in image.tile]
    return [part for each in arguments for part in (each if isinstance(each, tuple) else (each,)) if isinstance(part, str)]


def _has_frames(image):
    with contextlib.suppress(Exception):  # a first frame was read
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    return False


def guess_white(deep, what):
    """The grey value that becomes white, for grey images of more than 8 bits.

    That is 255, 1023, 4095, 16383 or 65535 (8 to 16 bits): the smallest that no image of the set exceeds. Cameras of 12 bits
    write files of 16. For floats it is 1 where none exceeds 1, else, for whole numbers, as for integers.

    Args:
        deep: list of `Scale`s, one per image.
        what: what to call the set in messages.

    Returns:
        The white level, a number.

    Raises:
        DataError: none of these fits, so that it has to be given.
    """
    high = max(scale.high for scale in deep)
    if any(scale.dtype == "float32" for scale in deep):
        if len({scale.dtype == "float32" for scale in deep}) > 1:
            raise DataError(f"{what}: some grey images hold integers, others floats; save all as one kind")
        if high <= 1:
            return 1
        if not all(scale.whole for scale in deep):
            raise DataError(
                f"{what}: floating-point images that reach {high:g}: what is white? Set dataset.white_level, for example to "
                f"{min((level for level in WHITE if level >= high), default=round(high))}"
            )
    fitting = [level for level in WHITE if level >= high]
    if not fitting:
        raise DataError(f"{what}: grey images that reach {high:g}: what is white? Set dataset.white_level")
    return fitting[0]


def scaled(grey, white):
    """Grey values (height, width) as 8-bit RGB (height, width, 3), `white` becoming 255 and 0 black."""
    eight_bit = np.rint(np.clip(grey * np.float32(255 / white), 0, 255)).astype(np.uint8)
    return np.repeat(eight_bit[..., None], 3, axis=2)
