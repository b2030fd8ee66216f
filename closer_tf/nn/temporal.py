"""Objectives from temporal contiguity and cross-supervision (paper: equations 6 to 12).

Every objective is a weighted sum of five terms on the embeddings of the current bin, mu(t), and of the one before, mu(t - dt),
through which no gradient flows:

    tpull = mean over i, j != i, t of  || mu_i(t) - mu_j(t - dt) ||^2 / D      pulled towards what the others said just before
    pull  = mean over i, j != i, t of  || mu_i(t) - sg(mu_j(t)) ||^2 / D       pulled towards what the others say now
    cont  = mean over i, t of          || mu_i(t) - mu_i(t - dt) ||^2 / D      slow
    var   = mean over i, k of          -log( var_i^k + 1e-4 )                  no dimension collapses
    cov   = mean over i, k != m of     cov_i(k, m)^2                           no two dimensions say the same
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import keras
from keras import ops

from closer_tf.common.values import Tensor, check_settings
from closer_tf.graphs import all_to_all
from closer_tf.nn.objectives import Objective, at_rest, graph_from_config, graph_to_config

if TYPE_CHECKING:
    from closer_tf.graphs import InteractionGraph

TERMS = ("tpull", "pull", "cont", "var", "cov")


def temporal_terms(
    current: Tensor, previous: Tensor | None, graph: InteractionGraph | None = None, names: Sequence[str] = TERMS
) -> dict[str, Tensor]:
    """The terms of the temporal objectives.

    Args:
        current: tensor (B, N, D), embeddings of the current bin.
        previous: tensor (B, N, D), embeddings of the bin before; not needed for pull, var and cov.
        graph: `InteractionGraph` whose edges weigh the pairs of tpull and pull. Default: all-to-all.
        names: which terms to compute.

    Returns:
        dict of scalars.
    """
    graph = graph or all_to_all(current.shape[1])
    if keras.backend.standardize_dtype(current.dtype) != "float64":
        current = ops.cast(current, "float32")
    if previous is not None:
        previous = ops.stop_gradient(ops.cast(previous, current.dtype))
    terms = {}
    if "tpull" in names:
        terms["tpull"] = _pull(current, previous, graph)
    if "pull" in names:
        terms["pull"] = _pull(current, ops.stop_gradient(current), graph)
    if "cont" in names:
        terms["cont"] = ops.mean(ops.square(current - previous))
    if "var" in names or "cov" in names:
        terms.update(_variance_and_covariance(current, "cov" in names))
    return {name: terms[name] for name in names}


def _pull(current, targets, graph):
    pulled = ops.take(current, graph.edges[:, 0].astype("int32"), axis=1)
    towards = ops.take(targets, graph.edges[:, 1].astype("int32"), axis=1)
    per_edge = ops.mean(ops.square(pulled - towards), axis=(0, 2))
    return ops.sum(ops.convert_to_tensor(graph.weights, dtype=current.dtype) * per_edge)


def _variance_and_covariance(current, with_covariance):
    # Deviations from a mean sum to zero, so a stop-gradient on the mean changes nothing; it saves computing.
    deviation = current - ops.stop_gradient(ops.mean(current, axis=0, keepdims=True))
    freedom = ops.cast(ops.maximum(ops.shape(current)[0] - 1, 1), current.dtype)
    variance = ops.sum(ops.square(deviation), axis=0) / freedom
    terms = {"var": ops.mean(-ops.log(variance + 1e-4))}
    if with_covariance:
        dim = current.shape[2]
        by_encoder = ops.transpose(deviation, (1, 0, 2))
        covariance = ops.matmul(ops.transpose(by_encoder, (0, 2, 1)), by_encoder) / freedom
        off_diagonal = ops.sum(ops.square(covariance)) - ops.sum(ops.square(variance))
        terms["cov"] = off_diagonal / (current.shape[1] * max(dim * (dim - 1), 1))
    return terms


@keras.saving.register_keras_serializable("closer_tf")
class TemporalLoss(Objective):
    """A weighted sum of temporal terms, for `model.compile(loss=TemporalLoss(...))` and `fit` on windows (B, 2, units).

    Args:
        weights: dict term -> weight; terms that are absent or weigh 0 are not computed. Default: TCLoSeR.
        graph: `InteractionGraph` whose edges weigh the pairs of tpull and pull. Default: all-to-all.

    Reference:
        Equations 6 to 12 of the paper.
    """

    def __init__(
        self,
        weights: Mapping[str, float | None] | None = None,
        graph: InteractionGraph | None = None,
        name: str = "temporal_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(name, **kwargs)
        weights = _of_tcloser() if weights is None else weights
        unknown = set(weights) - set(TERMS)
        if unknown:
            raise ValueError(f"weights: unknown terms {sorted(unknown)}; expected some of {', '.join(TERMS)}")
        check_settings(**{name: weight for name, weight in weights.items() if weight is not None})
        self.weights = {name: float(weight) for name in TERMS if (weight := weights.get(name))}
        if not self.weights:
            raise ValueError("weights: at least one term needs a weight other than 0")
        self.graph = graph

    @property
    def term_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """The terms that are computed and logged."""
        return tuple(self.weights)

    @property
    def needs_previous(self) -> bool:  # type: ignore[override]
        """Whether a term looks at the bin before."""
        return "tpull" in self.weights or "cont" in self.weights

    @property
    def at_rest(self) -> tuple[int, ...]:  # type: ignore[override]
        """The encoders that no edge pulls, where no other term moves them."""
        return at_rest([self.graph], stop_gradient=True) if {*self.weights} <= {"tpull", "pull"} else ()

    def terms(self, embeddings: Tensor, labels: Tensor = None) -> dict[str, Tensor]:
        """dict of scalars with `loss` and its terms for embeddings of windows (B, 2, N, D), in time order.

        Embeddings of single bins (B, N, D) will do where no term needs the bin before.
        """
        del labels
        if len(embeddings.shape) == 3 and not self.needs_previous:
            current, previous = embeddings, None
        elif len(embeddings.shape) == 4 and embeddings.shape[1] >= 2:
            current, previous = embeddings[:, -1], embeddings[:, -2]
        else:
            raise ValueError(
                "expected embeddings of windows, (batch, at least 2 bins, encoders, dimensions), found shape "
                f"{tuple(embeddings.shape)}"
            )
        terms = temporal_terms(current, previous, self.graph, self.term_names)
        return {"loss": sum(weight * terms[name] for name, weight in self.weights.items()), **terms}

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the loss from, as plain data."""
        return {"name": self.name, "weights": self.weights, "graph": graph_to_config(self.graph)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The loss that `get_config` described."""
        return cls(**{**config, "graph": graph_from_config(config.get("graph"))})


def _of_tcloser():
    """The paper's weights of TCLoSeR."""
    from closer_tf.config.conditions import CONDITIONS  # not at the top: `import closer_tf` stays quick

    return CONDITIONS["tcloser"].weights


def temporal_loss(compute: Any, weights: Mapping[str, float | None], graph: InteractionGraph | None = None) -> TemporalLoss:
    """The loss of the conditions with temporal terms, as `closer_tf.config.conditions.Condition.loss` is called."""
    return TemporalLoss(weights, graph)
