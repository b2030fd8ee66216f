"""CLoSeR: ensembles of encoders with small receptive fields that learn from each other.

The public names below are imported when they are first used, so that `import closer_tf` is quick and loads no Keras.
"""

import importlib
import os

import wrapt

from closer_tf.common.backend import choose_backend, require_backend

__version__ = "0.1.0"

_chosen_backend = choose_backend()  # before anything imports Keras
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read once, when TensorFlow loads; set it yourself to see its log

_PUBLIC = {
    "CLoSeR": "nn.ensemble",
    "CLoSeRLoss": "nn.losses",
    "CLoSeRTransformer": "estimator",
    "InteractionGraph": "graphs",
    "Nadam": "nn.optimizers",
    "RandomAffine": "nn.augmentation",
    "ReceptiveFields": "masks",
    "SupervisedLoss": "nn.losses",
    "TemporalLoss": "nn.temporal",
    "RunConfig": "config",
    "build_ensemble": "nn.ensemble",
    "embed_run": "embed",
    "evaluate_run": "evaluate",
    "export_ensemble": "export",
    "export_run": "export",
    "linear_probe": "readout.probes",
    "load_config": "config",
    "load_data": "data",
    "mlp": "nn.encoders",
    "train_run": "train",
    "vit_lite": "nn.encoders",
    "with_heads": "nn.ensemble",
}

__all__ = sorted(_PUBLIC)

# Saved ensembles load with plain `keras.saving.load_model` after `import closer_tf`, whichever of the two comes first.
wrapt.register_post_import_hook(lambda keras: importlib.import_module("closer_tf.nn"), "keras")


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'closer_tf' has no attribute '{name}'")
    module = _PUBLIC[name]
    if module.startswith("nn."):
        require_backend()
    return getattr(importlib.import_module(f"closer_tf.{module}"), name)


def __dir__():
    return [*globals(), *_PUBLIC]
