"""What an objective is, a Keras loss over whole batches with what it owns beside the encoders; and the paper's own two.

An objective sees the outputs of the model that is fitted: embeddings (B, N, D), of windows (B, bins, N, D), or a dict with
`embeddings` and others where its `training_model` gives more. What it owns are layers of that model: trained ones, such as
heads, and states, such as moving averages, in weights that are not trained. Checkpoints, a resumed run and JAX's compiled steps
hold them like any other weight.

The CLoSeR loss over an interaction graph (paper: equations 1 to 5): for an edge (i, j), the sample b of encoder j is told from
the whole batch of encoder i:

    -log p(mu_i(x_b) | mu_j(x_b)) = log sum_m exp(-d2_ij(m, b) / tau) + d2_ij(b, b) / tau

with d2_ij(m, b) the squared Euclidean distance between mu_i(x_m) and mu_j(x_b). |mu_j(x_b)|^2 is the same in every term of
the sum, so it cancels and only the inner products and |mu_i(x_m)|^2 are computed. `pairwise.py` does that, block by block, with
the gradient in closed form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import keras
import numpy as np
from keras import ops

from closer_tf.common.values import Shape, Tensor, check_settings
from closer_tf.graphs import InteractionGraph, all_to_all
from closer_tf.nn.layers import Heads
from closer_tf.nn.pairwise import pair_loss

if TYPE_CHECKING:
    from closer_tf.nn.ensemble import CLoSeR

# Above this share of all ordered pairs one product over all encoders is faster than one product per edge.
DENSE_FROM_DENSITY = 0.6
MAX_MEMORY_MB = 1024


class Objective(keras.losses.Loss):
    """What the encoders of a `CLoSeR` model minimise.

    One of your own has `terms`, `term_names` and, if it takes arguments, `get_config`; the rest where it needs more. It is
    registered with Keras, so that saved models hold it: `@keras.saving.register_keras_serializable("mine")`.
    """

    term_names: tuple[str, ...] = ()
    """The names of what `terms` gives beside `loss`; they are logged."""
    needs_previous = False
    """Whether it needs windows of consecutive bins."""
    needs_outputs: tuple[str, ...] = ()
    """The outputs that it needs beside `embeddings`, which its `training_model` gives."""
    learns_from_one = False
    """Whether a sample alone in its batch has a loss to learn from."""
    at_rest: tuple[int, ...] = ()
    """The encoders that it never moves. Their weights are not regularised either: they stay at their initialisation."""

    def __init__(self, name: str = "objective", **kwargs: Any) -> None:
        kwargs.pop("reduction", None)  # the loss of a batch is one number already
        super().__init__(name=name, reduction=None, **kwargs)

    def terms(self, outputs: Any, labels: Tensor = None) -> dict[str, Tensor]:
        """The loss of a batch and its parts.

        Args:
            outputs: embeddings (B, N, D), of windows (B, bins, N, D) in time order, or the dict that `training_model` gives.
            labels: tensor (B,); None where there are none.

        Returns:
            dict of scalars: `loss`, which carries the gradient, and one for each of `term_names`.
        """
        raise NotImplementedError(f"{type(self).__name__}: an objective says what it minimises in `terms(outputs, labels)`")

    def training_model(self, ensemble: CLoSeR, num_labels: int = 0, seed: int = 0) -> CLoSeR:
        """The model to fit: the ensemble itself, or one around it with what the objective owns.

        Args:
            ensemble: `CLoSeR` model; its weights are shared, not copied, and it is what is read out and exported.
            num_labels: number of labels in the data.
            seed: int, for the weights that the objective owns.

        Returns:
            `CLoSeR` model from stimuli to embeddings, or to a dict of outputs with `embeddings` among them.
        """
        del num_labels, seed
        return ensemble

    def at_width(self, width: int, embedding_dim: int) -> Objective:
        """The objective for a layer of another width than the embeddings': itself, unless it has a scale that goes with it."""
        del width, embedding_dim
        return self

    def after_step(self, model: CLoSeR) -> None:
        """Bring the objective's states up to date, by `assign` to weights of the model; called after each training step.

        Args:
            model: what `training_model` returned, with the weights after the step.
        """
        del model

    def call(self, y_true: Tensor, y_pred: Any) -> Tensor:
        """The loss of outputs `y_pred`; `y_true` are the labels (B,), which most objectives ignore."""
        return self.terms(y_pred, y_true)["loss"]

    def __call__(self, y_true: Tensor, y_pred: Any, sample_weight: None = None) -> Tensor:
        """As `call`; a batch has one loss, so that there is nothing to weight or reduce."""
        return self.call(y_true, y_pred if isinstance(y_pred, dict) else ops.convert_to_tensor(y_pred))

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the objective from, as plain data."""
        return {"name": self.name}


def training_model(objective: keras.losses.Loss, ensemble: CLoSeR, num_labels: int = 0, seed: int = 0) -> CLoSeR:
    """As `Objective.training_model`, also of a Keras loss that has `terms` and `term_names` alone."""
    make = getattr(objective, "training_model", None)
    return ensemble if make is None else make(ensemble, num_labels, seed)


def after_step(model: CLoSeR) -> None:
    """Let the objective of a compiled model bring its states up to date, if it has any."""
    update = getattr(model.loss, "after_step", None)
    if update is not None:
        update(model)


def state_after_step(model: CLoSeR, state: tuple) -> tuple:
    """As `after_step`, of values instead of variables, as JAX's steps have them.

    Args:
        model: compiled `CLoSeR` model.
        state: values of its trainable variables, of the others, of the optimizer's variables, and further ones, which stay.

    Returns:
        Tuple like `state`.
    """
    groups = model.trainable_variables, model.non_trainable_variables, model.optimizer.variables
    mapping = [pair for variables, values in zip(groups, state) for pair in zip(variables, values)]
    with keras.StatelessScope(state_mapping=mapping) as scope:
        after_step(model)
    return (*([scope.get_current_value(variable) for variable in variables] for variables in groups), *state[len(groups) :])


@keras.saving.register_keras_serializable("closer_tf")
class StepNumber(keras.layers.Layer):
    """How many training steps were done before this one, for an objective that changes with them: (B, ...) -> (B,), float32.

    The objective calls `advance` in its `after_step`.
    """

    def build(self, input_shape: Shape) -> None:
        """Make the counter."""
        del input_shape
        self.steps = self.add_weight(shape=(), initializer="zeros", dtype="int32", trainable=False, name="steps")

    def call(self, x: Tensor) -> Tensor:
        """The number, once for each sample."""
        return ops.broadcast_to(ops.cast(self.steps, "float32"), (ops.shape(x)[0],))

    def advance(self) -> None:
        """One more step is done."""
        self.steps.assign(self.steps + 1)

    def compute_output_spec(self, x: Tensor) -> keras.KerasTensor:
        """One float32 number per sample, whatever the layer computes in."""
        return keras.KerasTensor((x.shape[0],), dtype="float32")


def closer_terms(
    embeddings: Tensor,
    temperature: float,
    graph: InteractionGraph | None = None,
    stop_gradient: bool = False,
    dense: bool | None = None,
    max_memory_mb: float = MAX_MEMORY_MB,
    push: InteractionGraph | None = None,
    push_weight: float = 1.0,
) -> dict[str, Tensor]:
    """The CLoSeR loss of a batch and the parts it consists of.

    Args:
        embeddings: tensor (B, N, D), the embeddings of B samples by N encoders.
        temperature: scale of the squared distances [tau], > 0.
        graph: `InteractionGraph` over the N encoders. Default: all-to-all.
        stop_gradient: True: an edge (i, j) sends a gradient to encoder i only.
        dense: compute all pairs (True) or only the graph's edges (False). Default: whichever is faster.
        max_memory_mb: most memory, in MiB, for what is computed per pair of samples, whatever N and B; beside it are embeddings
            and their gradient, B N D floats each.
        push: `InteractionGraph` whose edges (i, j) push encoder i away from being recognised by encoder j: mean -log(1 -
            p(mu_i(x_b) | mu_j(x_b))). Default: none, as in the paper.
        push_weight: its weight in the loss; 0 is no push.

    Returns:
        dict of scalars: `loss` (equation 5, and the weighted push), and its parts `attraction` (mean d2_ij(b, b) / tau) and
        `contrast` (mean log sum_m exp(-d2_ij(m, b) / tau)), which add up to equation 5, and `push` where there is one. Only
        `loss` carries a gradient, and that only once.

    Raises:
        ValueError: the embeddings are not (B, N, D) with the graph's N, or a setting is out of its bounds.
    """
    check_settings(temperature=temperature, max_memory_mb=max_memory_mb, push_weight=push_weight)
    shape = tuple(embeddings.shape)
    if len(shape) != 3:
        windows = f", of windows of {shape[1]} bins; train on single ones, as `Splits.current()` has them" * (len(shape) == 4)
        raise ValueError(f"expected embeddings of shape (batch, encoders, dimensions), found {shape}{windows}")
    graph = graph or all_to_all(shape[1])
    for name, each in (("graph", graph), ("push graph", push)):
        if each is not None and each.num_encoders != shape[1]:
            raise ValueError(f"the {name} has {each.num_encoders} encoders, the embeddings have {shape[1]}")
    dense_push = dense
    if dense is None:
        dense = graph.density >= DENSE_FROM_DENSITY
    by_encoder = ops.transpose(_centred(embeddings), (1, 0, 2))
    loss = pair_loss(by_encoder, temperature, graph, stop_gradient, dense, max_memory_mb)
    attraction = _attraction(ops.stop_gradient(by_encoder), temperature, graph)
    terms = {"loss": loss, "attraction": attraction, "contrast": ops.stop_gradient(loss) - attraction}
    if push is None or not push_weight:
        return terms
    dense = push.density >= DENSE_FROM_DENSITY if dense_push is None else dense_push
    pushed = pair_loss(by_encoder, temperature, push, stop_gradient, dense, max_memory_mb, push=True)
    return {**terms, "loss": loss + push_weight * pushed, "push": ops.stop_gradient(pushed)}


def _centred(embeddings):
    """Embeddings without their common offset, in at least float32.

    Distances do not change when one vector is subtracted from all embeddings, and inner products stay accurate.
    """
    embeddings = _at_least_float32(embeddings)
    return embeddings - ops.stop_gradient(ops.mean(embeddings, axis=(0, 1), keepdims=True))


def _at_least_float32(x):
    """Tensors of float64 as they are, others in float32."""
    return x if keras.backend.standardize_dtype(x.dtype) == "float64" else ops.cast(x, "float32")


def _attraction(by_encoder, temperature, graph):
    """Weighted mean of d2_ij(b, b) / tau, from the inner products of every pair of encoders over all samples and dimensions."""
    flat = ops.reshape(by_encoder, (graph.num_encoders, -1))
    products = ops.matmul(flat, ops.transpose(flat))
    norms = ops.sum(ops.square(flat), axis=1)
    distances = ops.expand_dims(norms, 1) + norms - 2 * products
    weights = ops.convert_to_tensor(graph.matrix(), dtype=flat.dtype)
    return ops.sum(weights * distances) / (temperature * ops.cast(ops.shape(by_encoder)[1], flat.dtype))


@keras.saving.register_keras_serializable("closer_tf")
class CLoSeRLoss(Objective):
    """The CLoSeR loss as a Keras loss, for `model.compile(loss=CLoSeRLoss(...))`.

    Called on (anything, embeddings) it returns the loss of the batch; `terms` also gives its parts. Labels are not used.

    Args:
        temperature: scale of the squared distances [tau]. Default: 10 D.
        graph: `InteractionGraph`. Default: all-to-all.
        stop_gradient: True: an edge (i, j) moves encoder i only.
        max_memory_mb: most memory, in MiB, for what is computed per pair of samples; see `closer_terms`.
        push: `InteractionGraph` of the edges that push (beyond the paper). Default: none.
        push_weight: weight of the push in the loss [lambda]; 0 is the paper's loss.

    Reference:
        Equations 1 to 5 of the paper.
    """

    def __init__(
        self,
        temperature: float | None = None,
        graph: InteractionGraph | None = None,
        stop_gradient: bool = False,
        max_memory_mb: float = MAX_MEMORY_MB,
        push: InteractionGraph | None = None,
        push_weight: float = 1.0,
        name: str = "closer_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(name, **kwargs)
        check_settings(max_memory_mb=max_memory_mb, push_weight=push_weight)
        if temperature is not None:
            check_settings(temperature=temperature)
        self.temperature = temperature
        self.graph = graph
        self.stop_gradient = stop_gradient
        self.max_memory_mb = max_memory_mb
        self.push = push
        self.push_weight = push_weight

    @property
    def term_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """The parts that are logged."""
        return ("attraction", "contrast") + (("push",) if self.push is not None and self.push_weight else ())

    @property
    def at_rest(self) -> tuple[int, ...]:  # type: ignore[override]
        """The encoders without an edge that sends them a gradient; none where a subclass has terms of its own."""
        if type(self).terms is not CLoSeRLoss.terms:
            return ()
        return at_rest([self.graph, self.push if self.push_weight else None], self.stop_gradient)

    def at_width(self, width: int, embedding_dim: int) -> CLoSeRLoss:
        """The loss for a layer of another width, with a temperature that is as many times as high."""
        if self.temperature is None or width == embedding_dim:
            return self
        temperature = self.temperature * width / embedding_dim
        return CLoSeRLoss(temperature, self.graph, self.stop_gradient, self.max_memory_mb, self.push, self.push_weight)

    def terms(self, embeddings: Tensor, labels: Tensor = None) -> dict[str, Tensor]:
        """dict of scalars with `loss` and its parts for embeddings (B, N, D); see `closer_terms`."""
        del labels
        temperature = self.temperature or 10.0 * embeddings.shape[-1]
        return closer_terms(
            embeddings,
            temperature,
            self.graph,
            self.stop_gradient,
            max_memory_mb=self.max_memory_mb,
            push=self.push,
            push_weight=self.push_weight,
        )

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the loss from, as plain data."""
        return {
            "name": self.name,
            "temperature": self.temperature,
            "graph": graph_to_config(self.graph),
            "stop_gradient": self.stop_gradient,
            "max_memory_mb": self.max_memory_mb,
            "push": graph_to_config(self.push),
            "push_weight": self.push_weight,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The loss that `get_config` described."""
        return cls(**{**config, **{key: graph_from_config(config.get(key)) for key in ("graph", "push")}})


def at_rest(graphs: list[InteractionGraph | None], stop_gradient: bool) -> tuple[int, ...]:
    """The encoders that no edge of any graph sends a gradient.

    Args:
        graphs: list of `InteractionGraph`; the first may be None for all-to-all, others for none.
        stop_gradient: whether an edge (i, j) moves encoder i only.
    """
    if graphs[0] is None:
        return ()
    edges = np.concatenate([graph.edges for graph in graphs if graph is not None])
    moved = edges[:, 0] if stop_gradient else edges
    return tuple(np.setdiff1d(np.arange(graphs[0].num_encoders), moved).tolist())


def graph_to_config(graph: InteractionGraph | None) -> dict[str, Any] | None:
    """An `InteractionGraph`, or None, as plain data."""
    if graph is None:
        return None
    return {
        "num_encoders": graph.num_encoders,
        "edges": graph.edges.tolist(),
        "weights": graph.weights.tolist(),
        "family": graph.family,
    }


def graph_from_config(config: dict[str, Any] | None) -> InteractionGraph | None:
    """The graph that `graph_to_config` described."""
    return None if config is None else InteractionGraph(**config)


@keras.saving.register_keras_serializable("closer_tf")
class SupervisedLoss(Objective):
    """Independent cross-entropy of every encoder's own linear head (paper: equation 14).

    It owns the heads: the outputs of its `training_model` are a dict with `logits` (B, N, labels).
    """

    term_names = ("accuracy",)
    needs_outputs = ("logits",)

    def __init__(self, name: str = "supervised_loss", **kwargs: Any) -> None:
        super().__init__(name, **kwargs)

    def training_model(self, ensemble: CLoSeR, num_labels: int = 0, seed: int = 0) -> CLoSeR:
        """The ensemble with a linear head per encoder; see `Objective.training_model`."""
        embeddings = ensemble.output
        logits = Heads(num_labels, seed, name="heads")(embeddings)
        return type(ensemble)(ensemble.input, {"embeddings": embeddings, "logits": logits}, name="supervised")

    def terms(self, outputs: dict[str, Tensor], labels: Tensor = None) -> dict[str, Tensor]:
        """dict of scalars: `loss`, the mean cross-entropy over encoders and samples, and the heads' mean `accuracy`."""
        logits = _at_least_float32(outputs["logits"])
        labels = ops.reshape(ops.cast(_one_per_sample(labels), "int32"), (-1, 1))
        targets = ops.broadcast_to(labels, ops.shape(logits)[:2])
        loss = keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)
        hits = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=2), "int32"), targets), "float32")
        return {"loss": ops.mean(loss), "accuracy": ops.mean(hits)}


def _one_per_sample(labels):
    """Labels (B,) or (B, 1), as they are.

    Raises:
        ValueError: there are none, or they have another shape.
    """
    if labels is None:
        raise ValueError("y: SupervisedLoss needs the labels of the samples, an array of integers (samples,); found none")
    if len(labels.shape) == 1 or (len(labels.shape) == 2 and labels.shape[1] == 1):
        return labels
    raise ValueError(
        f"y: expected one integer label per sample, (samples,), found shape {tuple(labels.shape)}; of one-hot rows take "
        f"y.argmax(axis=1)"
    )


def collapse_gauge(embeddings: Tensor) -> dict[str, Tensor]:
    """Two numbers that go to zero, and to one, when an ensemble collapses onto a point, or onto a line.

    Args:
        embeddings: tensor (B, N, D), or of windows (B, bins, N, D), of which the last bin counts.

    Returns:
        dict of scalars, means over encoders: `embedding_sd`, the standard deviation over the batch, averaged over dimensions;
        `effective_rank`, the participation ratio (tr C)^2 / tr(C^2) of the covariance C over the batch, between 1 and D.
    """
    current = embeddings[:, -1] if len(embeddings.shape) == 4 else embeddings
    x = ops.transpose(ops.stop_gradient(ops.cast(current, "float32")), (1, 0, 2))
    x = x - ops.mean(x, axis=1, keepdims=True)
    variance = ops.mean(ops.square(x), axis=1)
    gram = ops.matmul(x, ops.transpose(x, (0, 2, 1)))  # has the eigenvalues of B C, and B is often smaller than D
    trace = ops.sum(ops.square(x), axis=(1, 2))
    rank = ops.square(trace) / ops.maximum(ops.sum(ops.square(gram), axis=(1, 2)), 1e-30)
    return {"embedding_sd": ops.mean(ops.sqrt(variance)), "effective_rank": ops.mean(rank)}
