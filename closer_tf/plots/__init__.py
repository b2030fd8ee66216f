"""Pictures of runs, drawn from plain data alone; the one place that draws with matplotlib. Never imports TensorFlow.

Every `plot_` function returns a matplotlib Figure; `save` writes one; `runs.py` takes a run apart for them. Each is imported
when it is first used.
"""

from closer_tf.common.values import load

_NAMES = {
    "CIFAR10_CLASS_ORDER": "matrices",
    "VALIDATION_IS_APART": "epochs",
    "draw_graph": "runs",
    "draw_map": "runs",
    "draw_readout": "runs",
    "draw_training": "runs",
    "has_trials": "runs",
    "plot_accuracy": "accuracy",
    "plot_accuracy_over_epochs": "epochs",
    "plot_coverage": "fields",
    "plot_diagnosis": "diagnosis",
    "plot_embedding_trajectories": "recordings",
    "plot_encoder_accuracy": "accuracy",
    "plot_graph": "fields",
    "plot_pseudo_likelihood": "matrices",
    "plot_pseudo_likelihoods": "matrices",
    "plot_raster": "recordings",
    "plot_receptive_fields": "fields",
    "plot_training_curves": "epochs",
    "plot_violins": "accuracy",
    "save": "style",
    "write_chance": "shared",
}
"""name -> the module that has it"""

__all__ = sorted(_NAMES)


def __getattr__(name):
    if name not in _NAMES:
        raise AttributeError(f"module 'closer_tf.plots' has no attribute '{name}'")
    return load(f"closer_tf.plots.{_NAMES[name]}:{name}")
