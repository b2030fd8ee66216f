"""Encoders: what maps one receptive field to an embedding. Each call makes one encoder with weights of its own."""

import keras
import numpy as np
from keras import layers


def mlp(
    input_shape,
    hidden=(1024, 512, 256),
    embedding_dim=256,
    dropout=0.1,
    init_seed=0,
    dropout_seed=0,
    name="mlp",
):
    """Fully connected encoder: GELU and dropout after each hidden layer, linear output.

    Args:
        input_shape: (cells, values per cell), what the encoder's receptive field passes on.
        hidden: widths of the hidden layers. The paper: 1024, 512, 256 for images; 32, 32 for neurons.
        embedding_dim: width of the output D.
        dropout: fraction of hidden activities dropped in training.
        init_seed: int, seeds the weights (Glorot uniform, zero biases).
        dropout_seed: int, seeds the dropout.
        name: name of the Keras model.

    Returns:
        Keras model from (batch, *input_shape) to (batch, embedding_dim).
    """
    init_seeds, dropout_seeds = _spread(init_seed, len(hidden) + 1), _spread(dropout_seed, len(hidden))
    inputs = keras.Input(input_shape)
    x = layers.Flatten(name="flatten")(inputs)
    for depth, width in enumerate(hidden):
        x = layers.Dense(width, kernel_initializer=_glorot(init_seeds[depth]), name=f"hidden_{depth}")(x)
        x = layers.Activation(gelu, name=f"gelu_{depth}")(x)
        x = layers.Dropout(dropout, seed=dropout_seeds[depth], name=f"dropout_{depth}")(x)
    outputs = layers.Dense(embedding_dim, kernel_initializer=_glorot(init_seeds[-1]), name="embedding")(x)
    return keras.Model(inputs, outputs, name=name)


@keras.saving.register_keras_serializable("closer_tf")
def gelu(x):
    """The exact (erf) Gaussian error linear unit."""
    return keras.activations.gelu(x, approximate=False)


def _glorot(seed):
    return keras.initializers.GlorotUniform(seed=seed)


def _spread(seed, count):
    """`count` independent seeds from one."""
    return [int(word >> 1) for word in np.random.SeedSequence(seed).generate_state(count)]
