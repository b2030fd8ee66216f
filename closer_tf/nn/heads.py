"""Dense layers that every encoder has for itself, computed side by side."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from closer_tf.common.types import Shape, Tensor


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
