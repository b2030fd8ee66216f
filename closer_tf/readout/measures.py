"""Where the measures of embeddings were: scripts may still import them from here."""

from closer_tf.readout.scores import (
    agreement,
    alignment,
    class_pseudo_likelihood,
    conditional_pseudo_likelihood,
    off_diagonal_mean,
    pseudo_likelihood_temperature,
)

__all__ = [
    "agreement",
    "alignment",
    "class_pseudo_likelihood",
    "conditional_pseudo_likelihood",
    "off_diagonal_mean",
    "pseudo_likelihood_temperature",
]
