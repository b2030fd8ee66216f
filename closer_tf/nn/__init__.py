"""What Keras computes: layers, encoders, ensembles, objectives, optimizers. Importing it registers what saved models hold."""

from closer_tf.nn import (  # noqa: F401
    augmentation,
    distilled,
    encoders,
    ensemble,
    heads,
    layer_local,
    losses,
    objectives,
    optimizers,
    temporal,
    transformer,
)
