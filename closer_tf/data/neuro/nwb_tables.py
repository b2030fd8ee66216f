"""Any NWB file with sorted units, in HDF5 (by h5py alone) or Zarr (by zarr): units, tables of intervals, and a session."""

import contextlib
import operator
import re
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from closer_tf.common.files import check_regular, given_path
from closer_tf.common.values import as_areas
from closer_tf.config import suggestion
from closer_tf.data.neuro.clock import check_seconds
from closer_tf.data.neuro.handed_over import spike_trains
from closer_tf.data.neuro.hdf5 import Table, errors_of, let_a_child_go_first, refuse_links, rows, table_of, text, values
from closer_tf.data.neuro.spikes import blocks_of_time, count_in_trials
from closer_tf.errors import DataError

LOCATION = "location"
_ELECTRODES = "general/extracellular_ephys/electrodes"
_GROUP = "electrode_group.location"
_RULE = re.compile(r"\s*([^<>=!]+?)\s*(>=|<=|!=|=)\s*(.+?)\s*")
_COMPARED = {">=": operator.ge, "<=": operator.le, "=": operator.eq, "!=": operator.ne}


@dataclass(frozen=True, eq=False)
class NwbTables:
    """What is in an NWB file.

    Args:
        name: str, the file's name without its suffix.
        units: `Table`, with `id`.
        spikes: list of float arrays, seconds, one per unit.
        electrodes: `Table`; without columns where the file has none.
        electrodes_of: list of int arrays, the rows of each unit's electrodes; None where that is not known.
        intervals: dict of name to `Table`: 'trials', 'epochs', ..., or 'module/name' in a processing module.
    """

    name: str
    units: Table
    spikes: list
    electrodes: Table
    electrodes_of: list | None
    intervals: dict


def read_tables(path):
    """Units, spike times and tables of intervals of an NWB file, which is opened for reading only.

    Args:
        path: a file in HDF5, or a folder in Zarr.

    Returns:
        `NwbTables`.

    Raises:
        DataError: it is absent, damaged or no NWB file, or has no sorted units.
    """
    path = given_path(path)
    if not path.is_dir():
        check_regular(path)
        let_a_child_go_first(path, __name__)
    return _read(path)


def read_session(
    path,
    bin_width,
    trials="trials",
    condition=None,
    area_column=None,
    units=(),
    blocks=None,
    length=None,
    labels=(),
    unequal="cut",
    report=print,
    periods=None,
):
    """A session of counts from any NWB file with sorted units and intervals.

    Args:
        path: a file in HDF5, or a folder in Zarr.
        bin_width: seconds; None: every interval is one bin.
        trials: name of the table of intervals.
        condition: name of its column that says what was shown or done, or a list of names. Default: `condition`, if there is
            such a column; else all are alike.
        area_column: column of the units, or of the electrodes, that holds the brain areas. Default: the units' `location`, or
            the most frequent `location` of the unit's electrodes, or that of its group of electrodes.
        units: rules such as 'quality=good' or 'presence_ratio>=0.95' (=, !=, >=, <=), which a unit must all meet.
        blocks: seconds: in place of intervals, blocks of that length from the first spike to the last.
        length, unequal, report: as in `closer_tf.data.neuro.spikes.count_in_trials`.
        labels: names of columns of the intervals that come along as labels.
        periods: dict of those among them that are angles to what a full turn is.

    Returns:
        `Session`, whose units have the file's ids.

    Raises:
        DataError: the file cannot be read, or lacks what is asked for; or its times are not in seconds.
    """
    tables = read_tables(path)
    try:
        areas, source = areas_of(tables, area_column)
        chosen = passing(tables.units, units)
        without = int((areas[chosen] == "").sum())
        report(f"{path}: areas from {source}" + (f"; {without} of {len(chosen)} units have none" if without else ""))
        if blocks is None:
            shown = intervals_of(tables, trials)
        else:
            _, trains = spike_trains([tables.spikes[k] for k in chosen])
            check_seconds("spike times", trains)
            if not any(map(len, trains)):
                raise DataError("no unit has a spike, from the first to the last of which blocks would reach")
            everything = np.concatenate(tables.spikes)
            first, last = (end(everything[np.isfinite(everything)]) for end in (np.min, np.max))
            shown = blocks_of_time(first, last, blocks)
            if (rest := last - shown[-1, 1]) >= bin_width:
                report(f"{path}: the last {rest:.3g} s are less than a block, and left out")
        session = count_in_trials(
            [tables.spikes[k] for k in chosen],
            areas[chosen],
            shown,
            bin_width,
            condition=condition,
            length=length,
            unit_ids=tables.units.columns["id"][chosen],
            labels={name: name for name in labels},
            unequal=unequal,
            name=tables.name,
            report=lambda line: report(f"{path}: {line.removeprefix(f'recording {tables.name}: ')}"),
            periods=periods,
        )
        if len(session.stimuli) == 1:
            report(f"{path}: {_one_stimulus(session, shown, blocks)}")
        return session
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _one_stimulus(session, table, blocks):
    """What a session of one stimulus cannot be trained for, and what to do."""
    if blocks is not None:
        return (
            "blocks of time are no stimuli, so that there is nothing to read out: train with dataset.label=none, or give a "
            "signal, such as running speed, in Python (docs/neuroscientists.md, 'A recording without trials')"
        )
    bins = next(iter(session.stimuli.values())).shape[1]
    labels = ", ".join(f"'{label}'" for label in (*(("segment", "time") if bins > 1 else ()), *session.labels))
    wanted = f"dataset.label to be one of {labels}" if labels else "a label (--labels COLUMN)"
    says = f"all trials are one stimulus, so that a training needs {wanted}, not 'stimulus'"
    columns = [
        name for name, values in table.items() if 1 < len(set(np.asarray(values).tolist())) < len(values) and name != "id"
    ]
    return f"{says}; or tell trials apart by a column, --condition COLUMN" + f", such as {', '.join(columns)}" * bool(columns)


def areas_of(tables, column=None):
    """The brain area of each unit.

    Args:
        tables: `NwbTables`.
        column: name of a column of the units or of the electrodes. Default: as in `read_session`.

    Returns:
        (str array (units,), '' for none; str, where they are from).

    Raises:
        DataError: there is no such column, or none that could be it.
    """
    name = column or LOCATION
    found = _named_areas(tables, name)
    if column is None and _GROUP in tables.units.columns:
        found[f"units/{_GROUP}"] = _names(tables.units.columns[_GROUP], f"units/{_GROUP}")
    for source, areas in found.items():
        if (areas != "").any():
            return areas, source
    if found:
        raise DataError(
            f"no brain areas: none of the {len(tables.spikes)} units has a name in {', '.join(found)}; {_others(tables)}"
        )
    if name in tables.units.others:
        tables.units.column(name, "areas of units")
    linked = "" if tables.electrodes_of is not None else ", and no column 'electrodes' says which electrodes a unit is from"
    raise DataError(
        f"no brain areas: expected a column '{name}' of the units or of their electrodes, found none{linked}; {_others(tables)}"
    )


def _named_areas(tables, name):
    """dict of where a column of that name is to str array (units,), the areas that it gives the units."""
    found = {}
    if name in tables.units.columns:
        found[f"units/{name}"] = _names(tables.units.columns[name], f"units/{name}")
    if tables.electrodes_of is not None and name in tables.electrodes.columns:
        of_electrodes = _names(tables.electrodes.columns[name], f"electrodes/{name}")
        areas = [_most_frequent(of_electrodes[of]) for of in tables.electrodes_of]
        found[f"electrodes/{name}"] = np.array(areas, dtype=str)
    return found


def _others(tables):
    texts = [f"units/{name}" for name in text_columns(tables.units)]
    texts += [f"electrodes/{name}" for name in text_columns(tables.electrodes)] if tables.electrodes_of is not None else []
    return f"name another one with --area-column, of the columns of text: {', '.join(texts) or 'none'}"


def intervals_of(tables, name):
    """The columns of a table of intervals, as a dict.

    Raises:
        DataError: there is no such table, or it has no intervals.
    """
    if name not in tables.intervals:
        there = ", ".join(f"{key} ({_length(table)})" for key, table in tables.intervals.items())
        raise DataError(
            f"no table of intervals '{name}'; it has {there or 'none'}.{suggestion(name, tables.intervals)} Name one with "
            f"--trials, or cut the recording into blocks of time with --blocks SECONDS"
        )
    table = tables.intervals[name]
    if not _length(table):
        raise DataError(f"the table of intervals '{name}' has no rows")
    return table.columns


def passing(units, rules):
    """Positions of the units that meet all rules.

    Args:
        units: `Table`.
        rules: list of str such as 'quality=good', 'presence_ratio>=0.95'. A unit without a value does not meet it.

    Returns:
        Int array.

    Raises:
        DataError: a rule is none, its column is not there, or no unit meets it.
    """
    kept = np.ones(len(units.columns["id"]), bool)
    for rule in rules:
        found = _RULE.fullmatch(rule)
        if not found:
            raise DataError(f"--units {rule}: expected a rule such as quality=good or presence_ratio>=0.95")
        name, sign, wanted = found.groups()
        column = units.column(name, f"--units {rule}: units")
        if column.dtype.kind in "iuf":
            try:
                wanted = float(wanted)
            except ValueError:
                raise DataError(f"--units {rule}: column '{name}' holds numbers, found '{wanted}'") from None
        elif sign in ("=", "!="):
            column = column.astype(str)
        else:
            raise DataError(f"--units {rule}: column '{name}' holds no numbers; expected = or !=")
        kept &= _COMPARED[sign](column, wanted) & (column == column)
        if not kept.any():
            raise DataError(f"--units {rule}: no unit is left of {len(kept)}")
    return np.flatnonzero(kept)


def text_columns(table):
    """Names of a table's columns of text."""
    return [name for name, column in table.columns.items() if column.dtype.kind == "U"]


@contextlib.contextmanager
def _opened(path):
    """The root group of an NWB file, of h5py or of zarr."""
    if not path.is_dir():
        with h5py.File(path, "r") as file:
            refuse_links(path, file)
            yield file
        return
    try:
        import zarr
    except ImportError:
        raise DataError(f"{path}: a folder; to read NWB in Zarr, pip install hdmf-zarr") from None
    try:
        group = zarr.open_group(str(path), mode="r")
    except Exception:  # of several kinds, which differ between versions
        raise DataError(f"{path}: a folder, but not one of NWB in Zarr") from None
    yield group


def _read(path):
    with errors_of(path, "an NWB file with sorted units"), _opened(path) as file:
        if "units" not in file or "spike_times" not in file["units"]:
            raise DataError(f"{path}: no sorted units: expected a table 'units' with a column 'spike_times'")
        units = file["units"]
        ids = values(units["id"])
        electrodes = table_of(file[_ELECTRODES]) if _ELECTRODES in file else Table({})
        table = table_of(units)
        groups = _group_locations(file, units)
        if groups is not None:
            table.columns[_GROUP] = groups
        return NwbTables(
            name=Path(path).name.removesuffix(".zarr").removesuffix(".nwb"),
            units=table,
            spikes=_ragged(units, "spike_times", len(ids)),
            electrodes=electrodes,
            electrodes_of=_electrodes_of(units, electrodes, table, len(ids)),
            intervals=_intervals(file),
        )


def _ragged(table, name, count):
    """A column with several values per row, as a list of arrays; one without an index has one value per row."""
    stored = values(table[name])
    if f"{name}_index" not in table:
        return np.split(stored, np.arange(1, count)) if len(stored) == count and count else [stored][:count]
    found = rows(stored, values(table[f"{name}_index"]), f"units/{name}_index")
    if len(found) != count:
        raise ValueError(f"units/{name}_index: expected {count} rows, found {len(found)}")
    return found


def _electrodes_of(units, electrodes, table, count):
    """Rows of each unit's electrodes, or None."""
    there = len(next(iter(electrodes.columns.values()), ()))
    if "electrodes" in units:
        found = [np.asarray(of, dtype=np.int64) for of in _ragged(units, "electrodes", count)]
        for unit, of in enumerate(found):
            if len(of) and not 0 <= of.min() <= of.max() < there:
                raise ValueError(f"units/electrodes: unit {unit} names row {of.max()} of the {there} electrodes")
        return found
    if "peak_channel_id" in table.columns and "id" in electrodes.columns:
        place = {channel: row for row, channel in enumerate(electrodes.columns["id"].tolist())}
        peaks = table.columns["peak_channel_id"].tolist()
        return [np.array([place[peak]] if peak in place else [], dtype=np.int64) for peak in peaks]
    return None


def _group_locations(file, units):
    """The location of each unit's group of electrodes, where the file is HDF5 and says it."""
    if "electrode_group" not in units or not isinstance(units["electrode_group"], h5py.Dataset):
        return None
    references = values(units["electrode_group"])
    if h5py.check_ref_dtype(units["electrode_group"].dtype) is None:
        return None
    return np.array([text(file[to].attrs.get(LOCATION, "")) if to else "" for to in references], dtype=str)


def _intervals(file):
    found = {}
    for name in file["intervals"] if "intervals" in file else ():
        found[name] = file["intervals"][name]
    for module in file["processing"] if "processing" in file else ():
        found |= {f"{module}/{name}": file["processing"][module][name] for name in file["processing"][module]}
    is_table = {name: not hasattr(group, "shape") and "start_time" in group for name, group in found.items()}
    return {name: table_of(group) for name, group in found.items() if is_table[name] and "stop_time" in group}


def _length(table):
    return len(next(iter(table.columns.values()), ()))


def _names(column, what):
    return as_areas(column, len(column), what, numbered=True)


def _most_frequent(names):
    """The name that occurs most often, the first of those that occur equally often; '' where there is none."""
    named = [name for name in names.tolist() if name]
    return max(dict.fromkeys(named), key=named.count, default="")
