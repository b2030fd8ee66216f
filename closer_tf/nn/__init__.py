"""What Keras computes: layers, encoders, ensembles, objectives, optimizers. Importing it registers what saved models hold."""

import importlib

REGISTERED = (
    "closer_tf.nn.layers",
    "closer_tf.nn.encoders",
    "closer_tf.nn.objectives",
    "closer_tf.nn.optimizers",
    "closer_tf.nn.ensemble",
    "closer_tf.nn.temporal",
    "closer_tf.nn.distilled",
    "closer_tf.nn.layer_local",
)
"""The modules with classes that are registered with Keras."""

for _module in REGISTERED:
    importlib.import_module(_module)
