"""Pictures of runs, drawn from plain data alone; the one place that draws with matplotlib. Never imports TensorFlow.

Every function returns a matplotlib Figure; `save` writes one.
"""

from closer_tf.common.texts import counted
from closer_tf.plots.accuracy import plot_accuracy, plot_encoder_accuracy, plot_violins
from closer_tf.plots.diagnosis import plot_diagnosis
from closer_tf.plots.epochs import VALIDATION_IS_APART, plot_accuracy_over_epochs, plot_training_curves
from closer_tf.plots.fields import plot_coverage, plot_graph, plot_receptive_fields
from closer_tf.plots.matrices import CIFAR10_CLASS_ORDER, plot_pseudo_likelihood, plot_pseudo_likelihoods
from closer_tf.plots.recordings import plot_embedding_trajectories, plot_raster
from closer_tf.plots.shared import write_chance
from closer_tf.plots.style import save

__all__ = [
    "CIFAR10_CLASS_ORDER",
    "VALIDATION_IS_APART",
    "counted",
    "plot_accuracy",
    "plot_accuracy_over_epochs",
    "plot_coverage",
    "plot_diagnosis",
    "plot_embedding_trajectories",
    "plot_encoder_accuracy",
    "plot_graph",
    "plot_pseudo_likelihood",
    "plot_pseudo_likelihoods",
    "plot_raster",
    "plot_receptive_fields",
    "plot_training_curves",
    "plot_violins",
    "save",
    "write_chance",
]
