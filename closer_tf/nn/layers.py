"""Layers between the stimulus and the encoders: cut it into cells, show each encoder its own."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("closer_tf")
class Cells(keras.layers.Layer):
    """Cut a stimulus into the cells of a grid, row by row.

    Args:
        patch_size: side of a cell in pixels.

    Input shape: (batch, height, width, channels), or (batch, units), or windows (batch, bins, units).
    Output shape: (batch, cells, patch_size^2 * channels), or (batch, units, 1), or (batch, units, bins).
    """

    def __init__(self, patch_size=1, **kwargs):
        super().__init__(**kwargs)
        self.patch_size = patch_size

    def call(self, stimulus):
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

    def compute_output_shape(self, input_shape):
        """Shape of the sequence of cells."""
        if len(input_shape) == 2:
            return (*input_shape, 1)
        if len(input_shape) == 3:
            return (input_shape[0], input_shape[2], input_shape[1])
        batch, height, width, channels = input_shape
        side = self.patch_size
        return (batch, (height // side) * (width // side), side * side * channels)

    def get_config(self):
        """Arguments to rebuild the layer from, as plain data."""
        return {**super().get_config(), "patch_size": self.patch_size}


@keras.saving.register_keras_serializable("closer_tf")
class ReceptiveField(keras.layers.Layer):
    """The mask m_i of one encoder: passes on the cells it sees and nothing else.

    Args:
        cells: sequence of int, the cells' positions in the input sequence.

    Input shape: (batch, all cells, values). Output shape: (batch, len(cells), values).
    """

    def __init__(self, cells, **kwargs):
        super().__init__(**kwargs)
        self.cells = [int(cell) for cell in cells]

    def call(self, sequence):
        """The seen cells, in order."""
        return ops.take(sequence, self.cells, axis=1)

    def compute_output_shape(self, input_shape):
        """Shape of the seen part."""
        return (input_shape[0], len(self.cells), *input_shape[2:])

    def get_config(self):
        """Arguments to rebuild the layer from, as plain data."""
        return {**super().get_config(), "cells": self.cells}
