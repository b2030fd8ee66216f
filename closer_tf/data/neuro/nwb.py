"""Reader of Allen Visual Coding - Neuropixels session files (NWB) that needs h5py alone."""

import os
import subprocess
import sys

import h5py
import numpy as np

from closer_tf.common.files import given_path
from closer_tf.common.labels import as_areas
from closer_tf.common.limits import check_declared, check_regular
from closer_tf.data.neuro.binning import Frames, InvalidInterval, Recording, Units
from closer_tf.errors import DataError

_SUFFIX = "_presentations"


def read_nwb(path):
    """Units, spike times, movie frames and invalid times of a session file. The file is opened for reading only.

    A unit's area is the location of its peak channel; allensdk takes it from the cache's channels.csv instead.

    Args:
        path: the .nwb file.

    Returns:
        `Recording`, before any filter, with every stimulus that has frame numbers.

    Raises:
        DataError: the file is absent, damaged or cut short, or lacks a table.
    """
    path = given_path(path)
    check_regular(path)
    _let_a_child_go_first(path)
    return _read(path)


def _let_a_child_go_first(path):
    """Have another process read the file: on some damaged files libhdf5 crashes or never ends."""
    seconds = 30 + path.stat().st_size / 2e6
    code = f"import sys; from {__name__} import _read; from pathlib import Path; _read(Path(sys.argv[1]))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        child = subprocess.run([sys.executable, "-c", code, path], env=environment, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise DataError(f"{path}: damaged: reading it did not end within {seconds:.0f} s") from None
    if child.returncode < 0:
        raise DataError(f"{path}: damaged: reading it crashes libhdf5 (signal {-child.returncode})")


def _read(path):
    try:
        with h5py.File(path, "r") as file:
            outside = file.visititems_links(_external)
            if outside is not None:
                raise DataError(f"{path}: {outside}: lies in another file; that is not read")
            units = _units(file)
            return Recording(
                name=_text(_values(file["identifier"])),
                units=units,
                spike_times=_spike_times(file["units"], units.ids),
                stimuli=_stimuli(file),
                invalid=_invalid(file),
            )
    except DataError as error:
        raise DataError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    except KeyError as error:
        raise DataError(f"{path}: not a session file of the Allen Institute's format: {error.args[0]}") from None
    except Exception as error:  # h5py raises many kinds on damaged files
        reason = str(error) or type(error).__name__
        raise DataError(f"{path}: cannot be read as an NWB file; it may be cut short: {reason}") from error


def _units(file):
    channels, table = file["general/extracellular_ephys/electrodes"], file["units"]
    channel_ids = _values(channels["id"])
    order = np.argsort(channel_ids, kind="stable")
    peaks = _values(table["peak_channel_id"])
    rows = order[np.searchsorted(channel_ids, peaks, sorter=order).clip(max=len(order) - 1)]
    if (channel_ids[rows] != peaks).any():
        raise ValueError("a unit's peak channel is not in the table of electrodes")
    location = _strings(channels["location"])[rows]
    areas = as_areas(location, len(location), "electrodes/location")
    return Units(
        ids=_values(table["id"]).astype(np.int64),
        areas=areas,
        probe_ids=_values(channels["probe_id"])[rows],
        probe_names=_strings(channels["group_name"])[rows],
        quality=_strings(table["quality"]),
        amplitude_cutoff=_values(table["amplitude_cutoff"]),
        presence_ratio=_values(table["presence_ratio"]),
        isi_violations=_values(table["isi_violations"]),
        valid_channel=_values(channels["valid_data"]).astype(bool)[rows],
        in_brain=areas != "",
    )


def _spike_times(table, ids):
    times, ends = _values(table["spike_times"]), _values(table["spike_times_index"])
    return dict(zip(ids.tolist(), _rows(times, ends, "units/spike_times_index"), strict=True))


def _rows(values, ends, what):
    """The rows of a ragged column, from where each ends.

    Raises:
        ValueError: the ends do not ascend to the last value.
    """
    starts = np.append(0, ends[:-1]) if len(ends) else ends
    if (ends < starts).any() or (ends[-1] if len(ends) else 0) != len(values):
        found = f"{ends[-1] if len(ends) else 'none'}, ascending: {'no' if (ends < starts).any() else 'yes'}"
        raise ValueError(f"{what}: expected ends that ascend to the {len(values)} values there are, found {found}")
    return np.split(values, ends[:-1])


def _stimuli(file):
    """Frames by stimulus, for those whose table has frame numbers."""
    found = {}
    for key, table in file["intervals"].items():
        if key.endswith(_SUFFIX) and "frame" in table:
            frame = table["frame"]
            numbers = _strings(frame) if frame.dtype.kind == "O" else _values(frame)
            found[key.removesuffix(_SUFFIX)] = Frames(numbers, _values(table["start_time"]), _values(table["stop_time"]))
    return found


def _invalid(file):
    if "intervals/invalid_times" not in file:
        return ()
    table = file["intervals/invalid_times"]
    tags = _rows(_strings(table["tags"]), _values(table["tags_index"]), "intervals/invalid_times/tags_index")
    spans = zip(_values(table["start_time"]).tolist(), _values(table["stop_time"]).tolist(), tags, strict=True)
    return tuple(InvalidInterval(start, stop, tuple(str(tag) for tag in names)) for start, stop, names in spans)


def _values(column):
    """All values of a column, once it is known that they fit and lie in this file."""
    if not isinstance(column, h5py.Dataset):
        raise ValueError(f"expected a column, found {column!r}")
    if column.external or column.is_virtual:
        raise DataError(f"{column.file.filename}: {column.name}: keeps its values in another file; that is not read")
    width = 64 if column.dtype.kind == "O" else column.dtype.itemsize  # a short string takes about 64 bytes
    check_declared(f"{column.file.filename}: {column.name}", column.size * width)
    return column[()]


def _external(name, link):
    """The name of a link into another file."""
    return name if isinstance(link, h5py.ExternalLink) else None


def _strings(column):
    return np.array([_text(value) for value in _values(column)], dtype=str)


def _text(value):
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
