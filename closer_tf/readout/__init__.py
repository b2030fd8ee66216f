"""The readout of a run, part by part; `closer_tf.evaluate` puts them together."""
