"""Random changes of training images, drawn anew for each sample, the same for all encoders (paper: methods)."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from closer_tf.bounds import check_settings
from closer_tf.common.types import Shape, Tensor
from closer_tf.nn.precision import true_float32


@keras.saving.register_keras_serializable("closer_tf")
class RandomAffine(keras.layers.Layer):
    """Random horizontal flip, rotation and zoom, in this order; the identity unless called with `training=True`.

    Pixels from outside the image are reflected in its edge; values between pixels are bilinear. The flip is folded into
    the rotation, which costs nothing and changes nothing.

    Args:
        horizontal_flip: mirror half of the images.
        rotation: largest rotation either way, in full turns.
        zoom: largest relative change of the shown image side, out or in; the same along both axes.
        seed: int.

    Input and output shape: (batch, height, width, channels).
    """

    def __init__(
        self, horizontal_flip: bool = False, rotation: float = 0.0, zoom: float = 0.0, seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check_settings(rotation=rotation, zoom=zoom)
        self.horizontal_flip = horizontal_flip
        self.rotation = rotation
        self.zoom = zoom
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        """Changed images in training; the images themselves otherwise."""
        if not training:
            return images
        for coefficients in self.draw(ops.shape(images)[0]):
            images = affine(images, *coefficients)
        return images

    def draw(self, batch: int | Tensor) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """What is done to the next `batch` images: list of coefficients of `affine`, four tensors (batch,) each."""
        drawn = []
        if self.horizontal_flip or self.rotation:
            flip = ops.where(self._uniform(batch, 0.0, 1.0) < 0.5 * self.horizontal_flip, -1.0, 1.0)
            angle = self._uniform(batch, -1.0, 1.0) * (2 * math.pi * self.rotation)
            drawn.append((flip * ops.cos(angle), -flip * ops.sin(angle), ops.sin(angle), ops.cos(angle)))
        if self.zoom:
            factor = self._uniform(batch, 1.0 - self.zoom, 1.0 + self.zoom)
            drawn.append((factor, 0.0 * factor, 0.0 * factor, factor))
        return drawn

    def _uniform(self, batch, low, high):
        return keras.random.uniform((batch,), low, high, seed=self.seed_generator)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the layer from, as plain data."""
        return {
            **super().get_config(),
            "horizontal_flip": self.horizontal_flip,
            "rotation": self.rotation,
            "zoom": self.zoom,
            "seed": self.seed,
        }


def affine(images: Tensor, xx: Tensor, xy: Tensor, yx: Tensor, yy: Tensor) -> Tensor:
    """Resample images about their centre: the output pixel (x, y) shows the input at (xx x + xy y, yx x + yy y).

    Args:
        images: tensor (B, height, width, channels).
        xx, xy, yx, yy: tensors (B,), coefficients on coordinates relative to the image centre.

    Returns:
        Tensor of the images' shape.
    """
    height, width = images.shape[1:3]
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    shift_x = centre_x - xx * centre_x - xy * centre_y
    shift_y = centre_y - yx * centre_x - yy * centre_y
    none = ops.zeros_like(xx)
    transforms = ops.stack([xx, xy, shift_x, yx, yy, shift_y, none, none], axis=1)
    with true_float32():  # of the coordinates
        return ops.image.affine_transform(images, transforms, interpolation="bilinear", fill_mode="reflect")
