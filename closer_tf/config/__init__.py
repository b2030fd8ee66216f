"""The run config: what is trained on what, from which seeds, and how it is read out.

A run config is a JSON object. `load_config` reads, overrides, validates and resolves it; everything downstream gets plain
arguments. Nothing here imports TensorFlow. Nothing in a config is evaluated: strings are data.

Symbols in square brackets are those of the paper: N encoders, D embedding dimension, q image fraction, tau temperature.
"""

from closer_tf.config.base import suggestion
from closer_tf.config.conditions import CONDITIONS
from closer_tf.config.objective import build_graph
from closer_tf.config.reading import apply_override, as_config, json_schema, load_config, parse_config
from closer_tf.config.readout import PROBE_ITERATIONS, PUBLISHED_C_GRID
from closer_tf.config.run_config import RunConfig
from closer_tf.config.sources import PATH_KEYS, RecordingSource
from closer_tf.config.training import SEED_NAMES, derived_seed

__all__ = [
    "CONDITIONS",
    "PATH_KEYS",
    "PROBE_ITERATIONS",
    "PUBLISHED_C_GRID",
    "RecordingSource",
    "RunConfig",
    "SEED_NAMES",
    "apply_override",
    "as_config",
    "build_graph",
    "derived_seed",
    "json_schema",
    "load_config",
    "parse_config",
    "suggestion",
]
