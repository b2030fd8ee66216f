"""Data that a run was not trained on, read for its encoders: images from an .npz or a folder, or every bin of a session."""

import warnings
from pathlib import Path

import numpy as np

from closer_tf.common.files import read_npz
from closer_tf.common.values import as_labels
from closer_tf.data.scales import Scale, check_same_scale, scale_of
from closer_tf.errors import CloserWarning, DataError


def images(path, config, shape, known=None):
    """Images for a run's encoders.

    Args:
        path: an .npz with images in `x`, or in `x_train`, `x_test`, ..., and their labels, if there are any, in `y`,
            `y_train`, ...; or a folder as the source 'image_folder' takes it.
        config: the run's `RunConfig`.
        shape: (height, width, channels) of what it was trained on.
        known: dict, what the run remembers of its data (`RunFolder.read_data`); its white level holds for these images too.

    Returns:
        (columns, label names, white level): dict of `stimuli` (n, height, width, channels), `positions`, and `labels`, `splits`
        or `files` (n,) where there are any; None where no grey image has more than 8 bits.

    Raises:
        DataError: they cannot be read, or have another shape.
    """
    white = None
    if Path(path).is_dir():
        columns, names, white = _from_folder(path, config, shape, known or {})
    else:
        columns, names = _from_arrays(path)
    found = columns["stimuli"].shape[1:]
    if found != tuple(shape):
        raise DataError(f"{path}: expected images of shape {tuple(shape)}, as the run was trained on, found {found}")
    return columns, names, white


def recording(path, config, fields, known=None):
    """Every bin of every trial of a recording, for a run's encoders; for recurrent ones every bin with a whole window.

    Args:
        path: a file as the run's own source takes it; a session file for a simulated session.
        config: the run's `RunConfig`.
        fields: the run's `ReceptiveFields`, by area.
        known: dict, what the run remembers of its data (`RunFolder.read_data`); bins of another width are warned of.

    Returns:
        (columns, stimulus names): dict of `stimuli` (n, units), or windows (n, bins, units), `labels` (which stimulus),
        `trials`, `frames`.

    Raises:
        DataError: it cannot be read, its units are not those that the run was trained on, or its trials are shorter than a
            window.
    """
    from closer_tf.data.neuro.allen_arrays import read_natural_movie
    from closer_tf.data.neuro.sessions import Session

    if config.dataset.name == "gabors":
        return _gabors(path, fields)
    session = {"natural_movie": read_natural_movie}.get(config.dataset.name, Session.load)(path)
    session = session.take_units(np.argsort(session.unit_ids, kind="stable"))
    _check_units(path, session.unit_areas, fields)
    trained_on = (known or {}).get("bin_width")
    if trained_on and not np.isclose(session.bin_width, trained_on, rtol=0.01):
        warnings.warn(
            f"{path}: bins of {session.bin_width:.4g} s, those that the run was trained on are of {trained_on:.4g} s: encoders "
            f"have seen counts over another time",
            CloserWarning,
            stacklevel=2,
        )
    asked = getattr(config.dataset, "stimuli", None)
    names = [name for name in asked or session.stimuli if name in session.stimuli]
    if not names:
        raise DataError(f"{path}: none of the run's stimuli ({', '.join(asked)}); it has {', '.join(session.stimuli)}")
    parts = {key: [] for key in ("stimuli", "labels", "trials", "frames")}
    for label, name in enumerate(names):
        counts = session.counts(name)
        trial, frame = np.nonzero(session.is_bin(name))
        stimuli = counts[trial, frame]
        if config.takes_windows:
            window, lag = config.dataset.window, config.dataset.lag
            whole = frame >= (window - 1) * lag
            if not whole.any():
                raise DataError(f"{path}: trials of '{name}' have {counts.shape[1]} bins, too few for windows of {window}")
            trial, frame = trial[whole], frame[whole]
            stimuli = np.stack([counts[trial, frame - back * lag] for back in reversed(range(window))], axis=1)
        parts["stimuli"].append(stimuli)
        parts["labels"].append(np.full(len(trial), label))
        parts["trials"].append(session.trials[name][trial])
        parts["frames"].append(frame)
    return {key: np.concatenate(values) for key, values in parts.items()}, tuple(names)


def check_scale(path, stimuli, known, name):
    """Refuse stimuli that were prepared in another way than those of the training; warn of larger ones.

    Args:
        path: where the stimuli are from.
        stimuli: array (n, ...).
        known: dict of the training stimuli's `Scale`.
        name: what to call those.

    Raises:
        DataError: they are on another scale.
    """
    train, other = Scale(**known), scale_of(stimuli)
    check_same_scale(train, other, name, str(path))
    if other.high > 2 * train.high > 0 or other.low < 2 * train.low < 0:
        warnings.warn(f"{path}: {other}; {name}: {train}: encoders have seen no such values", CloserWarning, stacklevel=2)


def _from_folder(path, config, shape, known):
    from closer_tf.data.image_folder import folder_images

    options = config.dataset
    size = tuple(getattr(options, "image_size", shape[:2]))
    given = getattr(options, "white_level", None) or known.get("white_level")
    found = folder_images(path, size, getattr(options, "background", (255, 255, 255)), given)
    stimuli, labels, names, files, white = found
    if white is not None and given is None and options.name == "image_folder" and "white_level" not in known:
        print(f"note: what was white in the images that the run was trained on is not known; {white:g} is taken for {path}")
    columns = {"stimuli": stimuli, "positions": np.arange(len(files)), "files": np.array(files)}
    return columns | ({"labels": labels} if names else {}), names, white


def _from_arrays(path):
    stored = read_npz(path)
    keys = [key for key in stored if key == "x" or key.startswith("x_")]
    if not keys:
        raise DataError(
            f"{path}: no images: expected an array 'x', or 'x_train', 'x_test', ...; found {', '.join(stored) or 'none'}"
        )
    stimuli = [_checked(path, key, stored[key]) for key in keys]
    if len({part.shape[1:] for part in stimuli}) > 1:
        raise DataError(
            f"{path}: {', '.join(keys)}: images of different shapes: {', '.join(str(p.shape[1:]) for p in stimuli)}"
        )
    columns = {
        "stimuli": np.concatenate(stimuli),
        "positions": np.concatenate([np.arange(len(part)) for part in stimuli]),
        "splits": np.repeat([key.removeprefix("x").removeprefix("_") for key in keys], [len(part) for part in stimuli]),
    }
    names_of_labels = [f"y{key.removeprefix('x')}" for key in keys]
    if not all(key in stored for key in names_of_labels):
        return columns, ()
    labels = [_labels(path, key, stored[key], len(images)) for key, images in zip(names_of_labels, stimuli)]
    values, positions = np.unique(np.concatenate(labels), return_inverse=True)
    if values.dtype.kind == "U":
        return columns | {"labels": positions}, tuple(values.tolist())
    names = tuple(str(name) for name in stored["label_names"].ravel()) if "label_names" in stored else ()
    fitting = bool(names) and values.min() >= 0 and values.max() < len(names)
    return columns | {"labels": np.concatenate(labels)}, names if fitting else ()


def _labels(path, key, stored, count):
    labels = as_labels(stored, f"{path}: {key}")
    if len(labels) != count:
        raise DataError(f"{path}: {key}: expected {count} labels, one per image, found {_described(stored)}")
    return labels


def _checked(path, key, images):
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4 or 0 in images.shape or images.dtype.kind not in "buif":
        raise DataError(f"{path}: {key}: expected numbers (samples, height, width, channels), found {_described(images)}")
    if not np.isfinite(images).all():
        raise DataError(f"{path}: {key}: holds values that are not finite")
    return images


def _gabors(path, fields):
    from closer_tf.data.recordings import gabors

    source = gabors(path)
    _check_units(path, np.array(source.unit_areas), fields)
    parts = [(name, getattr(source, name)) for name in ("train", "validation", "test")]
    columns = {
        "stimuli": np.concatenate([part.inputs for _, part in parts]),
        "labels": np.concatenate([part.labels for _, part in parts]),
        "splits": np.repeat([name for name, _ in parts], [len(part) for _, part in parts]),
    }
    return columns, source.label_names


def _check_units(path, unit_areas, fields):
    """Refuse units that do not lie where the encoders look for them."""
    expected = sum(len(cells) for cells in fields.indices)
    for area, cells in zip(fields.labels, fields.indices):
        found = np.flatnonzero(unit_areas == area)
        if not np.array_equal(found, cells):
            raise DataError(
                f"{path}: area '{area}': {len(found)} units, numbers {_range(found)} in ascending unit id; the run was trained "
                f"on {len(cells)}, numbers {_range(cells)}. Encoders are for the units that they were trained on"
            )
    if len(unit_areas) != fields.grid[0] * fields.grid[1]:
        raise DataError(
            f"{path}: {len(unit_areas)} units, the run's data had {fields.grid[1]}, of which encoders see {expected}"
        )


def _range(numbers):
    return f"{numbers[0]} to {numbers[-1]}" if len(numbers) else "none"


def _described(array):
    return f"shape {array.shape} of {array.dtype}"
