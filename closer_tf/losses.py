"""The CLoSeR loss over an interaction graph (paper: equations 1 to 5).

For an edge (i, j), the sample b of encoder j is told from the whole batch of encoder i:

    -log p(mu_i(x_b) | mu_j(x_b)) = log sum_m exp(-d2_ij(m, b) / tau) + d2_ij(b, b) / tau

with d2_ij(m, b) the squared Euclidean distance between mu_i(x_m) and mu_j(x_b). |mu_j(x_b)|^2 is the same in every term of
the sum, so it cancels and only the inner products and |mu_i(x_m)|^2 are computed.
"""

import keras
from keras import ops

from closer_tf.graphs import InteractionGraph, all_to_all

# Above this share of all ordered pairs one product over all encoders is faster than one product per edge.
DENSE_FROM_DENSITY = 0.6


def closer_terms(embeddings, temperature, graph=None, stop_gradient=False, dense=None):
    """The CLoSeR loss of a batch and the two parts it consists of.

    Args:
        embeddings: tensor (B, N, D), the embeddings of B samples by N encoders.
        temperature: scale of the squared distances [tau], > 0.
        graph: `InteractionGraph` over the N encoders. Default: all-to-all.
        stop_gradient: True: an edge (i, j) sends a gradient to encoder i only.
        dense: compute all pairs (True) or only the graph's edges (False). Default: whichever is faster.

    Returns:
        dict of scalars: `loss` (equation 5), and its parts `attraction` (mean d2_ij(b, b) / tau) and `contrast` (mean
        log sum_m exp(-d2_ij(m, b) / tau)), which add up to it.

    Raises:
        ValueError: the embeddings are not (B, N, D) with the graph's N.
    """
    shape = tuple(embeddings.shape)
    if len(shape) != 3:
        raise ValueError(f"expected embeddings of shape (batch, encoders, dimensions), found {shape}")
    graph = graph or all_to_all(shape[1])
    if graph.num_encoders != shape[1]:
        raise ValueError(f"the graph has {graph.num_encoders} encoders, the embeddings have {shape[1]}")
    if dense is None:
        dense = graph.density >= DENSE_FROM_DENSITY
    embeddings = _centred(embeddings)
    pulled = ops.transpose(embeddings, (1, 0, 2))
    targets = ops.stop_gradient(pulled) if stop_gradient else pulled
    per_pair = _all_pairs if dense else _edge_pairs
    loss, attraction = per_pair(pulled, targets, graph, temperature)
    return {"loss": loss, "attraction": attraction, "contrast": loss - attraction}


def _centred(embeddings):
    """Embeddings without their common offset, in at least float32.

    Distances do not change when one vector is subtracted from all embeddings, and inner products stay accurate.
    """
    if keras.backend.standardize_dtype(embeddings.dtype) != "float64":
        embeddings = ops.cast(embeddings, "float32")
    return embeddings - ops.stop_gradient(ops.mean(embeddings, axis=(0, 1), keepdims=True))


def _all_pairs(pulled, targets, graph, temperature):
    num_encoders, batch, dim = graph.num_encoders, ops.shape(pulled)[1], pulled.shape[2]
    weights = ops.convert_to_tensor(graph.matrix(), dtype=pulled.dtype)
    norms = ops.sum(ops.square(pulled), axis=2)
    products = ops.matmul(ops.reshape(targets, (-1, dim)), ops.transpose(ops.reshape(pulled, (-1, dim))))
    logits = (2 * products - ops.reshape(norms, (1, -1))) / temperature
    # (target encoder j, sample b, pulled encoder i, sample m): m is what the softmax runs over
    partition = ops.logsumexp(ops.reshape(logits, (num_encoders, batch, num_encoders, batch)), axis=3)
    same = ops.einsum("jbd,ibd->jbi", targets, pulled)
    own = (2 * same - ops.expand_dims(ops.transpose(norms), 0)) / temperature
    target_norms = ops.expand_dims(ops.sum(ops.square(targets), axis=2), 2) / temperature
    loss = ops.mean(partition - own, axis=1)
    attraction = ops.mean(target_norms - own, axis=1)
    weights = ops.transpose(weights)
    return ops.sum(weights * loss), ops.sum(weights * attraction)


def _edge_pairs(pulled, targets, graph, temperature):
    weights = ops.convert_to_tensor(graph.weights, dtype=pulled.dtype)
    front = ops.take(pulled, graph.edges[:, 0].astype("int32"), axis=0)
    behind = ops.take(targets, graph.edges[:, 1].astype("int32"), axis=0)
    norms = ops.sum(ops.square(front), axis=2)
    products = ops.matmul(behind, ops.transpose(front, (0, 2, 1)))
    # (edge, sample b of the target, sample m of the pulled encoder)
    logits = (2 * products - ops.expand_dims(norms, 1)) / temperature
    partition = ops.logsumexp(logits, axis=2)
    own = (2 * ops.sum(front * behind, axis=2) - norms) / temperature
    loss = ops.mean(partition - own, axis=1)
    attraction = ops.mean(ops.sum(ops.square(behind), axis=2) / temperature - own, axis=1)
    return ops.sum(weights * loss), ops.sum(weights * attraction)


@keras.saving.register_keras_serializable("closer_tf")
class CLoSeRLoss(keras.losses.Loss):
    """The CLoSeR loss as a Keras loss, for `model.compile(loss=CLoSeRLoss(...))`.

    Called on (anything, embeddings) it returns the loss of the batch; `terms` also gives its parts. Labels are not used.

    Args:
        temperature: scale of the squared distances [tau]. Default: 10 D.
        graph: `InteractionGraph`. Default: all-to-all.
        stop_gradient: True: an edge (i, j) moves encoder i only.

    Reference:
        Equations 1 to 5 of the paper.
    """

    term_names = ("attraction", "contrast")

    def __init__(self, temperature=None, graph=None, stop_gradient=False, name="closer_loss", **kwargs):
        kwargs.pop("reduction", None)  # the loss of a batch is one number already
        super().__init__(name=name, reduction=None, **kwargs)
        if temperature is not None and not temperature > 0:
            raise ValueError(f"temperature: expected a number above 0, found {temperature}")
        self.temperature = temperature
        self.graph = graph
        self.stop_gradient = stop_gradient

    def terms(self, embeddings, labels=None):
        """dict of scalars with `loss` and its parts for embeddings (B, N, D); see `closer_terms`."""
        del labels
        temperature = self.temperature or 10.0 * embeddings.shape[-1]
        return closer_terms(embeddings, temperature, self.graph, self.stop_gradient)

    def call(self, y_true, y_pred):
        """The loss of embeddings `y_pred` (B, N, D); `y_true` is ignored."""
        return self.terms(y_pred, y_true)["loss"]

    def __call__(self, y_true, y_pred, sample_weight=None):
        """As `call`; a batch has one loss, so that there is nothing to weight or reduce."""
        return self.call(y_true, ops.convert_to_tensor(y_pred))

    def get_config(self):
        """Arguments to rebuild the loss from, as plain data."""
        return {
            "name": self.name,
            "temperature": self.temperature,
            "graph": graph_to_config(self.graph),
            "stop_gradient": self.stop_gradient,
        }

    @classmethod
    def from_config(cls, config):
        """The loss that `get_config` described."""
        return cls(**{**config, "graph": graph_from_config(config.get("graph"))})


def graph_to_config(graph):
    """An `InteractionGraph`, or None, as plain data."""
    if graph is None:
        return None
    return {
        "num_encoders": graph.num_encoders,
        "edges": graph.edges.tolist(),
        "weights": graph.weights.tolist(),
        "family": graph.family,
    }


def graph_from_config(config):
    """The graph that `graph_to_config` described."""
    return None if config is None else InteractionGraph(**config)


@keras.saving.register_keras_serializable("closer_tf")
class SupervisedLoss(keras.losses.Loss):
    """Independent cross-entropy of every encoder's own linear head (paper: equation 14).

    For a model made by `with_heads`, whose outputs are a dict with `logits` (B, N, labels).
    """

    term_names = ("accuracy",)

    def __init__(self, name="supervised_loss", **kwargs):
        kwargs.pop("reduction", None)
        super().__init__(name=name, reduction=None, **kwargs)

    def terms(self, outputs, labels):
        """dict of scalars: `loss`, the mean cross-entropy over encoders and samples, and the heads' mean `accuracy`."""
        logits = ops.cast(outputs["logits"], "float32")
        targets = ops.broadcast_to(ops.expand_dims(ops.cast(labels, "int32"), 1), ops.shape(logits)[:2])
        loss = keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)
        hits = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=2), "int32"), targets), "float32")
        return {"loss": ops.mean(loss), "accuracy": ops.mean(hits)}

    def call(self, y_true, y_pred):
        """The loss of outputs `y_pred` for labels `y_true` (B,)."""
        return self.terms(y_pred, y_true)["loss"]

    def __call__(self, y_true, y_pred, sample_weight=None):
        """As `call`; a batch has one loss, so that there is nothing to weight or reduce."""
        return self.call(y_true, y_pred)

    def get_config(self):
        """Arguments to rebuild the loss from, as plain data."""
        return {"name": self.name}


def collapse_gauge(embeddings):
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
