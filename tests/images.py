"""For the tests: image files of every kind, written from arrays, and what NumPy makes of them."""

import struct
import zlib

import numpy as np

COLOUR_TYPES = {"grey": (0, 1), "rgb": (2, 3), "palette": (3, 1), "grey_alpha": (4, 2), "rgba": (6, 4)}  # number, channels


def png(path, array, kind, depth=8, palette=None, transparent=None, exif=None):
    """Write a PNG file without Pillow.

    Args:
        path: the file.
        array: int array (height, width) or (height, width, channels), values of `depth` bits.
        kind: key of `COLOUR_TYPES`.
        depth: bits per channel.
        palette: uint8 array (n, 3).
        transparent: bytes of the tRNS chunk.
        exif: bytes of the eXIf chunk.
    """
    height, width = array.shape[:2]
    flat = array.reshape(height, -1)
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in flat]
    else:
        bits = (flat[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        rows = [np.packbits(row.ravel().astype(np.uint8)).tobytes() for row in bits]
    header = struct.pack(">IIBBBBB", width, height, depth, COLOUR_TYPES[kind][0], 0, 0, 0)
    chunks = [(b"IHDR", header)]
    chunks += [(b"PLTE", palette.astype(np.uint8).tobytes())] if palette is not None else []
    chunks += [(b"tRNS", transparent)] if transparent is not None else []
    chunks += [(b"eXIf", exif)] if exif is not None else []
    chunks += [(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))), (b"IEND", b"")]
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, body in chunks:
            file.write(struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)))


def upright(array, orientation):
    """An array (height, width, ...) turned as EXIF's orientation says."""
    axes = (1, 0, *range(2, array.ndim))
    return {
        1: lambda: array,
        2: lambda: array[:, ::-1],
        3: lambda: array[::-1, ::-1],
        4: lambda: array[::-1],
        5: lambda: array.transpose(axes),
        6: lambda: array[::-1].transpose(axes),
        7: lambda: array[::-1, ::-1].transpose(axes),
        8: lambda: array[:, ::-1].transpose(axes),
    }[orientation]()


def turned(array, orientation):
    """What has to be stored so that `upright` gives the array."""
    return upright(array, {6: 8, 8: 6}.get(orientation, orientation))


def over(colour, alpha, background):
    """Colours (h, w, 3) of opacity alpha (h, w), both 0 to 255, laid over a background, as float."""
    part = np.asarray(alpha, float)[..., None] / 255
    return np.asarray(colour, float) * part + np.array(background, float) * (1 - part)


def rgb_of(values, mode, background, palette=None, alpha=None):
    """What an image of 8 bits shows, by the formulas of its mode: float array (h, w, 3).

    Args:
        values: array (h, w) or (h, w, bands) as stored.
        mode: Pillow's name of the mode.
        background: (red, green, blue).
        palette: uint8 array (256, 3) for P and PA.
        alpha: array (h, w), where the opacity is not one of the bands.
    """
    v = np.asarray(values).astype(float)
    if mode in ("1", "L", "LA", "La"):
        grey = v if mode in ("1", "L") else v[..., 0]
        colour = np.repeat(grey[..., None] * (255 if mode == "1" and grey.max() <= 1 else 1), 3, axis=2)
    elif mode in ("P", "PA"):
        colour = palette[(v if mode == "P" else v[..., 0]).astype(int)].astype(float)
    elif mode == "CMYK":
        colour = (255 - v[..., :3]) * (255 - v[..., 3:]) / 255
    elif mode == "YCbCr":
        y, cb, cr = v[..., 0], v[..., 1] - 128, v[..., 2] - 128
        colour = np.clip(np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=2), 0, 255)
    elif mode == "HSV":
        hue, s, top = v[..., 0] * 6 / 255, v[..., 1] / 255, v[..., 2]
        colour = np.stack(
            [top - top * s * np.clip(np.minimum((n + hue) % 6, 4 - (n + hue) % 6), 0, 1) for n in (5, 3, 1)], axis=2
        )
    else:
        colour = v[..., :3]
    if mode in ("La", "RGBa"):  # multiplied with their opacity already
        return colour + np.array(background, float) * (1 - v[..., -1:] / 255)
    if mode in ("LA", "PA", "RGBA"):
        alpha = v[..., -1]
    return colour if alpha is None else over(colour, alpha, background)
