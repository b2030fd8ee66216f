"""Data: every source is read into the same small `Splits` object.

To add a source, write one function that returns a `Source` and name it in `_SOURCES`; its arguments are its config keys.
"""

from __future__ import annotations

import inspect
from typing import Any

from closer_tf.common.values import load
from closer_tf.data.splits import Source, Split, Splits, hold_out, split_source
from closer_tf.errors import DataError

_SOURCES = {
    "digits": "closer_tf.data.digits:digits",
    "cifar10": "closer_tf.data.cifar:cifar10",
    "cifar100": "closer_tf.data.cifar:cifar100",
    "image_folder": "closer_tf.data.image_folder:image_folder",
    "arrays": "closer_tf.data.arrays:arrays",
    "session": "closer_tf.data.recordings:session",
    "simulated": "closer_tf.data.recordings:simulated",
    "natural_movie": "closer_tf.data.recordings:natural_movie",
    "gabors": "closer_tf.data.recordings:gabors",
    "own": "closer_tf.data.own:own",
}

__all__ = ["Source", "Split", "Splits", "hold_out", "load_data", "split_source"]


def load_data(name: str, validation_fraction: float = 0.1, validation_seed: int = 0, **options: Any) -> Splits:
    """Read a data source and split off a validation set.

    Args:
        name: 'digits', 'cifar10', 'cifar100', 'image_folder', 'arrays', 'session', 'simulated', 'natural_movie' or 'gabors'; or
            'own', for one that was registered, with its name as `source`.
        validation_fraction: fraction of the training samples kept aside, drawn at random; recordings are split by trial.
        validation_seed: int, seeds that draw.
        **options: the source's own, see its function: `data_dir`, `path`, `image_size`, ...

    Returns:
        `Splits`.

    Raises:
        DataError: the source or an option is unknown, or the source absent, unreadable or inconsistent.
    """
    if name not in _SOURCES:
        raise DataError(f"unknown dataset '{name}'; expected one of {', '.join(_SOURCES)}")
    read = load(_SOURCES[name])
    known = _options_of(read)
    for option in options:
        if option not in known:
            raise DataError(f"dataset '{name}' has no option '{option}'; expected some of {', '.join(known) or 'none'}")
    source = read(**options)
    return split_source(name, source, validation_fraction, validation_seed)


def _options_of(read):
    """The names of a source's options; recordings hand theirs on as `**options`."""
    from closer_tf.data.samples import make_samples

    named = inspect.signature(read).parameters
    own = [name for name, parameter in named.items() if parameter.kind is not parameter.VAR_KEYWORD]
    handed_on = list(inspect.signature(make_samples).parameters)[2:] if len(own) < len(named) else []
    return [*own, *(name for name in handed_on if name not in own)]
