"""Colours and pixels for what is shown elsewhere than in a figure's file: the report's page, TensorBoard."""

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex


def palette():
    """256 colours from dark to light: int array (256, 3) of red, green and blue in [0, 255]."""
    return (colormaps["viridis"](np.arange(256))[:, :3] * 255).astype(int)


def hex_colours(count):
    """`count` colours from dark to light as texts: '#440154', ..."""
    return [to_hex(colormaps["viridis"](k / (count - 1))) for k in range(count)]


def pixels(figure):
    """A matplotlib Figure as uint8 array (height, width, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
