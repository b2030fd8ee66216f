"""Layers: cells and receptive fields between stimulus and encoders, heads side by side, dropout, random changes of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from closer_tf.common.backend import backend_part, true_float32
from closer_tf.common.values import Shape, Tensor, check_settings

LEVELS = 2**16


@keras.saving.register_keras_serializable("closer_tf")
class Cells(keras.layers.Layer):
    """Cut a stimulus into the cells of a grid, row by row.

    Args:
        patch_size: side of a cell in pixels.

    Input shape: (batch, height, width, channels), or (batch, units), or windows (batch, bins, units).
    Output shape: (batch, cells, patch_size^2 * channels), or (batch, units, 1), or (batch, units, bins).
    """

    def __init__(self, patch_size: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.patch_size = patch_size

    def call(self, stimulus: Tensor) -> Tensor:
        """The stimulus as a sequence of cells."""
        if len(stimulus.shape) == 2:
            return ops.expand_dims(stimulus, 2)
        if len(stimulus.shape) == 3:
            return ops.transpose(stimulus, (0, 2, 1))
        _, height, width, channels = stimulus.shape
        side = self.patch_size
        if side > 1:
            rows, columns = height // side, width // side
            stimulus = ops.reshape(stimulus, (ops.shape(stimulus)[0], rows, side, columns, side, channels))
            stimulus = ops.transpose(stimulus, (0, 1, 3, 2, 4, 5))
        return ops.reshape(stimulus, (-1, (height // side) * (width // side), side * side * channels))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the sequence of cells."""
        if len(input_shape) == 2:
            return (*input_shape, 1)
        if len(input_shape) == 3:
            return (input_shape[0], input_shape[2], input_shape[1])
        batch, height, width, channels = input_shape
        side = self.patch_size
        return (batch, (height // side) * (width // side), side * side * channels)

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the layer from, as plain data."""
        return {**super().get_config(), "patch_size": self.patch_size}


@keras.saving.register_keras_serializable("closer_tf")
class ReceptiveField(keras.layers.Layer):
    """The mask m_i of one encoder: passes on the cells it sees and nothing else.

    Args:
        cells: sequence of int, the cells' positions in the input sequence.

    Input shape: (batch, all cells, values). Output shape: (batch, len(cells), values).
    """

    def __init__(self, cells: Sequence[int] | np.ndarray, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cells = [int(cell) for cell in cells]

    def call(self, sequence: Tensor) -> Tensor:
        """The seen cells, in order."""
        return ops.take(sequence, self.cells, axis=1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the seen part."""
        return (input_shape[0], len(self.cells), *input_shape[2:])

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the layer from, as plain data."""
        return {**super().get_config(), "cells": self.cells}


@keras.saving.register_keras_serializable("closer_tf")
class Heads(keras.layers.Layer):
    """One linear head per encoder: (batch, N, D) -> (batch, N, num_labels).

    Args:
        num_labels: number of labels.
        seed: int, seeds the kernels (Glorot uniform, each head on its own); biases are 0.
    """

    def __init__(self, num_labels: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_labels, self.seed = num_labels, seed

    def build(self, input_shape: Shape) -> None:
        """Make kernels and biases."""
        _, heads, width = input_shape
        limit = (6 / (width + self.num_labels)) ** 0.5
        initializer = keras.initializers.RandomUniform(-limit, limit, seed=self.seed)
        self.kernel = self.add_weight(shape=(heads, width, self.num_labels), initializer=initializer, name="kernel")
        self.bias = self.add_weight(shape=(heads, self.num_labels), initializer="zeros", name="bias")

    def call(self, embeddings: Tensor) -> Tensor:
        """The logits."""
        return ops.einsum("bnd,ndc->bnc", embeddings, self.kernel) + self.bias

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """(batch, N, num_labels)."""
        return (*input_shape[:2], self.num_labels)

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the layer from, as plain data."""
        return {**super().get_config(), "num_labels": self.num_labels, "seed": self.seed}


@keras.saving.register_keras_serializable("closer_tf")
class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout`, which decides on each value by 16 random bits in place of 32.

    The fraction that is dropped is `rate` rounded to a multiple of 2^-16; arguments as for Keras's layer.
    """

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """The inputs, some of them dropped in training."""
        plain = not training or not 0 < self.rate < 1 or self.noise_shape is not None
        if plain or keras.backend.backend() not in ("tensorflow", "jax"):
            return super().call(inputs, training=training)
        return inputs * mask(ops.shape(inputs), self.rate, self.seed_generator, inputs.dtype)


def mask(shape: Shape, rate: float, seed_generator: keras.random.SeedGenerator, dtype: str) -> Tensor:
    """What dropout multiplies by: 0 with probability `rate`, else 1 / (1 - rate).

    Args:
        shape: tuple of ints or scalar tensors.
        rate: float in (0, 1), taken as a multiple of 2^-16.
        seed_generator: `keras.random.SeedGenerator`; moves on.
        dtype: the mask's.
    """
    levels = backend_part("levels")
    dropped = round(rate * LEVELS)
    kept = ops.cast(levels(seed_generator.next(), shape) >= dropped, dtype)
    return kept * ops.convert_to_tensor(LEVELS / (LEVELS - dropped), dtype=dtype)


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
        if keras.backend.backend() == "tensorflow":
            self.supports_jit = False  # XLA has no such resampling; JAX has

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
        return ops.image.affine_transform(
            images, transforms, interpolation="bilinear", fill_mode="reflect", data_format="channels_last"
        )
