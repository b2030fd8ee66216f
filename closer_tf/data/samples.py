"""From sessions to samples: windows of bins, labelled and split by trial."""

import warnings
from dataclasses import replace

import numpy as np

from closer_tf.common.values import check_settings
from closer_tf.config import suggestion
from closer_tf.data.splits import Source, Split
from closer_tf.data.trial_splits import PARTS, interleaved, parts_of
from closer_tf.errors import CloserWarning, DataError

LABELS = ("stimulus", "segment", "time", "none")


def make_samples(
    session,
    stimuli=None,
    window=2,
    full_range=False,
    label="stimulus",
    segments=3,
    lag=1,
    split="trials",
    folds=5,
    fold=0,
    split_label=None,
    regress=False,
    period=None,
):
    """Windows of bins, in the order of stimulus, trial and frame. A window never leaves its trial.

    Args:
        session: `Session`. Where all trials have one bin, samples are single bins (n, units), and `window`, `lag` and
            `full_range` do not count.
        stimuli: stimulus names in the order of their labels. Default: all, in the session's order.
        window: bins per sample, ending with the current one.
        full_range: false: current bins from `window` (with a `lag` of 1) to F - 2 of a trial's F bins, as in the paper's data
            (897 of 900 for windows of 2). True: every bin with a whole window, `window` - 1 to F - 1. Padding is no bin.
        label: "stimulus": index of the stimulus. "segment": which of `segments` equal parts of the trial the current bin
            is in. "time": the current bin divided by F, a number in [0, 1). Or the name of one of the session's labels.
            "none": samples have no labels.
        segments: number of parts for label "segment".
        lag: bins from one bin of a window to the next.
        split, folds, fold, split_label: which trials are for what: see `closer_tf.data.trial_splits.parts_of`.
        regress: a label of the session's is a number, also where it holds integers; an angle, if the session knows its period.
        period: a label of the session's is an angle, which comes full circle after so much. Default: as `regress` says.

    Returns:
        `Source` of windows (n, window, units) of raw spike counts in time order, the current bin last. `about` of its splits
        has int arrays (n,): `stimulus`, index into the stimuli; `trial`, number within the stimulus; `frame`, the current bin
        within the trial. By default trials are split by their number, which counts trials that were left out too: 1, 6, 11, ...
        are validation, 3, 8, 13, ... test, the others training.

    Raises:
        DataError: a stimulus or label is unknown, a stimulus has too few or too short trials (over all, or for one part of the
            split) or no spike at all, or there is but one to tell apart.
        ValueError: the window, lag, split or number of segments is none of the above.
    """
    stimuli = [str(name) for name in (session.stimuli if stimuli is None else stimuli)]
    check_settings(window=window, lag=lag, folds=folds, fold=fold)
    if label == "segment":
        check_settings(segments=segments)
    if period is not None:
        check_settings(period=period)
        if label in LABELS:
            raise DataError(
                f"session {session.name}: period: label '{label}' is no angle; name a label of the session's that is"
            )
    elif regress:
        period = session.periods.get(label)
    regress = regress or period is not None
    if not stimuli or len(set(stimuli)) != len(stimuli):
        raise DataError(f"session {session.name}: expected one or more stimuli, each named once, found {stimuli}")
    if label == "stimulus" and len(stimuli) < 2:
        raise DataError(
            f"session {session.name}: label 'stimulus' needs at least two stimuli to tell apart, found only "
            f"'{stimuli[0]}'; use label 'segment' or 'time' for the position within it, 'none' for no readout, or name the "
            f"column with the stimulus when the session is made (condition)"
        )
    flashed = all(session.counts(name).shape[1] == 1 for name in stimuli)
    if flashed:
        if label == "time":
            raise DataError(f"session {session.name}: trials of one bin have no label 'time'")
        window, full_range = 1, True
    of_label, names = _labels(session, stimuli, label, segments, regress)
    parts, samples = [], []
    for index, name in enumerate(stimuli):
        bins = session.bins_of(name).min()
        if label == "segment" and segments > bins:
            raise DataError(f"session {session.name}: trials of '{name}' have {bins} bins, too few for {segments} segments")
        trials = parts_of(session, name, split, folds, fold, split_label)
        part, of_stimulus = _stimulus_samples(session, index, name, window, full_range, lag, of_label, trials)
        parts.append(part)
        samples.append(of_stimulus)
    samples = _joined(samples)
    if flashed:
        samples = replace(samples, inputs=samples.inputs[:, 0])
    return Source(
        **split_by_part(samples, np.concatenate(parts)),
        label_names=names,
        labelled=label != "none",
        windowed=not flashed,
        unit_areas=tuple(session.unit_areas.tolist()),
        simulated=session.simulated,
        stimuli=tuple(stimuli),
        bin_width=session.bin_width,
        period=period,
    )


def split_by_trial(samples):
    """Split samples by trial: number mod 5 equal to 1 is validation, 3 test, the others training.

    Args:
        samples: `Split` whose `about` has `trial`.

    Returns:
        dict `train`, `validation`, `test` of `Split`.
    """
    return split_by_part(samples, interleaved(samples.about["trial"]))


def split_by_part(samples, parts):
    """Split samples by what each is for.

    Args:
        samples: `Split`.
        parts: int array (n,), indices into `closer_tf.data.trial_splits.PARTS`.

    Returns:
        dict `train`, `validation`, `test` of `Split`.
    """
    return {name: samples[parts == k] for k, name in enumerate(PARTS)}


def _labels(session, stimuli, label, segments, regress):
    """(function (index of stimulus, trial positions, frames, bins of these trials) -> labels, label names)."""
    if label == "none" and "none" in session.labels:
        raise DataError(
            f"session {session.name}: label 'none' means that nothing is read out, but is also a label in the file: give that "
            "another name"
        )
    if label == "none":
        return lambda index, trial, frame, bins: np.full(len(frame), -1), ()
    if label == "stimulus":
        return lambda index, trial, frame, bins: np.full(len(frame), index), tuple(stimuli)
    if label == "segment":
        return lambda index, trial, frame, bins: frame * segments // bins, tuple(f"{k + 1}/{segments}" for k in range(segments))
    if label == "time":
        return lambda index, trial, frame, bins: (frame / bins).astype(np.float32), ()
    if label not in session.labels:
        known = (*LABELS, *session.labels)
        raise DataError(
            f"session {session.name}: label: expected one of {', '.join(known)}, found '{label}'.{suggestion(label, known)}"
        )
    stored = session.labels[label]
    kind = stored[stimuli[0]].dtype.kind
    if regress and kind == "U":
        raise DataError(f"session {session.name}: label '{label}' holds text, which is no number; leave out regress and period")
    if kind == "f" and not regress:
        raise DataError(
            f"session {session.name}: label '{label}' holds numbers, not classes: set dataset.regress=true to read it out by "
            f"regression, or store classes as integers or strings"
        )
    values = np.unique(np.concatenate([stored[name].ravel() for name in stimuli]))
    if len(values) < 2:
        raise DataError(f"session {session.name}: label '{label}' is '{values[0]}' everywhere: there is nothing to tell apart")

    def of_bins(index, trial, frame, bins):
        array = stored[stimuli[index]]
        found = array[trial] if array.ndim == 1 else array[trial, frame]
        return found.astype(np.float32) if regress else np.searchsorted(values, found)

    return of_bins, () if regress else tuple(str(value) for value in values.tolist())


def _joined(parts):
    """Several `Split`s as one."""
    about = {key: np.concatenate([part.about[key] for part in parts]) for key in parts[0].about}
    return Split(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("inputs", "labels")), about)


def _check_short_trials(session, name, fewest, parts):
    """Say which trials have fewer bins than a window takes; refuse to go on where they are all that there is for a part."""
    short = session.bins_of(name) < fewest
    if not short.any():
        return
    numbers, what = session.trials[name], f"session {session.name}: stimulus '{name}'"
    for k, part in enumerate(PARTS):
        if short[parts == k].all():
            which = ", ".join([*map(str, numbers[parts == k][:5].tolist()), *["..."] * bool(np.sum(parts == k) > 5)])
            raise DataError(
                f"{what}: all its trials for '{part}' (numbers {which}) have fewer than "
                f"{fewest} bins, which a window takes here; leave out short trials when the session is made (length), take "
                f"shorter bins or windows, or another split"
            )
    warnings.warn(
        f"{what}: {short.sum()} of {len(short)} trials have fewer than {fewest} bins: no sample of them",
        CloserWarning,
        stacklevel=2,
    )


def _stimulus_samples(session, index, name, window, full_range, lag, of_label, parts):
    """(what each sample is for, the samples) of one stimulus."""
    counts = session.counts(name)
    _, bins, units = counts.shape
    if not counts.any():
        raise DataError(
            f"session {session.name}: all counts of stimulus '{name}' are 0; were its times and those of the spikes taken by "
            f"one clock, both in seconds?"
        )
    span = (window - 1) * lag + 1
    frames = np.arange(span - 1, bins) if full_range else np.arange(span, bins - 1)
    if len(frames) == 0:
        apart = f", {lag} bins apart," if lag > 1 else ""
        raise DataError(f"session {session.name}: trials of '{name}' have {bins} bins, too few for windows of {window}{apart}")
    windows = np.lib.stride_tricks.sliding_window_view(counts, span, axis=1)[:, frames - span + 1, :, ::lag]
    lengths = session.bins_of(name)
    beyond = 0 if full_range else 1
    trial, place = np.nonzero(frames < lengths[:, None] - beyond)  # others reach into padding
    _check_short_trials(session, name, frames[0] + 1 + beyond, parts)
    frame, bins = frames[place], lengths[trial]
    about = {"stimulus": np.full(len(frame), index), "trial": session.trials[name][trial], "frame": frame}
    inputs = windows.transpose(0, 1, 3, 2)
    inputs = inputs.reshape(-1, window, units) if len(trial) == len(lengths) * len(frames) else inputs[trial, place]
    return parts[trial], Split(inputs, of_label(index, trial, frame, bins), about)
