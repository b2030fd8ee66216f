"""Encoders of equal architecture computed together: one product per layer, over stacked weights (G, ...).

Every function here computes what the layer of that name does, for G encoders side by side. The states of the encoders' dropout
generators lie side by side too, one variable (G, 2) per layer, so that each encoder drops what it would drop alone.
"""

import json
import math

import keras
from keras import ops

from closer_tf.nn.dropout import masks

OWN = {"name", "seed", "init_seed", "dropout_seed", "kernel_initializer", "bias_initializer"}  # what equal layers may differ in


def architecture(encoder):
    """What two encoders must agree in to be stacked: their layers without names and seeds, and their input (hashable)."""
    layers = []
    for layer in encoder.layers:
        config = {key: value for key, value in layer.get_config().items() if key not in OWN}
        layers.append([type(layer).__name__, config, [list(weight.shape) for weight in layer.trainable_variables]])
    return json.dumps([list(encoder.input_shape[1:]), layers], default=str, sort_keys=True)


def can_be_stacked(encoder):
    """Whether all layers of an encoder can be computed side by side with those of others, and all are trained."""
    return all(type(layer).__name__ in STACKED and layer.trainable for layer in encoder.layers)


class StackedEncoders(keras.layers.Layer):
    """G encoders of equal architecture as one layer: what they see (G, B, cells, values) -> embeddings (G, B, D).

    Args:
        encoders: list of G Keras models made by `encoders.py`. They are not touched, and this layer's variables (G, ...)
            start at zero: see `FusedEnsembles.gather`.

    Raises:
        TypeError: an encoder has a layer that cannot be stacked.
    """

    def __init__(self, encoders, **kwargs):
        super().__init__(**kwargs)
        for layer in encoders[0].layers:
            if type(layer).__name__ not in STACKED:
                raise TypeError(f"{layer.name}: a layer of type {type(layer).__name__} cannot be stacked")
        self.__dict__["encoders"] = list(encoders)  # past Keras's tracking: their weights are not this layer's
        self.__dict__["weights_of"], self.__dict__["seeds_of"] = {}, {}
        for k, layer in enumerate(encoders[0].layers):
            self.weights_of[layer.name] = [
                self.add_weight(shape=(len(encoders), *weight.shape), initializer="zeros", name=f"{layer.name}_{weight.name}")
                for weight in layer.trainable_variables
            ]
            states = _dropout_states(encoders, k)
            if states:
                options = {"dtype": states[0].dtype, "initializer": "zeros", "trainable": False, "autocast": False}
                self.seeds_of[layer.name] = self.add_weight(shape=(len(states), 2), name=f"{layer.name}_seeds", **options)
        self.built = True

    def call(self, seen, training=False):
        """The embeddings."""
        first = self.encoders[0]

        def side_by_side(layer):
            compute = STACKED[type(layer).__name__]
            drop = self._dropper(layer, training)
            weights = [ops.cast(weight, layer.compute_dtype) for weight in self.weights_of[layer.name]]
            return lambda *xs, **how: compute(layer, weights, drop, *(_cast_all(x, layer.compute_dtype) for x in xs))

        return first._run_through_graph(seen, operation_fn=side_by_side)

    def regularisation(self):
        """Tensor (G,): each encoder's regularisation, or None where there is none."""
        each = []
        for layer in self.encoders[0].layers:
            penalty = getattr(layer, "kernel_regularizer", None)
            if penalty:
                kernel = self.weights_of[layer.name][0]
                axes = tuple(range(1, len(kernel.shape)))
                each.append(penalty.l1 * ops.sum(ops.abs(kernel), axes) + penalty.l2 * ops.sum(ops.square(kernel), axes))
        return sum(each) if each else None

    def pairs(self):
        """List of (stacked weight, list of the G encoders' own weights)."""
        found = []
        for k, layer in enumerate(self.encoders[0].layers):
            own = [encoder.layers[k].trainable_variables for encoder in self.encoders]
            found += zip(self.weights_of[layer.name], (list(weights) for weights in zip(*own)))
        return found

    def seeds(self):
        """List of (variable (G, 2), list of the states (2,) of the G encoders' dropout generators)."""
        layers = enumerate(self.encoders[0].layers)
        return [
            (self.seeds_of[layer.name], _dropout_states(self.encoders, k)) for k, layer in layers if layer.name in self.seeds_of
        ]

    def _dropper(self, layer, training):
        """Function that drops from x (G, ...) in training what the G encoders would drop."""
        seeds = self.seeds_of.get(layer.name)

        def drop(x):
            if not training or seeds is None:
                return x
            return x * masks(seeds, ops.shape(x)[1:], _dropout(layer).rate, x.dtype)

        return drop


def _dropout(layer):
    """The dropout layer that a layer is, or that is within it."""
    return getattr(layer, "drop", layer)


def _dropout_states(encoders, k):
    """The states (2,) of the generators by which the k-th layers of encoders drop; none where nothing is dropped."""
    found = [_dropout(encoder.layers[k]) for encoder in encoders]
    drops = isinstance(found[0], keras.layers.Dropout) and found[0].rate
    return [dropout.seed_generator.state for dropout in found] if drops else []


def _cast_all(x, dtype):
    return keras.tree.map_structure(lambda tensor: ops.cast(tensor, dtype), x)


def _product(x, kernels):
    """(G, B, ..., inputs) x (G, inputs, outputs) -> (G, B, ..., outputs)."""
    count, inputs, outputs = kernels.shape
    rows = ops.reshape(x, (count, -1, inputs))
    found = ops.expand_dims(ops.matmul(rows[0], kernels[0]), 0) if count == 1 else ops.matmul(rows, kernels)
    return ops.reshape(found, (*ops.shape(x)[:-1], outputs))


def _to_rank(weights, rank):
    """(G, ..., width) with ones put in after G, to be added to something of that rank."""
    return ops.reshape(weights, (weights.shape[0], *(1,) * (rank - len(weights.shape)), *weights.shape[1:]))


def _dense(layer, weights, drop, x):
    del drop
    x = _product(x, weights[0])
    return layer.activation(x + _to_rank(weights[1], len(x.shape)))


def _flatten(layer, weights, drop, x):
    del layer, weights, drop
    return ops.reshape(x, (*ops.shape(x)[:2], math.prod(x.shape[2:])))


def _class_token_and_positions(layer, weights, drop, tokens):
    del layer, drop
    class_token, positions = weights
    count, _, _, width = tokens.shape
    first = ops.broadcast_to(class_token, (count, ops.shape(tokens)[1], 1, width))
    return ops.concatenate([first, tokens], axis=2) + positions


def _layer_normalization(layer, weights, drop, x):
    del drop
    plain = ops.layer_normalization(x, axis=-1, epsilon=layer.epsilon)
    gamma, beta = (_to_rank(weight, len(x.shape)) for weight in weights)
    return ops.cast(plain * gamma + beta, layer.compute_dtype)


def _self_attention(layer, weights, drop, tokens):
    qkv_kernel, qkv_bias, out_kernel, out_bias = weights
    heads, key_dim = layer.heads, layer.key_dim
    count, _, length, width = tokens.shape
    inner = heads * key_dim

    def project(x, kernel, bias):
        parts = kernel.shape[2] // inner
        x = _product(x, kernel) + _to_rank(bias, 4)
        x = ops.reshape(x, (count, -1, x.shape[2], parts, heads, key_dim))
        return ops.unstack(ops.transpose(x, (3, 0, 1, 4, 2, 5)))  # each (G, B, heads, tokens, key_dim)

    if layer.first_only:
        of_query, of_rest = ops.split(qkv_kernel, [inner], axis=2)
        query_bias, rest_bias = ops.split(qkv_bias, [inner], axis=1)
        query = project(tokens[:, :, :1], of_query, query_bias)[0]
        key, value = project(tokens, of_rest, rest_bias)
    else:
        query, key, value = project(tokens, qkv_kernel, qkv_bias)
    scores = ops.matmul(query * (1 / math.sqrt(key_dim)), ops.transpose(key, (0, 1, 2, 4, 3)))
    gathered = ops.matmul(drop(ops.softmax(scores, axis=-1)), value)
    gathered = ops.reshape(ops.transpose(gathered, (0, 1, 3, 2, 4)), (count, -1, inner))
    outputs = _product(gathered, out_kernel) + _to_rank(out_bias, 3)
    return outputs if layer.first_only else ops.reshape(outputs, (count, -1, length, width))


STACKED = {
    "InputLayer": None,  # not computed
    "Flatten": _flatten,
    "Dense": _dense,
    "Activation": lambda layer, weights, drop, x: layer.activation(x),
    "Dropout": lambda layer, weights, drop, x: drop(x),
    "LayerNormalization": _layer_normalization,
    "Add": lambda layer, weights, drop, xs: sum(xs[1:], start=xs[0]),
    "ClassTokenAndPositions": _class_token_and_positions,
    "SelfAttention": _self_attention,
    "FirstToken": lambda layer, weights, drop, x: x[:, :, 0],
}
"""Layer type -> function (layer, its stacked weights, dropper, inputs (G, B, ...)) -> outputs (G, B, ...)."""
