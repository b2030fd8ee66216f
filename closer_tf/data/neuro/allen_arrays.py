"""Small extracts of the Allen Visual Coding - Neuropixels recordings, one .npz file per session.

* `natural_movie_one_<session>.npz`: counts (units, repeats, bins of 1 s), areas (units,), unit_ids (units,).
* `gabors_<session>.npz`: counts (units, presentations of 250 ms), areas, unit_ids, qc_pass (units,), and for each
  presentation x, y (degrees) and repeat. Gabor patches flash in random order, so bins do not follow one another as those
  of a movie do: use objectives without time.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from closer_tf.common.files import read_npz
from closer_tf.common.values import as_areas
from closer_tf.data.neuro.sessions import Session
from closer_tf.data.samples import split_by_trial
from closer_tf.data.splits import Source, Split
from closer_tf.errors import DataError


@dataclass(frozen=True, eq=False)
class Presentations:
    """Responses to stimuli that were shown one by one.

    Args:
        name: str, what to call the recording in messages and tables.
        unit_ids: int array (units,).
        unit_areas: str array (units,), the brain area of each unit.
        inputs: array (presentations, units) of spike counts.
        labels: int array (presentations,), indices into the label names.
        label_names: tuple of str, one per label.
        repeat: int array (presentations,), which round through all stimuli a presentation belongs to.
    """

    name: str
    unit_ids: np.ndarray
    unit_areas: np.ndarray
    inputs: np.ndarray
    labels: np.ndarray
    label_names: tuple
    repeat: np.ndarray

    def take_units(self, chosen):
        """The same presentations with some of the units, in the order of `chosen`."""
        return replace(self, unit_ids=self.unit_ids[chosen], unit_areas=self.unit_areas[chosen], inputs=self.inputs[:, chosen])

    def split(self):
        """`Source` of single presentations: inputs (n, units).

        Repeats 1, 6, 11, ... are validation, 3, 8, 13, ... test, the others training. In `about` of the splits, `trial` is the
        repeat, `frame` the place in the order of presentation, and `stimulus` 0.
        """
        n = len(self.labels)
        about = {"stimulus": np.zeros(n, int), "trial": self.repeat, "frame": np.arange(n)}
        splits = split_by_trial(Split(self.inputs, self.labels, about))
        return Source(**splits, label_names=self.label_names, unit_areas=tuple(self.unit_areas.tolist()))


def read_natural_movie(path):
    """A `natural_movie_one_<session>.npz` file as a `Session` with the stimulus natural_movie_one, in bins of 1 s.

    Args:
        path: the file.

    Raises:
        DataError: the file is absent, damaged, or lacks an array.
    """
    stored = _read(path, {"counts": (3, "uif"), "areas": (1, "U"), "unit_ids": (1, "iu")})
    try:
        return Session(
            name=Path(path).stem.rpartition("_")[2],
            unit_ids=stored["unit_ids"],
            unit_areas=stored["areas"],
            bin_width=1.0,
            stimuli={"natural_movie_one": stored["counts"].transpose(1, 2, 0)},
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def read_gabors(path, all_units=False):
    """A `gabors_<session>.npz` file as `Presentations`, labelled with the patch's position.

    Args:
        path: the file.
        all_units: true: also the units that failed the quality metrics.

    Returns:
        `Presentations`; labels run over the (x, y) positions in ascending order.

    Raises:
        DataError: the file is absent, damaged, or lacks an array, or no unit passed.
    """
    of_units = {"areas": (1, "U"), "unit_ids": (1, "iu"), "qc_pass": (1, "b")}
    of_presentations = {"x": (1, "iuf"), "y": (1, "iuf"), "repeat": (1, "iu")}
    stored = _read(path, {"counts": (2, "uif"), **of_units, **of_presentations})
    units, presentations = stored["counts"].shape
    for key, length in {"areas": units, "unit_ids": units, "qc_pass": units}.items():
        _expect_length(path, key, stored[key], length, "units")
    for key in ("x", "y", "repeat"):
        _expect_length(path, key, stored[key], presentations, "presentations")
    if stored["repeat"].max() < 3:
        raise DataError(f"{path}: repeat: expected at least 4 repeats, of which 1 is validation and 3 test")
    positions, labels = np.unique(np.stack([stored["x"], stored["y"]], axis=1), axis=0, return_inverse=True)
    passed = np.flatnonzero(stored["qc_pass"] | all_units)
    if len(passed) == 0:
        raise DataError(f"{path}: none of the {units} units passed the quality metrics")
    everything = Presentations(
        name=Path(path).stem.rpartition("_")[2],
        unit_ids=stored["unit_ids"].astype(np.int64),
        unit_areas=as_areas(stored["areas"], units, f"{path}: areas"),
        inputs=stored["counts"].T,
        labels=labels.reshape(-1).astype(np.int64),
        label_names=tuple(f"({x}, {y})" for x, y in positions.tolist()),
        repeat=stored["repeat"].astype(np.int64),
    )
    return everything.take_units(passed)


def _read(path, expected):
    """The arrays of a file, once each has the expected (dimensions, kinds of dtype) and numbers are finite."""
    stored = read_npz(path)
    for key, (ndim, kinds) in expected.items():
        if key not in stored:
            raise DataError(f"{path}: no array '{key}'; found {', '.join(stored) or 'none'}")
        if stored[key].ndim != ndim or 0 in stored[key].shape:
            raise DataError(f"{path}: {key}: expected {ndim} dimension(s), found shape {stored[key].shape}")
        if stored[key].dtype.kind not in kinds:
            what = {"U": "strings", "b": "booleans"}.get(kinds, "numbers")
            raise DataError(f"{path}: {key}: expected {what}, found {stored[key].dtype}")
        if stored[key].dtype.kind == "f" and not np.isfinite(stored[key]).all():
            raise DataError(f"{path}: {key}: holds values that are not finite")
    return stored


def _expect_length(path, key, array, length, what):
    if len(array) != length:
        raise DataError(f"{path}: {key}: expected {length} entries, one for each of the {what}, found {len(array)}")
