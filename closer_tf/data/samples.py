"""From sessions to samples: windows of consecutive bins, labelled and split by trial."""

from dataclasses import dataclass

import numpy as np

from closer_tf.bounds import check_settings
from closer_tf.errors import DataError

LABELS = ("stimulus", "segment", "time")
MIN_TRIALS = 4  # trial 1 is the first validation trial, trial 3 the first test trial


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples that belong together.

    Args:
        inputs: array (n, window, units), raw spike counts of consecutive bins in time order; the current bin is the last.
        labels: array (n,): int classes, or float32 for normalised time.
        stimulus: int array (n,), index into the stimuli.
        trial: int array (n,), number of the trial within the stimulus.
        frame: int array (n,), the current bin within the trial.
    """

    inputs: np.ndarray
    labels: np.ndarray
    stimulus: np.ndarray
    trial: np.ndarray
    frame: np.ndarray

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, chosen):
        return Samples(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


@dataclass(frozen=True, eq=False)
class SampleSplits:
    """Samples for training, validation and test.

    Args:
        train, validation, test: `Samples`.
        label_names: tuple of str, one per class; empty when the label is a number.
    """

    train: Samples
    validation: Samples
    test: Samples
    label_names: tuple = ()


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
        `SampleSplits`. Trials are split by their number within the stimulus, which counts trials that were left out too:
        1, 6, 11, ... are validation, 3, 8, 13, ... test, the others training.

    Raises:
        DataError: a stimulus is unknown, has too few or too short trials or no spike at all, or there is but one to tell apart.
        ValueError: the label, the window or the number of segments is none of the above.
    """
    stimuli = list(session.stimuli if stimuli is None else stimuli)
    if label not in LABELS:
        raise ValueError(f"label: expected one of {', '.join(LABELS)}, found '{label}'")
    if window < 1:
        raise ValueError(f"window: expected at least 1 bin, found {window}")
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
    everything = Samples(*(np.concatenate([getattr(part, f) for part in parts]) for f in Samples.__dataclass_fields__))
    names = {
        "stimulus": tuple(stimuli),
        "segment": tuple(f"{k + 1}/{segments}" for k in range(segments)),
        "time": (),
    }
    return split_by_trial(everything, names[label])


def split_by_trial(samples, label_names=()):
    """Split samples by trial: number mod 5 equal to 1 is validation, 3 test, the others training.

    Args:
        samples: `Samples`.
        label_names: tuple of str, one per class.

    Returns:
        `SampleSplits`.
    """
    place = samples.trial % 5
    return SampleSplits(samples[(place != 1) & (place != 3)], samples[place == 1], samples[place == 3], tuple(label_names))


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
    return Samples(
        inputs=windows.transpose(0, 1, 3, 2).reshape(-1, window, units),
        labels=labels[label](),
        stimulus=np.full(len(frame), index),
        trial=np.repeat(numbers, len(frames)),
        frame=frame,
    )
