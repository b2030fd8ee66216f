"""Where `Heads` was: modules that register parts of one's own may still import it from here."""

from closer_tf.nn.layers import Heads

__all__ = ["Heads"]
