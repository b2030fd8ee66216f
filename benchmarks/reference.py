"""The loss from the tensor of all differences, (B, B, D, N, N): the equations word for word, and what they cost that way."""

import keras
from keras import ops


def reference_loss(embeddings, temperature, graph, stop_gradient):
    """Equation 5 of the paper from every difference of every pair of encoders.

    Args:
        embeddings: tensor (B, N, D).
        temperature: scale of the squared distances [tau].
        graph: `InteractionGraph`.
        stop_gradient: True: an edge (i, j) sends a gradient to encoder i only.

    Returns:
        Scalar tensor.
    """
    pulled = ops.transpose(embeddings, (0, 2, 1))  # (B, D, N)
    target = ops.stop_gradient(pulled) if stop_gradient else pulled
    differences = pulled[:, None, :, :, None] - target[None, :, :, None, :]  # sample m of i, sample b of j: (B, B, D, N, N)
    logits = -ops.sum(ops.square(differences), axis=2) / temperature
    batch = ops.shape(embeddings)[0]
    own = ops.sum(logits * ops.eye(batch)[:, :, None, None], axis=0)
    per_pair = ops.mean(ops.logsumexp(logits, axis=0) - own, axis=0)
    return ops.sum(per_pair * ops.convert_to_tensor(graph.matrix(), dtype=embeddings.dtype))


@keras.saving.register_keras_serializable("closer_tf_benchmarks")
class ReferenceLoss(keras.losses.Loss):
    """`reference_loss` as an objective for `CLoSeR.compile`.

    Args:
        temperature, graph, stop_gradient: as in `reference_loss`.
    """

    term_names = ()

    def __init__(self, temperature, graph, stop_gradient=False, **kwargs):
        super().__init__(name="reference", reduction=None)
        self.temperature, self.graph, self.stop_gradient = temperature, graph, stop_gradient

    def terms(self, embeddings, labels=None):
        """dict with the `loss`."""
        return {"loss": reference_loss(embeddings, self.temperature, self.graph, self.stop_gradient)}

    def call(self, y_true, y_pred):
        """The loss of embeddings `y_pred`."""
        return self.terms(y_pred)["loss"]
