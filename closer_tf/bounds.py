"""The bounds of every number that can be set, in one place: sections of the run config and functions in Python hold the same.

A section gives a key's bounds to pydantic, `fraction: float = Field(0.1, **BOUNDS["fraction"])`; a function checks its
arguments by the same names, `check_settings(fraction=fraction)`. Only NumPy is imported here.
"""

import operator
from typing import Any

import numpy as np

MAX_FLOAT = 3.4e38  # what is computed is computed in float32
MAX_WIDTH = 2**16  # of a layer; with the other upper bounds it keeps mistyped numbers from filling the memory
MAX_LAYERS = 100

_WHOLE = {
    "num_encoders": {"ge": 2, "le": 1000},
    "hidden": {"ge": 1, "le": MAX_WIDTH},  # each width
    "layers": {"ge": 0, "le": MAX_LAYERS},  # how many of them
    "embedding_dim": {"ge": 1, "le": MAX_WIDTH},
    "blocks": {"ge": 1, "le": MAX_LAYERS},
    "heads": {"ge": 1, "le": 1024},
    "key_dim": {"ge": 1, "le": MAX_WIDTH},
    "mlp_dim": {"ge": 1, "le": MAX_WIDTH},
    "patch_size": {"ge": 1},
    "num_edges": {"ge": 1},
    "clusters": {"ge": 2, "le": 1000},
    "window": {"ge": 1, "le": 1000},
    "epochs": {"ge": 0},
    "batch_size": {"ge": 2},  # a sample alone is told from nothing: its loss is 0, whatever the encoders do
    "segments": {"ge": 2},
    "lag": {"ge": 1, "le": 10_000},
    "folds": {"ge": 3, "le": 1000},
    "fold": {"ge": 0, "lt": 1000},
    "max_iter": {"ge": 1},
    "knn_neighbours": {"ge": 1},
}
_REAL = {
    "dropout": {"ge": 0, "lt": 1},
    "l1": {"ge": 0},
    "l2": {"ge": 0},
    "fraction": {"gt": 0, "le": 1},
    "sigma": {"ge": 0.01, "le": 1e6},
    "slope": {"ge": 0, "le": 1e6},
    "e2": {"ge": 0.01, "le": 1e6},
    "jitter": {"ge": 0, "le": 1},
    "length": {"ge": 0.01, "le": 1e6},
    "rewiring": {"ge": 0, "le": 1},
    "inside": {"ge": 0, "le": 1},
    "period": {"gt": 0},
    "temperature": {"gt": 0},
    "max_memory_mb": {"gt": 0},
    "input_scale": {"gt": 0},
    "rotation": {"ge": 0, "le": 0.5},
    "zoom": {"ge": 0, "lt": 1},
    "learning_rate": {"gt": 0},
    "beta_1": {"ge": 0, "lt": 1},
    "beta_2": {"ge": 0, "lt": 1},
    "epsilon": {"gt": 0},
    "schedule_decay": {"ge": 0},
    "push_weight": {"ge": 0},
    "momentum": {"ge": 0, "lt": 1},
    "tpull": {"ge": 0},
    "pull": {"ge": 0},
    "cont": {"ge": 0},
    "var": {"ge": 0},
    "cov": {"ge": 0},
    "test_fraction": {"gt": 0, "lt": 1},
    "validation_fraction": {"ge": 0, "lt": 1},
    "C": {"ge": 0},  # each inverse penalty
}
BOUNDS: dict[str, dict[str, Any]] = _WHOLE | _REAL
"""name -> bounds, in pydantic's words: ge (at least), gt (above), le (at most), lt (below)."""

_WORDS = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}


def check_settings(**settings):
    """Refuse settings that are no numbers or out of their `BOUNDS`.

    Args:
        **settings: name -> number, or sequence of numbers.

    Raises:
        ValueError: it names the setting, what was expected and what came.
    """
    for name, value in settings.items():
        several = isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value) == 1
        for number in value if several else [value]:
            if not _is_within(number, name):
                bounds = " and ".join(f"{_WORDS[kind]} {bound:,}" for kind, bound in BOUNDS[name].items())
                kind = "a whole number" if name in _WHOLE else "a number"
                raise ValueError(f"{name}: expected {kind} {bounds}, found {number!r}")


def _is_within(number, name):
    kinds = (int, np.integer) if name in _WHOLE else (int, float, np.integer, np.floating)
    if isinstance(number, bool) or not isinstance(number, kinds) or not abs(number) <= MAX_FLOAT:  # NaN is not
        return False
    return all(getattr(operator, kind)(number, bound) for kind, bound in BOUNDS[name].items())
