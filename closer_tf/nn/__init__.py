"""What Keras computes: layers, encoders, ensembles, objectives, optimizers. Importing it registers what saved models hold."""

from closer_tf.nn import augmentation, encoders, ensemble, losses, optimizers, temporal, transformer  # noqa: F401
