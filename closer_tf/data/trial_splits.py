"""Which trials of a session are for training, validation and testing. Trials are never divided."""

import numpy as np

from closer_tf.errors import DataError

PARTS = ("train", "validation", "test")
SPLITS = ("trials", "blocks", "label")
MIN_TRIALS = 4  # trial 1 is the first validation trial, trial 3 the first test trial

_VALIDATION, _TEST = 1, 3  # places of the paper's, modulo 5


def interleaved(numbers, folds=5, fold=0):
    """What trials are for, by their number modulo `folds`: 1 + `fold` is validation, 3 + `fold` test, the others training.

    Args:
        numbers: int array.
        folds: int, at least 3; over `fold` 0 to `folds` - 1 every trial is for testing once.
        fold: int.

    Returns:
        Int array like `numbers`, indices into `PARTS`.
    """
    place = numbers % folds
    return np.where(place == (_VALIDATION + fold) % folds, 1, np.where(place == (_TEST + fold) % folds, 2, 0))


def parts_of(session, stimulus, split="trials", folds=5, fold=0, split_label=None):
    """What each trial of a stimulus is for.

    Args:
        session: `Session`.
        stimulus: its name.
        split: "trials": by the trials' numbers, `interleaved`. "blocks": the stimulus's trials in `folds` blocks of time, in
            each of which all are for the same. "label": what the session's label `split_label` says of each trial.
        folds: number of folds or blocks, at least 3.
        fold: which of them is for testing, from 0 on.
        split_label: name of a label with one value per trial, 'train', 'validation' or 'test'.

    Returns:
        Int array (trials,), indices into `PARTS`.

    Raises:
        DataError: there are too few trials, or no such label, or none for one of the parts.
        ValueError: the split is none of the above, or there is no such fold.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, found {split!r}")
    if fold >= folds:
        raise ValueError(f"fold: expected 0 to {folds - 1}, since there are {folds} folds, found {fold}")
    what = f"session {session.name}: stimulus '{stimulus}'"
    numbers = session.trials[stimulus]
    if split == "label":
        return _by_label(session, stimulus, split_label, what)
    places = [(place + fold) % folds for place in (_VALIDATION, _TEST)]
    if len(numbers) < MIN_TRIALS:
        raise DataError(
            f"{what} has {len(numbers)} trials; at least {MIN_TRIALS} are needed, since trials {_these(places[0], folds)} are "
            f"the validation set and trials {_these(places[1], folds)} the test set"
        )
    if split == "blocks":
        numbers = np.arange(len(numbers)) * folds // len(numbers)
        if len(np.unique(numbers)) < folds:
            raise DataError(f"{what} has {len(numbers)} trials, too few for {folds} blocks; expected at most that many folds")
    parts = interleaved(numbers, folds, fold)
    for part, place in enumerate(places, start=1):
        if not (parts == part).any():
            raise DataError(
                f"{what} has trials {', '.join(map(str, numbers))}; none of {place}, "
                f"{place + folds}, ..., which are the {PARTS[part]} set"
            )
    if (parts > 0).all():
        raise DataError(f"{what} has validation and test trials alone, none to train on")
    return parts


def _these(place, folds):
    return f"{place}, {place + folds}, ..."


def _by_label(session, stimulus, label, what):
    if label not in session.labels:
        known = ", ".join(session.labels) or "none"
        raise DataError(f"session {session.name}: split_label: expected one of its labels ({known}), found '{label}'")
    said = session.labels[label][stimulus]
    if said.ndim != 1 or said.dtype.kind != "U" or not np.isin(said, PARTS).all():
        found = ", ".join(map(str, np.unique(said).tolist()[:5]))
        raise DataError(f"{what}: label '{label}': expected one of {', '.join(PARTS)} per trial, found {found}")
    parts = np.array([PARTS.index(part) for part in said.tolist()])
    for k, part in enumerate(PARTS):
        if not (parts == k).any():
            raise DataError(f"{what}: label '{label}' names no trial for '{part}'")
    return parts
