"""CLoSeR: ensembles of encoders with small receptive fields that learn from each other.

The public names below are imported when they are first used, so that `import closer_tf` is quick and loads no Keras.
"""

import importlib
import os
import sys

import wrapt

from closer_tf.backend import choose_backend, require_backend

__version__ = "0.1.0"

_chosen_backend = choose_backend()  # before anything imports Keras
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read once, when TensorFlow loads; set it yourself to see its log

_PUBLIC = {
    "CLoSeR": "ensemble",
    "CLoSeRLoss": "losses",
    "CLoSeRTransformer": "estimator",
    "InteractionGraph": "graphs",
    "Nadam": "optimizers",
    "RandomAffine": "augmentation",
    "ReceptiveFields": "masks",
    "SupervisedLoss": "losses",
    "TemporalLoss": "temporal",
    "RunConfig": "config",
    "build_ensemble": "ensemble",
    "embed_run": "embed",
    "evaluate_run": "evaluate",
    "export_ensemble": "export",
    "export_run": "export",
    "linear_probe": "probes",
    "load_config": "config",
    "load_data": "data",
    "mlp": "encoders",
    "train_run": "train",
    "vit_lite": "encoders",
    "with_heads": "ensemble",
}

__all__ = sorted(_PUBLIC)

_WITHOUT_KERAS = ("config", "data", "embed", "estimator", "evaluate", "export", "graphs", "masks", "probes", "train")


_IMPORT_KERAS = (
    "augmentation",
    "determinism",
    "devices",
    "distribution",
    "dropout",
    "encoders",
    "ensemble",
    "fused_model",
    "jax_steps",
    "layers",
    "loop",
    "losses",
    "optimizers",
    "pairwise",
    "precision",
    "progress_lines",
    "stacked",
    "streams",
    "temporal",
    "tensorboard",
    "tensorflow_nadam",
    "tensorflow_step",
    "transformer",
)
"""Modules with `import keras` at their top."""


def _register(imported):
    """Make saved ensembles loadable with plain `keras.saving.load_model`, whichever package or module is imported first.

    Called when Keras has been imported, or one of `_IMPORT_KERAS`. Where that happens while one of these modules is being
    imported, which the modules below may need, nothing is done yet: it is called again at that module's end.
    """
    if "keras" not in sys.modules:
        return
    for name in _IMPORT_KERAS:
        module = sys.modules.get(f"closer_tf.{name}")
        if module is not None and module is not imported and getattr(module.__spec__, "_initializing", False):
            return
    for name in ("ensemble", "augmentation", "encoders", "temporal"):
        importlib.import_module(f"closer_tf.{name}")


for _name in ("keras", *(f"closer_tf.{name}" for name in _IMPORT_KERAS)):
    wrapt.register_post_import_hook(_register, _name)


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'closer_tf' has no attribute '{name}'")
    module = _PUBLIC[name]
    if module not in _WITHOUT_KERAS:
        require_backend()
        importlib.import_module("keras")  # first, so that `_register` does not meet a module that is half imported
    return getattr(importlib.import_module(f"closer_tf.{module}"), name)


def __dir__():
    return [*globals(), *_PUBLIC]
