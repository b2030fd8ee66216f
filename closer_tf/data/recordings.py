"""Recording sessions as data sources: windows of spike counts, split by trial, every unit with its brain area.

Units are put in ascending unit id, whatever their order in the file.
"""

import numpy as np

from closer_tf.data.samples import make_samples
from closer_tf.errors import DataError


def session(path, stimuli=None, **options):
    """A session file as `Session.save` writes it; see `closer_tf.data.neuro.sessions` for the format.

    Args:
        path: the .npz file.
        stimuli: stimulus names in the order of their labels. Default: all.
        **options: `label`, `segments`, `full_range`, `window`, `lag`, `split`, `folds`, `fold`, `split_label`, `regress`,
            `period`, as for `closer_tf.data.samples.make_samples`.

    Returns:
        `Source` of windows of consecutive bins; of single bins where all trials have one.

    Raises:
        DataError: the file is absent, damaged or lacks what is asked for.
        ValueError: the window is out of its bounds.
    """
    from closer_tf.data.neuro.sessions import Session

    recording = Session.load(path)
    try:
        return _from_session(recording, stimuli, options)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def simulated(seed=0, size="small", **options):
    """A simulated session of two movies; no animal was recorded. See `closer_tf.data.simulated`.

    Args:
        seed: int, seeds the simulation.
        size: 'small' (six areas), or 'paper' (ten areas and as many units and frames as mouse 751348571).
        **options: as for `session`.

    Returns:
        `Source` of windows of consecutive bins.
    """
    from closer_tf.data.simulated import PAPER_SIZE, simulate_session

    sizes = {"small": {}, "paper": PAPER_SIZE}
    return _from_session(simulate_session(seed, **sizes[size]), None, options)


def natural_movie(path, label="segment", **options):
    """An array file of natural movie one; see `closer_tf.data.neuro.allen_arrays`. Arguments as for `session`."""
    from closer_tf.data.neuro.allen_arrays import read_natural_movie

    return _from_session(read_natural_movie(path), None, {"label": label, **options})


def gabors(path):
    """An array file of Gabor patches shown one by one, labelled with their position; see `closer_tf.data.neuro.allen_arrays`.

    Args:
        path: the .npz file.

    Returns:
        `Source` of single presentations.
    """
    from closer_tf.data.neuro.allen_arrays import read_gabors

    return _by_unit_id(read_gabors(path)).split()


def _from_session(recording, stimuli, options):
    return make_samples(_by_unit_id(recording), stimuli, **options)


def _by_unit_id(recording):
    return recording.take_units(np.argsort(recording.unit_ids, kind="stable"))
