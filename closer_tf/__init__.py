"""CLoSeR: ensembles of encoders with small receptive fields that learn from each other.

The public names below are imported when they are first used, so that `import closer_tf` is quick and loads no Keras.
"""

import importlib
import os
from typing import TYPE_CHECKING

import wrapt

from closer_tf.common.backend import choose_backend

if TYPE_CHECKING:  # what `_PUBLIC` names, for editors and type checkers
    from closer_tf.config import RunConfig as RunConfig
    from closer_tf.config import load_config as load_config
    from closer_tf.config.own_parts import register_encoder as register_encoder
    from closer_tf.config.own_parts import register_graph as register_graph
    from closer_tf.config.own_parts import register_mask as register_mask
    from closer_tf.config.own_parts import register_objective as register_objective
    from closer_tf.config.own_parts import register_source as register_source
    from closer_tf.data import load_data as load_data
    from closer_tf.embed import embed_run as embed_run
    from closer_tf.estimator import CLoSeRTransformer as CLoSeRTransformer
    from closer_tf.evaluate import evaluate_run as evaluate_run
    from closer_tf.export import export_ensemble as export_ensemble
    from closer_tf.export import export_run as export_run
    from closer_tf.graphs import InteractionGraph as InteractionGraph
    from closer_tf.masks import ReceptiveFields as ReceptiveFields
    from closer_tf.nn.distilled import DistilledLoss as DistilledLoss
    from closer_tf.nn.encoders import mlp as mlp
    from closer_tf.nn.encoders import rnn as rnn
    from closer_tf.nn.encoders import vit_lite as vit_lite
    from closer_tf.nn.ensemble import CLoSeR as CLoSeR
    from closer_tf.nn.ensemble import build_ensemble as build_ensemble
    from closer_tf.nn.ensemble import with_heads as with_heads
    from closer_tf.nn.ensemble import with_previous as with_previous
    from closer_tf.nn.layer_local import LayerLocal as LayerLocal
    from closer_tf.nn.layers import RandomAffine as RandomAffine
    from closer_tf.nn.objectives import CLoSeRLoss as CLoSeRLoss
    from closer_tf.nn.objectives import Objective as Objective
    from closer_tf.nn.objectives import SupervisedLoss as SupervisedLoss
    from closer_tf.nn.optimizers import Nadam as Nadam
    from closer_tf.nn.temporal import TemporalLoss as TemporalLoss
    from closer_tf.own_model import train_model as train_model
    from closer_tf.readout.probes import linear_probe as linear_probe
    from closer_tf.train import train_run as train_run

__version__ = "0.1.0"

_chosen_backend = choose_backend()  # before anything imports Keras
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read once, when TensorFlow loads; set it yourself to see its log

_PUBLIC = {
    "CLoSeR": "nn.ensemble",
    "CLoSeRLoss": "nn.objectives",
    "CLoSeRTransformer": "estimator",
    "DistilledLoss": "nn.distilled",
    "InteractionGraph": "graphs",
    "LayerLocal": "nn.layer_local",
    "Nadam": "nn.optimizers",
    "Objective": "nn.objectives",
    "RandomAffine": "nn.layers",
    "ReceptiveFields": "masks",
    "SupervisedLoss": "nn.objectives",
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
    "register_encoder": "config.own_parts",
    "register_graph": "config.own_parts",
    "register_mask": "config.own_parts",
    "register_objective": "config.own_parts",
    "register_source": "config.own_parts",
    "rnn": "nn.encoders",
    "train_model": "own_model",
    "train_run": "train",
    "vit_lite": "nn.encoders",
    "with_heads": "nn.ensemble",
    "with_previous": "nn.ensemble",
}

__all__ = sorted(_PUBLIC)

# Saved ensembles load with plain `keras.saving.load_model` after `import closer_tf`, whichever of the two comes first.
wrapt.register_post_import_hook(lambda keras: importlib.import_module("closer_tf.nn"), "keras")


if not TYPE_CHECKING:  # to a type checker, every name would be there

    def __getattr__(name):
        if name not in _PUBLIC:
            raise AttributeError(f"module 'closer_tf' has no attribute '{name}'")
        module = _PUBLIC[name]
        if module.startswith("nn."):  # these import Keras
            importlib.import_module("closer_tf.common.backend").import_keras()
        return getattr(importlib.import_module(f"closer_tf.{module}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_PUBLIC]
