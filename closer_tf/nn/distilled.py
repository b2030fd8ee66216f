"""Self-distillation in place of contrast (beyond the paper): every encoder predicts what the others say, and nothing pushes.

With h_i a small predictor of encoder i that is trained with it, z(x) = x / |x|, sg stop-gradient and w the edges' weights:

    L = sum over edges (i, j) of w_ij mean over b of  2 - 2 z(h_i(mu_i(x_b))) . sg z(t_j(x_b))

t_j is encoder j itself (Chen and He 2021, SimSiam), or an exponential moving average of its weights, without dropout (Grill et
al. 2020, BYOL). The loss is local in the batch: it is the mean of its samples' losses.
"""

from __future__ import annotations

from typing import Any, Self

import keras
import numpy as np
from keras import ops

from closer_tf.common.values import Tensor, check_settings
from closer_tf.graphs import InteractionGraph, all_to_all
from closer_tf.nn.encoders import gelu
from closer_tf.nn.ensemble import CLoSeR, Stack
from closer_tf.nn.layers import Heads
from closer_tf.nn.objectives import Objective, at_rest, graph_from_config, graph_to_config

TINY = 1e-12  # added to squared lengths, so that a zero vector has a gradient


@keras.saving.register_keras_serializable("closer_tf")
class DistilledLoss(Objective):
    """Self-distillation over an interaction graph, for the model that its `training_model` makes.

    Args:
        graph: `InteractionGraph`: encoder i predicts what encoder j says. Default: all-to-all.
        momentum: share of the old weights in the moving average that is predicted, updated after each step. None: encoder j
            itself is predicted.
        hidden: width of the predictors' hidden layer. Default: D / 2.
        batch_norm: normalise that layer over the batch, which makes samples depend on each other; a batch then holds two.
    """

    term_names = ("similarity",)
    needs_outputs = ("predictions",)

    def __init__(
        self,
        graph: InteractionGraph | None = None,
        momentum: float | None = None,
        hidden: int | None = None,
        batch_norm: bool = False,
        name: str = "distilled_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(name, **kwargs)
        if momentum is not None:
            check_settings(momentum=momentum)
        if hidden is not None:
            check_settings(hidden=hidden)
        self.graph, self.momentum, self.hidden, self.batch_norm = graph, momentum, hidden, batch_norm

    @property
    def learns_from_one(self) -> bool:  # type: ignore[override]
        """Whether a sample alone in its batch has a loss to learn from: not where batches are normalised."""
        return not self.batch_norm

    @property
    def at_rest(self) -> tuple[int, ...]:  # type: ignore[override]
        """The encoders that predict no other."""
        return at_rest([self.graph], stop_gradient=True)

    def training_model(self, ensemble: CLoSeR, num_labels: int = 0, seed: int = 0) -> CLoSeR:
        """The ensemble with its predictors and, with `momentum`, the moving averages of its encoders.

        Its outputs are a dict: `embeddings`, `predictions` and `targets`, each (B, N, D); the latter with `momentum` alone.
        """
        embeddings = ensemble.output
        _, encoders, width = embeddings.shape
        hidden = self.hidden or max(1, width // 2)
        first, second = (int(number) for number in np.random.SeedSequence(seed).generate_state(2) >> 1)
        x = Heads(hidden, first, name="predictor_hidden")(embeddings)
        if self.batch_norm:
            x = keras.layers.Reshape((encoders * hidden,), name="predictor_joined")(x)
            x = keras.layers.BatchNormalization(name="predictor_normalisation")(x)
            x = keras.layers.Reshape((encoders, hidden), name="predictor_apart")(x)
        x = keras.layers.Activation(gelu, name="predictor_gelu")(x)
        outputs = {"embeddings": embeddings, "predictions": Heads(width, second, name="predictor")(x)}
        if self.momentum is not None:
            outputs["targets"] = _moving_averages(ensemble)
        return type(ensemble)(ensemble.input, outputs, name="with_predictors")

    def after_step(self, model: CLoSeR) -> None:
        """Bring the moving averages up to date."""
        share = self.momentum
        if share is None:
            return
        for i, encoder in enumerate(model.encoders):
            for average, weight in zip(model.get_layer(f"target_{i}").weights, encoder.weights, strict=True):
                average.assign(share * average + (1 - share) * weight)

    def terms(self, outputs: dict[str, Tensor], labels: Tensor = None) -> dict[str, Tensor]:
        """dict of scalars: `loss`, and `similarity`, the mean cosine between what is predicted and what is said."""
        del labels
        predictions = _directions(outputs["predictions"])
        if len(predictions.shape) != 3:
            raise ValueError(f"expected predictions of shape (batch, encoders, dimensions), found {tuple(predictions.shape)}")
        targets = ops.stop_gradient(_directions(outputs.get("targets", outputs["embeddings"])))
        graph = self.graph or all_to_all(predictions.shape[1])
        weights = ops.convert_to_tensor(graph.matrix(), dtype=predictions.dtype)
        similarity = ops.mean(ops.sum(predictions * ops.einsum("ij,bjd->bid", weights, targets), axis=(1, 2)))
        return {"loss": 2 - 2 * similarity, "similarity": ops.stop_gradient(similarity)}

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the loss from, as plain data."""
        return {
            "name": self.name,
            "graph": graph_to_config(self.graph),
            "momentum": self.momentum,
            "hidden": self.hidden,
            "batch_norm": self.batch_norm,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The loss that `get_config` described."""
        return cls(**{**config, "graph": graph_from_config(config.get("graph"))})


def _moving_averages(ensemble):
    """What copies of the encoders, whose weights are not trained, say of what the encoders see: symbolic, (batch, N, D)."""
    said = []
    for i, encoder in enumerate(ensemble.encoders):
        copy = keras.models.clone_model(encoder)
        copy.set_weights(encoder.get_weights())
        copy.trainable, copy.name = False, f"target_{i}"
        embedding = copy(ensemble.get_layer(f"receptive_field_{i}").output, training=False)
        said.append(embedding[:, -1] if len(embedding.shape) == 3 else embedding)  # over windows: the current bin
    return Stack(name="targets")(said)


def _directions(x):
    """Vectors of length 1, in at least float32."""
    x = x if keras.backend.standardize_dtype(x.dtype) == "float64" else ops.cast(x, "float32")
    return x * ops.rsqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + TINY)


def distilled_loss(compute: Any, graph: InteractionGraph, momentum: float | None, predictor: Any) -> DistilledLoss:
    """The loss of condition 'distilled', as `closer_tf.config.conditions.Condition.loss` is called."""
    return DistilledLoss(graph, momentum, predictor.hidden, predictor.batch_norm)
