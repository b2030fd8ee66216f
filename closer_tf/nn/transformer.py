"""The layers of a small pre-norm transformer, initialised as TensorFlow 2.6 did (Keras 3 initialises attention otherwise)."""

import math

import keras
from keras import ops

from closer_tf.nn.dropout import Dropout


@keras.saving.register_keras_serializable("closer_tf")
class ClassTokenAndPositions(keras.layers.Layer):
    """Put a learnable class token in front of a sequence and add a learnable position to every token.

    Args:
        seed: int; the class token is normal with sd .05, positions are uniform within +-.05.

    Input shape: (batch, tokens, width). Output shape: (batch, 1 + tokens, width).
    """

    def __init__(self, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed

    def build(self, input_shape):
        """Make the class token and the positions."""
        _, tokens, width = input_shape
        normal = keras.initializers.RandomNormal(stddev=0.05, seed=self.seed)
        uniform = keras.initializers.RandomUniform(-0.05, 0.05, seed=self.seed + 1)
        self.class_token = self.add_weight(shape=(1, 1, width), initializer=normal, name="class_token")
        self.positions = self.add_weight(shape=(1, 1 + tokens, width), initializer=uniform, name="positions")

    def call(self, tokens):
        """The longer sequence."""
        first = ops.broadcast_to(self.class_token, (ops.shape(tokens)[0], 1, tokens.shape[2]))
        return ops.concatenate([first, tokens], axis=1) + self.positions

    def compute_output_shape(self, input_shape):
        """One token more."""
        return (input_shape[0], input_shape[1] + 1, input_shape[2])

    def get_config(self):
        """Arguments to rebuild the layer from, as plain data."""
        return {**super().get_config(), "seed": self.seed}


@keras.saving.register_keras_serializable("closer_tf")
class FirstToken(keras.layers.Layer):
    """The class token alone: (batch, tokens, width) -> (batch, width)."""

    def call(self, tokens):
        """The first token."""
        return tokens[:, 0]

    def compute_output_shape(self, input_shape):
        """(batch, width)."""
        return (input_shape[0], input_shape[2])


@keras.saving.register_keras_serializable("closer_tf")
class SelfAttention(keras.layers.Layer):
    """Multi-head self-attention with dropout on the attention weights.

    Computes what `keras.layers.MultiHeadAttention` does, with queries, keys and values in one product.

    Args:
        heads: number of heads.
        key_dim: width of queries, keys and values per head.
        dropout: fraction of attention weights dropped in training.
        init_seed: int. Kernels are uniform within the limits of TensorFlow 2.6, whose Glorot fans were those of the
            three-dimensional kernels: with width 256, 4 heads and key_dim 64, sqrt(6 / 17408) for queries, keys and values and
            sqrt(6 / 1280) for the output. Biases are 0.
        dropout_seed: int.
        first_only: compute what the first token gathers and nothing else, for a last block of which only that token is used.

    Input shape: (batch, tokens, width). Output shape: the same, or (batch, width) with `first_only`.
    """

    def __init__(self, heads=4, key_dim=64, dropout=0.1, init_seed=0, dropout_seed=0, first_only=False, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.key_dim, self.dropout, self.first_only = heads, key_dim, dropout, first_only
        self.init_seed, self.dropout_seed = init_seed, dropout_seed
        self.drop = Dropout(dropout, seed=dropout_seed)

    def build(self, input_shape):
        """Make kernels and biases."""
        width, inner = input_shape[-1], self.heads * self.key_dim
        # Kernel shapes of TF 2.6: (width, heads, key_dim) and (heads, key_dim, width); Glorot's fans are
        # shape[-2] and shape[-1] times the product of the rest.
        limit_in = math.sqrt(6 / (width * self.heads + width * self.key_dim))
        limit_out = math.sqrt(6 / (self.heads * self.key_dim + self.heads * width))
        self.qkv_kernel = self.add_weight(
            shape=(width, 3 * inner), initializer=_uniform(limit_in, self.init_seed), name="qkv_kernel"
        )
        self.qkv_bias = self.add_weight(shape=(3 * inner,), initializer="zeros", name="qkv_bias")
        self.out_kernel = self.add_weight(
            shape=(inner, width), initializer=_uniform(limit_out, self.init_seed + 1), name="out_kernel"
        )
        self.out_bias = self.add_weight(shape=(width,), initializer="zeros", name="out_bias")

    def call(self, tokens, training=False):
        """What each token, or the first, gathers from all tokens."""
        count, width = tokens.shape[1:]
        if self.first_only:
            inner = self.heads * self.key_dim
            of_query, of_key_and_value = ops.split(self.qkv_kernel, [inner], axis=1)
            query_bias, key_and_value_bias = ops.split(self.qkv_bias, [inner])
            query = self._project(tokens[:, :1], of_query, query_bias)[0]
            key, value = self._project(tokens, of_key_and_value, key_and_value_bias)
        else:
            query, key, value = self._project(tokens, self.qkv_kernel, self.qkv_bias)
        scores = ops.matmul(query * (1 / math.sqrt(self.key_dim)), ops.transpose(key, (0, 1, 3, 2)))
        weights = self.drop(ops.softmax(scores, axis=-1), training=training)
        gathered = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        outputs = ops.matmul(ops.reshape(gathered, (-1, self.heads * self.key_dim)), self.out_kernel) + self.out_bias
        return outputs if self.first_only else ops.reshape(outputs, (-1, count, width))

    def _project(self, tokens, kernel, bias):
        """List of the projections (batch, heads, tokens, key_dim) that stand side by side in a kernel, from one product."""
        count, width = tokens.shape[1:]
        projected = ops.matmul(ops.reshape(tokens, (-1, width)), kernel) + bias
        parts = ops.reshape(projected, (-1, count, kernel.shape[1] // (self.heads * self.key_dim), self.heads, self.key_dim))
        return ops.unstack(ops.transpose(parts, (2, 0, 3, 1, 4)))  # slices would have a costly gradient

    def compute_output_shape(self, input_shape):
        """The input's shape, without the tokens with `first_only`."""
        return (input_shape[0], input_shape[2]) if self.first_only else input_shape

    def get_config(self):
        """Arguments to rebuild the layer from, as plain data."""
        return {
            **super().get_config(),
            "heads": self.heads,
            "key_dim": self.key_dim,
            "dropout": self.dropout,
            "init_seed": self.init_seed,
            "dropout_seed": self.dropout_seed,
            "first_only": self.first_only,
        }


def _uniform(limit, seed):
    return keras.initializers.RandomUniform(-limit, limit, seed=seed)
