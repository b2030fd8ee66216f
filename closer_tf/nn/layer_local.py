"""Layer-local learning (beyond the paper): each layer of each encoder has an objective of its own; no gradient crosses a layer.

Layer l sees sg(h_i^(l-1)), the activity of the layer below without its gradient, and

    L = sum over layers l of  L_objective({h_i^l}_i)

with h_i^l after the non-linearity and before dropout; the last layer's is the embedding.
"""

from __future__ import annotations

from typing import Any, Self

import keras
from keras import ops

from closer_tf.common.values import Tensor
from closer_tf.graphs import InteractionGraph
from closer_tf.nn.ensemble import CLoSeR, Stack
from closer_tf.nn.objectives import Objective

CHAINED = (
    keras.layers.InputLayer,
    keras.layers.Flatten,
    keras.layers.Dense,
    keras.layers.Activation,
    keras.layers.Dropout,
)
"""The kinds of layers that encoders may consist of, one after the other."""


@keras.saving.register_keras_serializable("closer_tf")
class LayerLocal(Objective):
    """An objective at every layer of the encoders, for the model that its `training_model` makes.

    Args:
        objective: `Objective` on embeddings alone, such as `CLoSeRLoss` or `TemporalLoss`. A temperature that it has is that of
            the last layer; those of others are as many times as large as the layers are wide. `None`, 10 D, is 10 D_l.
        num_layers: layers of each encoder, hidden ones and the last.
    """

    needs_outputs = ("layers",)

    def __init__(self, objective: Objective, num_layers: int, name: str = "layer_local", **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        if objective.needs_outputs:
            raise ValueError(f"objective: expected one on embeddings alone, found {type(objective).__name__}")
        for part in ("after_step", "training_model"):
            if getattr(type(objective), part) is not getattr(Objective, part):
                raise ValueError(f"objective: {type(objective).__name__} has a {part} of its own, which layers do not call")
        self.objective, self.num_layers = objective, num_layers

    @property
    def term_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """The terms of the last layer, and the loss of each layer, counted from 1."""
        return (*self.objective.term_names, *(f"loss_of_layer_{depth + 1}" for depth in range(self.num_layers)))

    @property
    def needs_previous(self) -> bool:  # type: ignore[override]
        """Whether it needs windows of consecutive bins."""
        return self.objective.needs_previous

    @property
    def learns_from_one(self) -> bool:  # type: ignore[override]
        """Whether a sample alone in its batch has a loss to learn from."""
        return self.objective.learns_from_one

    @property
    def at_rest(self) -> tuple[int, ...]:  # type: ignore[override]
        """The encoders that the objective never moves."""
        return self.objective.at_rest

    @property
    def graph(self) -> InteractionGraph | None:
        """The objective's interaction graph, where it has one."""
        return getattr(self.objective, "graph", None)

    def training_model(self, ensemble: CLoSeR, num_labels: int = 0, seed: int = 0) -> CLoSeR:
        """The ensemble's layers, with no gradient from one to the one below.

        Its outputs are a dict: `embeddings` (B, N, D) and `layers`, a list of activities (B, N, D_l), the embeddings last.

        Raises:
            ValueError: an encoder is no chain of dense layers, or layers of one depth differ in width.
        """
        layers = layers_of(ensemble)
        if len(layers) != self.num_layers:
            raise ValueError(f"layers: expected {self.num_layers} in every encoder, found {len(layers)}")
        return type(ensemble)(ensemble.input, {"embeddings": layers[-1], "layers": layers}, name="layer_local")

    def terms(self, outputs: dict[str, Any], labels: Tensor = None) -> dict[str, Tensor]:
        """dict of scalars: `loss`, the sum over layers, the terms of the last layer, and each layer's loss."""
        layers = outputs["layers"]
        each = [self.objective.at_width(x.shape[-1], layers[-1].shape[-1]).terms(x, labels) for x in layers]
        losses = {f"loss_of_layer_{depth + 1}": ops.stop_gradient(terms["loss"]) for depth, terms in enumerate(each)}
        return {**each[-1], **losses, "loss": sum(terms["loss"] for terms in each)}

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the objective from, as plain data."""
        objective = keras.saving.serialize_keras_object(self.objective)
        return {"name": self.name, "objective": objective, "num_layers": self.num_layers}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The objective that `get_config` described."""
        return cls(**{**config, "objective": keras.saving.deserialize_keras_object(config["objective"])})


def layers_of(ensemble: CLoSeR) -> list[keras.KerasTensor]:
    """The activities of an ensemble's layers, with no gradient from one to the one below.

    Args:
        ensemble: `CLoSeR` model.

    Returns:
        List of symbolic outputs (batch, N, D_l) of `ensemble.input`, one for each layer, the embeddings last.

    Raises:
        ValueError: an encoder is no chain of dense layers, or the encoders' layers differ in number or width.
    """
    activities = []
    for i, encoder in enumerate(ensemble.encoders):
        seen = ensemble.get_layer(f"receptive_field_{i}").output
        activities.append(keras.tree.flatten(_layer_by_layer(encoder, i)(seen)))
    counts = sorted({len(of_encoder) for of_encoder in activities})
    if len(counts) > 1:
        raise ValueError(f"layers: expected as many in every encoder, found {counts}")
    layers = []
    for depth, of_layer in enumerate(zip(*activities)):
        widths = sorted({activity.shape[-1] for activity in of_layer})
        if len(widths) > 1:
            raise ValueError(f"layers: layer {depth + 1} needs one width in all encoders, found {widths}")
        layers.append(Stack(name=f"layer_{depth + 1}")(list(of_layer)))
    return layers


def _layer_by_layer(encoder, i):
    """A model of an encoder's own layers that gives the activity of each, with no gradient from one to the one below."""
    for layer in encoder.layers:
        if not isinstance(layer, CHAINED):
            raise ValueError(
                f"layers: expected encoders of dense layers, one after the other, such as mlp; layer "
                f"'{layer.name}' of encoder {i} is a {type(layer).__name__}"
            )
    activities = []

    def call(layer, *args, **kwargs):
        activity = layer(*args, **kwargs)
        if layer is encoder.layers[-1] or not _is_non_linear(layer):
            return activity
        activities.append(activity)
        return ops.stop_gradient(activity)

    chain = keras.models.clone_model(encoder, clone_function=lambda layer: layer, call_function=call)
    return keras.Model(chain.input, [*activities, chain.output], name=f"local_{i}")


def _is_non_linear(layer):
    return isinstance(layer, (keras.layers.Activation, keras.layers.Dense)) and layer.activation is not keras.activations.linear
