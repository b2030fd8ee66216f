"""Recording sessions as data sources: windows of spike counts, split by trial, every unit with its brain area.

Units are put in ascending unit id, whatever their order in the file.
"""

import numpy as np

from closer_tf.data.samples import make_samples


def session(path, stimuli=None, label="stimulus", segments=3, full_range=False, window=2):
    """A session file as `Session.save` writes it; see `closer_tf.data.neuro.sessions` for the format.

    Args:
        path: the .npz file.
        stimuli: stimulus names in the order of their labels. Default: all.
        label: 'stimulus', 'segment' or 'time'.
        segments: equal parts of a trial for label 'segment'.
        full_range: use every bin with a whole window, not only the paper's range.
        window: bins per sample, ending with the current one; bins without a whole window in their trial are left out.

    Returns:
        `Source` of windows of consecutive bins.

    Raises:
        DataError: the file is absent, damaged or lacks what is asked for.
        ValueError: the window is out of its `closer_tf.bounds`.
    """
    from closer_tf.data.neuro.sessions import Session

    return _from_session(Session.load(path), stimuli, label, segments, full_range, window)


def simulated(seed=0, size="small", label="stimulus", segments=3, full_range=False, window=2):
    """A simulated session of two movies; no animal was recorded. See `closer_tf.data.simulated`.

    Args:
        seed: int, seeds the simulation.
        size: 'small' (six areas), or 'paper' (ten areas and as many units and frames as mouse 751348571).
        label, segments, full_range, window: as for `session`.

    Returns:
        `Source` of windows of consecutive bins.
    """
    from closer_tf.data.simulated import PAPER_SIZE, simulate_session

    sizes = {"small": {}, "paper": PAPER_SIZE}
    return _from_session(simulate_session(seed, **sizes[size]), None, label, segments, full_range, window)


def natural_movie(path, label="segment", segments=3, full_range=False, window=2):
    """An array file of natural movie one; see `closer_tf.data.neuro.allen_arrays`. Arguments as for `session`."""
    from closer_tf.data.neuro.allen_arrays import read_natural_movie

    return _from_session(read_natural_movie(path), None, label, segments, full_range, window)


def gabors(path):
    """An array file of Gabor patches shown one by one, labelled with their position; see `closer_tf.data.neuro.allen_arrays`.

    Args:
        path: the .npz file.

    Returns:
        `Source` of single presentations.
    """
    from closer_tf.data.neuro.allen_arrays import read_gabors

    return _by_unit_id(read_gabors(path)).split()


def _from_session(recording, stimuli, label, segments, full_range, window):
    return make_samples(_by_unit_id(recording), stimuli, window, full_range, label, segments)


def _by_unit_id(recording):
    return recording.take_units(np.argsort(recording.unit_ids, kind="stable"))
