"""MLP encoders of equal architecture computed together: one batched product per layer, weights (N, inputs, outputs).

A candidate that is measured beside the N separate encoders of the public model; weights convert both ways.
"""

import keras
import numpy as np
from keras import ops

from closer_tf.encoders import gelu
from closer_tf.ensemble import CLoSeR


@keras.saving.register_keras_serializable("closer_tf_benchmarks")
class StackedFields(keras.layers.Layer):
    """What N encoders see, side by side: (batch, cells, values) -> (N, batch, seen values)."""

    def __init__(self, cells, **kwargs):
        super().__init__(**kwargs)
        self.cells = np.asarray(cells)

    def call(self, sequence):
        """The seen cells of every encoder."""
        seen = ops.take(sequence, self.cells.ravel(), axis=1)
        seen = ops.reshape(seen, (-1, len(self.cells), self.cells.shape[1] * sequence.shape[2]))
        return ops.transpose(seen, (1, 0, 2))


@keras.saving.register_keras_serializable("closer_tf_benchmarks")
class StackedDense(keras.layers.Layer):
    """N dense layers in one product: (N, batch, inputs) -> (N, batch, outputs)."""

    def __init__(self, kernels, biases, **kwargs):
        super().__init__(**kwargs)
        self.kernel = self.add_weight(shape=kernels.shape, initializer="zeros", name="kernel")
        self.bias = self.add_weight(shape=biases.shape, initializer="zeros", name="bias")
        self.set_weights([kernels, biases])

    def call(self, x):
        """The products with the biases added."""
        return ops.matmul(x, self.kernel) + ops.expand_dims(self.bias, 1)


@keras.saving.register_keras_serializable("closer_tf_benchmarks")
class ToSamplesFirst(keras.layers.Layer):
    """(N, batch, D) -> (batch, N, D)."""

    def call(self, x):
        """The transposed embeddings."""
        return ops.transpose(x, (1, 0, 2))


def stacked(ensemble):
    """The same ensemble of MLPs, its encoders stacked.

    Args:
        ensemble: `CLoSeR` model whose encoders are MLPs of one architecture and input width.

    Returns:
        `CLoSeR` model with a copy of the weights; not compiled.
    """
    encoders = ensemble.encoders
    fields = [layer.cells for layer in ensemble.layers if layer.name.startswith("receptive_field_")]
    x = StackedFields(fields)(ensemble.get_layer("cells").output)
    for layer in encoders[0].layers:
        if isinstance(layer, keras.layers.Dense):
            kernels, biases = (np.stack(parts) for parts in zip(*(e.get_layer(layer.name).get_weights() for e in encoders)))
            x = StackedDense(kernels, biases, name=f"stacked_{layer.name}")(x)
        elif isinstance(layer, keras.layers.Activation):
            x = keras.layers.Activation(gelu)(x)
        elif isinstance(layer, keras.layers.Dropout):
            x = keras.layers.Dropout(layer.rate, seed=layer.seed)(x)
    return CLoSeR(ensemble.input, ToSamplesFirst()(x), name="stacked")


def unstack(model, ensemble):
    """Copy a stacked model's weights into the separate encoders of `ensemble`."""
    for layer in model.layers:
        if isinstance(layer, StackedDense):
            kernels, biases = layer.get_weights()
            for encoder, kernel, bias in zip(ensemble.encoders, kernels, biases):
                encoder.get_layer(layer.name.removeprefix("stacked_")).set_weights([kernel, bias])
