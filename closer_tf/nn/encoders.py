"""Encoders: multilayer and recurrent networks and small transformers, initialised as TensorFlow 2.6 did."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from closer_tf.common.values import Shape, Tensor, check_settings
from closer_tf.nn.layers import Dropout

UNROLLED = 8  # steps of a sequence up to which they are computed without a loop: twice as fast under TensorFlow on a CPU


def mlp(
    input_shape: Sequence[int],
    hidden: Sequence[int] = (1024, 512, 256),
    embedding_dim: int = 256,
    dropout: float = 0.1,
    l1: float = 0.0,
    l2: float = 0.0,
    init_seed: int = 0,
    dropout_seed: int = 0,
    name: str = "mlp",
) -> keras.Model:
    """Fully connected encoder: GELU and dropout after each hidden layer, linear output.

    Args:
        input_shape: (cells, values per cell), what the encoder's receptive field passes on.
        hidden: widths of the hidden layers. The paper: 1024, 512, 256 for images; 32, 32 for neurons.
        embedding_dim: width of the output D.
        dropout: fraction of hidden activities dropped in training.
        l1, l2: weights of the kernels' summed absolute and squared values in the loss. The paper: 5e-6 each for neurons.
        init_seed: int, seeds the weights (Glorot uniform, zero biases).
        dropout_seed: int, seeds the dropout.
        name: name of the Keras model.

    Returns:
        Keras model from (batch, *input_shape) to (batch, embedding_dim).

    Raises:
        ValueError: a setting is out of its bounds.
    """
    if isinstance(hidden, int):
        raise ValueError(f"hidden: expected a sequence of widths, such as ({hidden},), found {hidden}")
    check_settings(layers=len(hidden), hidden=hidden, embedding_dim=embedding_dim, dropout=dropout, l1=l1, l2=l2)
    init_seeds, dropout_seeds = _spread(init_seed, len(hidden) + 1), _spread(dropout_seed, len(hidden))
    inputs = keras.Input(input_shape)
    x = layers.Flatten(name="flatten")(inputs)
    for depth, width in enumerate(hidden):
        x = _dense(width, init_seeds[depth], l1, l2, f"hidden_{depth}")(x)
        x = layers.Activation(gelu, name=f"gelu_{depth}")(x)
        x = Dropout(dropout, seed=dropout_seeds[depth], name=f"dropout_{depth}")(x)
    outputs = _dense(embedding_dim, init_seeds[-1], l1, l2, "embedding")(x)
    return keras.Model(inputs, outputs, name=name)


def vit_lite(
    input_shape: Sequence[int],
    embedding_dim: int = 256,
    blocks: int = 2,
    heads: int = 4,
    key_dim: int = 64,
    mlp_dim: int = 512,
    dropout: float = 0.1,
    init_seed: int = 0,
    dropout_seed: int = 0,
    name: str = "vit_lite",
) -> keras.Model:
    """Small vision transformer over the cells of a receptive field (ViTLite-2/4 with patches of 4 x 4 pixels).

    Each cell is mapped linearly to a token; a class token is put in front and positions are added; pre-norm blocks of
    attention and MLP follow; the embedding is the layer norm of the class token.

    Args:
        input_shape: (cells, values per cell), what the encoder's receptive field passes on.
        embedding_dim: width of tokens and output D.
        blocks: number of transformer blocks.
        heads: attention heads.
        key_dim: width of queries, keys and values per head.
        mlp_dim: hidden width of each block's MLP.
        dropout: fraction dropped in training: of attention weights, and after both layers of each MLP.
        init_seed: int, seeds the weights, which are distributed as in TensorFlow 2.6.
        dropout_seed: int, seeds the dropout.
        name: name of the Keras model.

    Returns:
        Keras model from (batch, *input_shape) to (batch, embedding_dim). 1,068,544 parameters for 3 patches of 48 values.

    Raises:
        ValueError: a setting is out of its bounds.
    """
    check_settings(embedding_dim=embedding_dim, blocks=blocks, heads=heads, key_dim=key_dim, mlp_dim=mlp_dim, dropout=dropout)
    init_seeds, dropout_seeds = _spread(init_seed, 2 + 4 * blocks), iter(_spread(dropout_seed, 3 * blocks))
    inputs = keras.Input(input_shape)
    x = layers.Dense(embedding_dim, kernel_initializer=_glorot(init_seeds[0]), name="token")(inputs)
    x = ClassTokenAndPositions(init_seeds[1], name="class_token_and_positions")(x)
    for k in range(blocks):
        seeds = init_seeds[2 + 4 * k : 6 + 4 * k]
        y = layers.LayerNormalization(epsilon=1e-3, name=f"norm_{k}a")(x)
        last = k == blocks - 1  # of the last block only the class token is used, so only that is computed
        y = SelfAttention(heads, key_dim, dropout, seeds[0], next(dropout_seeds), last, name=f"attention_{k}")(y)
        x = FirstToken(name="first_token")(x) if last else x
        x = layers.Add(name=f"add_{k}a")([x, y])
        y = layers.LayerNormalization(epsilon=1e-3, name=f"norm_{k}b")(x)
        for depth, width in enumerate((mlp_dim, embedding_dim)):
            initializer = _glorot(seeds[2 + depth])
            y = layers.Dense(width, activation=gelu, kernel_initializer=initializer, name=f"mlp_{k}{depth}")(y)
            y = Dropout(dropout, seed=next(dropout_seeds), name=f"dropout_{k}{depth}")(y)
        x = layers.Add(name=f"add_{k}b")([x, y])
    outputs = layers.LayerNormalization(epsilon=1e-3, name="embedding")(x)
    return keras.Model(inputs, outputs, name=name)


def rnn(
    input_shape: Sequence[int],
    cell: str = "gru",
    units: Sequence[int] = (32,),
    embedding_dim: int = 32,
    dropout: float = 0.1,
    l1: float = 0.0,
    l2: float = 0.0,
    init_seed: int = 0,
    dropout_seed: int = 0,
    over_bins: bool = False,
    name: str = "rnn",
) -> keras.Model:
    """Recurrent encoder: Keras's GRU or SimpleRNN, dropout after each layer, an embedding that is linear in the state.

    Args:
        input_shape: (cells, values per cell), what the encoder's receptive field passes on.
        cell: 'gru' or 'simple'.
        units: widths of the recurrent layers.
        embedding_dim: width of the output D.
        dropout: fraction of what each recurrent layer passes on that is dropped in training.
        l1, l2: weights of the summed absolute and squared values of all kernels in the loss.
        init_seed: int, seeds the weights (Glorot uniform, recurrent kernels orthogonal, zero biases).
        dropout_seed: int, seeds the dropout.
        over_bins: false: the cells are the sequence, in order; the embedding is that of the last state. True: the values of a
            cell are those of a unit in consecutive bins, which are the sequence; embeddings of the last two bins come out.
        name: name of the Keras model.

    Returns:
        Keras model from (batch, *input_shape) to (batch, embedding_dim), or over bins to (batch, 2, embedding_dim), of a window
        of one bin (batch, 1, embedding_dim).

    Raises:
        ValueError: a setting is out of its bounds, or there is no such cell.
    """
    if isinstance(units, int):
        raise ValueError(f"units: expected a sequence of widths, such as ({units},), found {units}")
    if cell not in ("gru", "simple") or not len(units):
        raise ValueError(f"expected cell 'gru' or 'simple' and one layer at least, found {cell!r} and units {tuple(units)}")
    check_settings(layers=len(units), hidden=units, embedding_dim=embedding_dim, dropout=dropout, l1=l1, l2=l2)
    init_seeds, dropout_seeds = _spread(init_seed, 2 * len(units) + 1), _spread(dropout_seed, len(units))
    layer_of = {"gru": layers.GRU, "simple": layers.SimpleRNN}[cell]
    inputs = keras.Input(input_shape)
    x = layers.Permute((2, 1), name="bins_first")(inputs) if over_bins else inputs
    for depth, width in enumerate(units):
        x = layer_of(
            width,
            kernel_initializer=_glorot(init_seeds[2 * depth]),
            recurrent_initializer=keras.initializers.Orthogonal(seed=init_seeds[2 * depth + 1]),
            kernel_regularizer=_penalty(l1, l2),
            recurrent_regularizer=_penalty(l1, l2),
            unroll=x.shape[1] <= UNROLLED,
            return_sequences=over_bins or depth < len(units) - 1,
            seed=dropout_seeds[depth],
            name=f"recurrent_{depth}",
        )(x)
        x = Dropout(dropout, seed=dropout_seeds[depth], name=f"dropout_{depth}")(x)
    if over_bins and x.shape[1] > 2:
        x = layers.Cropping1D((x.shape[1] - 2, 0), name="last_bins")(x)
    outputs = _dense(embedding_dim, init_seeds[-1], l1, l2, "embedding")(x)
    return keras.Model(inputs, outputs, name=name)


@keras.saving.register_keras_serializable("closer_tf")
def gelu(x: Tensor) -> Tensor:
    """The exact (erf) Gaussian error linear unit, x Phi(x). Its gradient, Phi(x) + x phi(x), is written out: fewer passes."""
    return _gelu(x)


@ops.custom_gradient
def _gelu(x):
    below = 0.5 + 0.5 * ops.erf(x * math.sqrt(0.5))  # Phi(x)

    def gradient(*arguments, upstream=None):
        (upstream,) = arguments or (upstream,)
        density = ops.exp(-0.5 * ops.square(x)) * (1 / math.sqrt(2 * math.pi))
        return upstream * (below + x * density)

    return x * below, gradient


def _dense(width, seed, l1, l2, name):
    return layers.Dense(width, kernel_initializer=_glorot(seed), kernel_regularizer=_penalty(l1, l2), name=name)


def _penalty(l1, l2):
    return keras.regularizers.L1L2(l1, l2) if l1 or l2 else None


def _glorot(seed):
    return keras.initializers.GlorotUniform(seed=seed)


def _spread(seed, count):
    """`count` independent seeds from one."""
    return [int(word >> 1) for word in np.random.SeedSequence(seed).generate_state(count)]


@keras.saving.register_keras_serializable("closer_tf")
class ClassTokenAndPositions(keras.layers.Layer):
    """Put a learnable class token in front of a sequence and add a learnable position to every token.

    Args:
        seed: int; the class token is normal with sd .05, positions are uniform within +-.05.

    Input shape: (batch, tokens, width). Output shape: (batch, 1 + tokens, width).
    """

    def __init__(self, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed

    def build(self, input_shape: Shape) -> None:
        """Make the class token and the positions."""
        _, tokens, width = input_shape
        normal = keras.initializers.RandomNormal(stddev=0.05, seed=self.seed)
        uniform = keras.initializers.RandomUniform(-0.05, 0.05, seed=self.seed + 1)
        self.class_token = self.add_weight(shape=(1, 1, width), initializer=normal, name="class_token")
        self.positions = self.add_weight(shape=(1, 1 + tokens, width), initializer=uniform, name="positions")

    def call(self, tokens: Tensor) -> Tensor:
        """The longer sequence."""
        first = ops.broadcast_to(self.class_token, (ops.shape(tokens)[0], 1, tokens.shape[2]))
        return ops.concatenate([first, tokens], axis=1) + self.positions

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """One token more."""
        return (input_shape[0], input_shape[1] + 1, input_shape[2])

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the layer from, as plain data."""
        return {**super().get_config(), "seed": self.seed}


@keras.saving.register_keras_serializable("closer_tf")
class FirstToken(keras.layers.Layer):
    """The class token alone: (batch, tokens, width) -> (batch, width)."""

    def call(self, tokens: Tensor) -> Tensor:
        """The first token."""
        return tokens[:, 0]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
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

    def __init__(
        self,
        heads: int = 4,
        key_dim: int = 64,
        dropout: float = 0.1,
        init_seed: int = 0,
        dropout_seed: int = 0,
        first_only: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.heads, self.key_dim, self.dropout, self.first_only = heads, key_dim, dropout, first_only
        self.init_seed, self.dropout_seed = init_seed, dropout_seed
        self.drop = Dropout(dropout, seed=dropout_seed)

    def build(self, input_shape: Shape) -> None:
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

    def call(self, tokens: Tensor, training: bool = False) -> Tensor:
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

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The input's shape, without the tokens with `first_only`."""
        return (input_shape[0], input_shape[2]) if self.first_only else input_shape

    def get_config(self) -> dict[str, Any]:
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
