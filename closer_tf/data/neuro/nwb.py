"""Reader of Allen Visual Coding - Neuropixels session files (NWB) that needs h5py alone."""

import h5py
import numpy as np

from closer_tf.common.files import check_regular, given_path
from closer_tf.common.values import as_areas
from closer_tf.data.neuro.binning import Frames, InvalidInterval, Recording, Units
from closer_tf.data.neuro.hdf5 import errors_of, let_a_child_go_first, refuse_links, rows, strings, table_of, text, values

_SUFFIX = "_presentations"


def read_nwb(path, areas=None):
    """Units, spike times, movie frames and invalid times of a session file. The file is opened for reading only.

    A unit's area is the location of its peak channel; allensdk takes it from the cache's channels.csv instead.

    Args:
        path: the .nwb file.
        areas: dict of channel id to area, in place of the file's locations; channels that are not in it have none.

    Returns:
        `Recording`, before any filter, with every stimulus that has frame numbers, and all tables of presentations. What a file
        does not have of the quality metrics is None.

    Raises:
        DataError: the file is absent, damaged or cut short, or lacks a table.
    """
    path = given_path(path)
    check_regular(path)
    let_a_child_go_first(path, __name__)
    return _read(path, areas)


def _read(path, areas=None):
    with errors_of(path, "a session file of the Allen Institute's format"), h5py.File(path, "r") as file:
        refuse_links(path, file)
        units = _units(file, areas)
        return Recording(
            name=text(values(file["identifier"])),
            units=units,
            spike_times=_spike_times(file["units"], units.ids),
            stimuli=_stimuli(file),
            invalid=_invalid(file),
            presentations=_presentations(file),
        )


def _units(file, other_areas):
    channels, table = file["general/extracellular_ephys/electrodes"], file["units"]
    channel_ids = values(channels["id"])
    order = np.argsort(channel_ids, kind="stable")
    peaks = values(table["peak_channel_id"])
    row = order[np.searchsorted(channel_ids, peaks, sorter=order).clip(max=len(order) - 1)]
    if (channel_ids[row] != peaks).any():
        raise ValueError("a unit's peak channel is not in the table of electrodes")
    location = strings(channels["location"])[row]
    located = as_areas(location, len(location), "electrodes/location")
    areas = located
    if other_areas is not None:
        areas = as_areas([other_areas.get(channel, "") for channel in peaks.tolist()], len(peaks), "areas")
    return Units(
        ids=values(table["id"]).astype(np.int64),
        areas=areas,
        probe_ids=values(channels["probe_id"])[row],
        probe_names=strings(channels["group_name"])[row],
        quality=strings(table["quality"]) if "quality" in table else None,
        amplitude_cutoff=values(table["amplitude_cutoff"]) if "amplitude_cutoff" in table else None,
        presence_ratio=values(table["presence_ratio"]) if "presence_ratio" in table else None,
        isi_violations=values(table["isi_violations"]) if "isi_violations" in table else None,
        valid_channel=values(channels["valid_data"]).astype(bool)[row] if "valid_data" in channels else None,
        in_brain=located != "",
    )


def _spike_times(table, ids):
    times, ends = values(table["spike_times"]), values(table["spike_times_index"])
    return dict(zip(ids.tolist(), rows(times, ends, "units/spike_times_index"), strict=True))


def _stimuli(file):
    """Frames by stimulus, for those whose table has frame numbers."""
    found = {}
    for key, table in file["intervals"].items():
        if key.endswith(_SUFFIX) and "frame" in table:
            frame = table["frame"]
            numbers = strings(frame) if frame.dtype.kind == "O" else values(frame)
            found[key.removesuffix(_SUFFIX)] = Frames(numbers, values(table["start_time"]), values(table["stop_time"]))
    return found


def _presentations(file):
    """The columns of every table of presentations, by stimulus; text that stands for numbers as these, 'null' as NaN."""
    found = {}
    for key, table in file["intervals"].items():
        if key.endswith(_SUFFIX):
            columns = table_of(table).columns
            found[key.removesuffix(_SUFFIX)] = {name: as_numbers(column) for name, column in columns.items()}
    return found


def as_numbers(column):
    """A column of text as floats where all of it stands for numbers but 'null', which becomes NaN; any other as it is."""
    if column.dtype.kind not in "OU":
        return column
    try:
        return np.array([np.nan if str(value) in ("null", "nan", "") else float(value) for value in column.tolist()])
    except (TypeError, ValueError):
        return column.astype(str)


def _invalid(file):
    if "intervals/invalid_times" not in file:
        return ()
    table = file["intervals/invalid_times"]
    tags = rows(strings(table["tags"]), values(table["tags_index"]), "intervals/invalid_times/tags_index")
    spans = zip(values(table["start_time"]).tolist(), values(table["stop_time"]).tolist(), tags, strict=True)
    return tuple(InvalidInterval(start, stop, tuple(str(tag) for tag in names)) for start, stop, names in spans)
