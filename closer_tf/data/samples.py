"""From sessions to samples: windows of consecutive bins, labelled and split by trial."""

import numpy as np

from closer_tf.bounds import check_settings
from closer_tf.data.splits import Source, Split
from closer_tf.errors import DataError

LABELS = ("stimulus", "segment", "time")
MIN_TRIALS = 4  # trial 1 is the first validation trial, trial 3 the first test trial


def make_samples(session, stimuli=None, window=2, full_range=False, label="stimulus", segments=3):
    """Windows of consecutive bins, in the order of stimulus, trial and frame. A window never leaves its trial.

    Args:
        session: `Session`.
        stimuli: stimulus names in the order of their labels. Default: all, in the session's order.
        window: bins per sample, ending with the current one.
        full_range: false: current bins from `window` to F - 2 of a trial's F bins, as in the paper's data (897 of 900 for
            windows of 2). True: every bin with a whole window, `window` - 1 to F - 1.
        label: "stimulus": index of the stimulus. "segment": which of `segments` equal parts of the trial the current bin
            is in. "time": the current bin divided by F, a number in [0, 1).
        segments: number of parts for label "segment".

    Returns:
        `Source` of windows (n, window, units) of raw spike counts in time order, the current bin last. `about` of its splits
        has int arrays (n,): `stimulus`, index into the stimuli; `trial`, number within the stimulus; `frame`, the current bin
        within the trial. Trials are split by their number, which counts trials that were left out too: 1, 6, 11, ... are
        validation, 3, 8, 13, ... test, the others training.

    Raises:
        DataError: a stimulus is unknown, has too few or too short trials or no spike at all, or there is but one to tell apart.
        ValueError: the label, the window or the number of segments is none of the above.
    """
    stimuli = list(session.stimuli if stimuli is None else stimuli)
    if label not in LABELS:
        raise ValueError(f"label: expected one of {', '.join(LABELS)}, found '{label}'")
    check_settings(window=window)
    if label == "segment":
        check_settings(segments=segments)
    if not stimuli or len(set(stimuli)) != len(stimuli):
        raise DataError(f"session {session.name}: expected one or more stimuli, each named once, found {stimuli}")
    if label == "stimulus" and len(stimuli) < 2:
        raise DataError(
            f"session {session.name}: label 'stimulus' needs at least two stimuli to tell apart, found only "
            f"'{stimuli[0]}'; use label 'segment' or 'time' for the position within it"
        )
    parts = [_stimulus_samples(session, index, name, window, full_range, label, segments) for index, name in enumerate(stimuli)]
    names = {
        "stimulus": tuple(stimuli),
        "segment": tuple(f"{k + 1}/{segments}" for k in range(segments)),
        "time": (),
    }
    return Source(
        **split_by_trial(_joined(parts)),
        label_names=names[label],
        windowed=True,
        unit_areas=tuple(session.unit_areas.tolist()),
        simulated=session.simulated,
        stimuli=tuple(stimuli),
        bin_width=session.bin_width,
    )


def split_by_trial(samples):
    """Split samples by trial: number mod 5 equal to 1 is validation, 3 test, the others training.

    Args:
        samples: `Split` whose `about` has `trial`.

    Returns:
        dict `train`, `validation`, `test` of `Split`.
    """
    place = samples.about["trial"] % 5
    return {"train": samples[(place != 1) & (place != 3)], "validation": samples[place == 1], "test": samples[place == 3]}


def _joined(parts):
    """Several `Split`s as one."""
    about = {key: np.concatenate([part.about[key] for part in parts]) for key in parts[0].about}
    return Split(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("inputs", "labels")), about)


def _stimulus_samples(session, index, name, window, full_range, label, segments):
    counts = session.counts(name)
    trials, bins, units = counts.shape
    if trials < MIN_TRIALS:
        raise DataError(
            f"session {session.name}: stimulus '{name}' has {trials} trials; at least {MIN_TRIALS} are needed, since trials "
            f"1, 6, ... are the validation set and trials 3, 8, ... the test set"
        )
    if not counts.any():
        raise DataError(
            f"session {session.name}: all counts of stimulus '{name}' are 0; were its times and those of the spikes taken by "
            f"one clock, both in seconds?"
        )
    numbers = session.trials[name]
    for place, part in ((1, "validation"), (3, "test")):
        if not (numbers % 5 == place).any():
            raise DataError(
                f"session {session.name}: stimulus '{name}' has trials {', '.join(map(str, numbers))}; none of {place}, "
                f"{place + 5}, ..., which are the {part} set"
            )
    if np.isin(numbers % 5, (1, 3)).all():
        raise DataError(f"session {session.name}: stimulus '{name}' has validation and test trials alone, none to train on")
    frames = np.arange(window - 1, bins) if full_range else np.arange(window, bins - 1)
    if len(frames) == 0:
        raise DataError(f"session {session.name}: trials of '{name}' have {bins} bins, too few for windows of {window}")
    if label == "segment" and segments > bins:
        raise DataError(f"session {session.name}: trials of '{name}' have {bins} bins, too few for {segments} segments")
    windows = np.lib.stride_tricks.sliding_window_view(counts, window, axis=1)[:, frames - window + 1]
    frame = np.tile(frames, trials)
    labels = {
        "stimulus": lambda: np.full(len(frame), index),
        "segment": lambda: frame * segments // bins,
        "time": lambda: (frame / bins).astype(np.float32),
    }
    return Split(
        windows.transpose(0, 1, 3, 2).reshape(-1, window, units),
        labels[label](),
        {"stimulus": np.full(len(frame), index), "trial": np.repeat(numbers, len(frames)), "frame": frame},
    )
