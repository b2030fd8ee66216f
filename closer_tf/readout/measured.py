"""The measures of a condition's test embeddings."""

import numpy as np

from closer_tf.readout import measures
from closer_tf.results import ClassPseudoLikelihood, Measures


def measures_of(condition, embeddings, labels, label_names, config):
    """The measures of test embeddings, as results.json holds them.

    Args:
        condition: what was embedded; gives the temperature of the pseudo-likelihood.
        embeddings: array (n, N, D).
        labels: array (n,), ints into `label_names`, or numbers.
        label_names: str per label; empty where labels are numbers.
        config: resolved `RunConfig`.

    Returns:
        `Measures`; without `class_pseudo_likelihood` where labels are numbers, or a class has a single sample.
    """
    seed = config.seeds.readout
    found = Measures(
        alignment=_finite(measures.off_diagonal_mean(measures.alignment(embeddings, seed=seed))),
        agreement=_finite(measures.off_diagonal_mean(measures.agreement(embeddings, seed=seed))),
    )
    if label_names and np.bincount(labels, minlength=len(label_names)).min() >= 2:
        temperature = measures.pseudo_likelihood_temperature(condition, embeddings.shape[2])
        draws = config.readout.pseudo_likelihood_draws
        found.class_pseudo_likelihood = ClassPseudoLikelihood(
            temperature=temperature,
            draws=draws,
            per_encoder=[
                np.round(measures.class_pseudo_likelihood(of_encoder, labels, temperature, draws=draws, seed=seed), 7).tolist()
                for of_encoder in np.moveaxis(embeddings, 1, 0)
            ],
        )
    return found


def _finite(value):
    return value if np.isfinite(value) else None
