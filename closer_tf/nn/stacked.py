"""Encoders of equal architecture computed together: their own `call`, mapped over stacked weights (G, ...).

What a layer does stands in the layer alone; the backend's `vectorized_map` turns G products into one. The states of the
encoders (dropout's generators, moving averages) lie side by side too, so that each encoder does what it would do alone.
"""

import json

import keras
from keras import ops

from closer_tf.common.quiet import unsaid

OWN = {"name", "seed", "init_seed", "dropout_seed", "kernel_initializer", "bias_initializer"}  # what equal layers may differ in
LOOPS = "Using a while_loop for converting"  # TensorFlow, of operations that it maps one by one, such as random numbers


def architecture(encoder):
    """What two encoders must agree in to be stacked: their layers without names and seeds, and their input (hashable)."""
    layers = [
        [type(layer).__name__, _without_own(layer.get_config()), [list(weight.shape) for weight in layer.variables]]
        for layer in encoder.layers
    ]
    return json.dumps([list(encoder.input_shape[1:]), layers], default=str, sort_keys=True)


def _without_own(config):
    """A layer's config without what equal layers may differ in, also of layers within it."""
    if isinstance(config, dict):
        return {key: _without_own(value) for key, value in config.items() if key not in OWN}
    return [_without_own(value) for value in config] if isinstance(config, (list, tuple)) else config


class StackedEncoders(keras.layers.Layer):
    """G encoders of equal architecture as one layer: what they see (G, B, cells, values) -> embeddings (G, B, D).

    Args:
        encoders: list of G built Keras models. They are not touched, and this layer's variables (G, ...) start at zero: see
            `FusedEnsembles.gather`.
    """

    def __init__(self, encoders, **kwargs):
        super().__init__(**kwargs)
        self.__dict__["encoders"] = list(encoders)  # past Keras's tracking: their weights are not this layer's
        first = self.encoders[0]
        self.__dict__["weights_of"] = [self._stacked(weight, trainable=True) for weight in first.trainable_variables]
        self.__dict__["states_of"] = [self._stacked(state, trainable=False) for state in first.non_trainable_variables]
        self.__dict__["penalties"] = None
        self.built = True

    def _stacked(self, variable, trainable):
        return self.add_weight(
            shape=(len(self.encoders), *variable.shape),
            initializer="zeros",
            dtype=variable.dtype,
            trainable=trainable,
            autocast=False,  # the encoders' layers cast
            name=variable.path.replace("/", "_"),
        )

    def call(self, seen, training=False):
        """The embeddings."""

        def one(weights, states, x):
            return self.encoders[0].stateless_call(weights, states, x, training=training, return_losses=True)

        arguments = [ops.convert_to_tensor(weight) for weight in self.weights_of], [state * 1 for state in self.states_of], seen
        if len(self.encoders) == 1:
            alone = keras.tree.map_structure(lambda values: values[0], arguments)
            found = keras.tree.map_structure(lambda value: ops.expand_dims(value, 0), one(*alone))
        else:
            with unsaid(LOOPS):
                found = ops.vectorized_map(lambda each: one(*each), arguments)
        embeddings, states, penalties = found
        for variable, state in zip(self.states_of, states):
            variable.assign(state)
        self.__dict__["penalties"] = sum(penalties) if penalties else None
        return embeddings

    def regularisation(self):
        """Tensor (G,): each encoder's regularisation in the last call, or None where there is none."""
        return self.penalties

    def pairs(self):
        """List of (stacked weight, list of the G encoders' own weights)."""
        return list(zip(self.weights_of, zip(*(encoder.trainable_variables for encoder in self.encoders))))

    def states(self):
        """As `pairs`, of what is not trained: the states of dropout's generators, moving averages."""
        return list(zip(self.states_of, zip(*(encoder.non_trainable_variables for encoder in self.encoders))))
