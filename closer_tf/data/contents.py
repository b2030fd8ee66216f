"""What is in a file, and which command reads it: closer_tf inspect FILE."""

import json
import shlex
import sys
import zipfile

import h5py
import numpy as np

from closer_tf.common.command import add_version, command_parser, run_command
from closer_tf.common.files import check_regular, given_path, read_npz
from closer_tf.data.neuro.sessions import SPIKE_TIMES
from closer_tf.data.samples import LABELS
from closer_tf.errors import DataError

_EXAMPLES = """examples:
  closer_tf inspect mouse.nwb
  closer_tf inspect mouse.npz
  closer_tf inspect kilosort/

Nothing is changed. A file that no command reads is said to be none, with exit code 2."""

_SHOWN = 8  # values of a column


def main(argv=None):
    """The command line; returns the exit code."""
    parser = command_parser(
        "closer_tf inspect",
        "Say what is in a file: NWB (HDF5 or Zarr), a session, images or recordings in .npz; or in a folder.",
        _EXAMPLES,
    )
    parser.add_argument("file", help="the file or folder")
    add_version(parser)
    arguments = parser.parse_args(argv)
    return run_command(lambda: print("\n".join(described(arguments.file))), needs_keras=False)


def described(path):
    """What is in a file or folder.

    Args:
        path: the file or folder.

    Returns:
        list of str, lines.

    Raises:
        DataError: it is absent, damaged, or nothing that is read.
    """
    path = given_path(path)
    if path.is_dir():
        return _folder(path)
    check_regular(path)
    if zipfile.is_zipfile(path) or path.suffix == ".npz":
        return _arrays(path, read_npz(path))
    if h5py.is_hdf5(path) or path.suffix == ".nwb":
        return _nwb(path)
    raise DataError(f"{path}: neither NWB (HDF5) nor .npz; expected one of these, or a folder of images, of phy or in Zarr")


def _arrays(path, stored):
    if "unit_ids" in stored and any(name.startswith("counts_") for name in stored):
        return _session(path)
    shapes = [f"  {name}: shape {array.shape} of {array.dtype}" for name, array in stored.items()]
    kind = next((kind for kind, keys in _KINDS.items() if set(keys) <= set(stored)), None)
    if kind is None:
        wanted = "; ".join(f"{kind}: {', '.join(keys)}" for kind, keys in _KINDS.items())
        raise DataError(
            f"{path}: an .npz with the arrays {', '.join(stored) or 'none'}, of none of the known kinds ({wanted}; session: "
            f"unit_ids, unit_areas, bin_width, counts_<stimulus>). {SPIKE_TIMES}"
        )
    lines = [f"{path}: arrays for the source '{kind}'", *shapes]
    if kind == "arrays":
        if stored["x_train"].ndim not in (3, 4):
            wanted = "(samples, height, width) or (samples, height, width, channels)"
            return [
                *lines,
                f"  x_train: expected images, {wanted}, to train on; closer_tf.CLoSeRTransformer takes rows of features",
            ]
        return [*lines, _command(kind, path)]
    from closer_tf.data.neuro.sessions import area_sizes

    areas = stored["areas"][stored["qc_pass"].astype(bool)] if kind == "gabors" else stored["areas"]
    return [*lines, *_by_area(kind, path, len(area_sizes(areas.astype(str), exclude=("grey",))))]


_KINDS = {
    "arrays": ("x_train",),
    "gabors": ("counts", "areas", "unit_ids", "qc_pass", "x", "y", "repeat"),
    "natural_movie": ("counts", "areas", "unit_ids"),
}
"""Source -> arrays that its files have; the first that fits counts."""


def _session(path):
    from closer_tf.data.neuro.sessions import Session, area_sizes

    session = Session.load(path)
    lines = [f"{path}: {session}", f"  {session.values}; areas: {_sizes(area_sizes(session.unit_areas))}"]
    for name, parts in session.labels.items():
        of_all = np.concatenate([part.ravel() for part in parts.values()])
        per = "trial" if next(iter(parts.values())).ndim == 1 else "bin"
        lines.append(f"  label '{name}', one per {per}: {_some(of_all)}")
    source = _read_out(session)
    bins = max(counts.shape[1] for counts in session.stimuli.values())
    lines += [
        f"  '{name}' means something else as dataset.label: give that label another name"
        for name in session.labels
        if name in LABELS
    ]
    if source.get("label") == "none" and "none" in session.labels:
        return lines
    if source.get("label") == "none":
        says = f"  one stimulus and no {'other ' * bool(session.labels)}labels: nothing is read out"
        lines.append(
            f"{says}, unless all trials show the same, as a movie does: then label 'segment' or 'time'" if bins > 1 else says
        )
    areas = len(area_sizes(session.unit_areas, exclude=("grey",)))
    return [*lines, *_by_area("session", path, areas, " --set condition=closer" * (bins == 1), source)]


def _read_out(session):
    """What of a session can be read out, as keys of `dataset`: which stimulus, where there are several; else a label."""
    if len(session.stimuli) > 1:
        return {}
    labels = {name: parts for name, parts in session.labels.items() if name not in LABELS}
    for name, parts in labels.items():
        if _classes(parts):
            return {"label": name}
    for name in labels:
        return {"label": name, "regress": True}
    return {"label": "none"}


def _classes(parts):
    """Whether a label is one of classes: words, or whole numbers."""
    return all(part.dtype.kind in "USiub" for part in parts.values())


def _by_area(kind, path, areas, more="", source=()):
    """How to train an ensemble with an encoder for each area."""
    if areas < 2:
        return ["  an ensemble has an encoder for each area: two areas at least are needed to train on it"]
    masks = """ --set 'masks={"scheme": "areas"}'""" * (kind == "natural_movie")  # that config names areas of its own
    return [_command(kind, path, f"{masks} --set num_encoders={min(areas, 10)}{more}", source)]


def _nwb(path):
    from closer_tf.data.neuro.clock import check_seconds
    from closer_tf.data.neuro.nwb_tables import areas_of, read_tables, text_columns

    tables = read_tables(path)
    spikes = [times[np.isfinite(times)] for times in tables.spikes]
    spikes = [times for times in spikes if len(times)]
    reach = f"from {min(map(np.min, spikes)):.6g} to {max(map(np.max, spikes)):.6g} s" if spikes else "none"
    count = sum(map(len, spikes))
    unknown = sum(map(len, tables.spikes)) - count
    lines = [
        f"{path}: NWB, {len(tables.spikes)} units ({len(tables.spikes) - len(spikes)} without spikes); {count} spikes, {reach}"
    ]
    if unknown:
        lines.append(f"  {unknown} spike times are not finite: no command reads such units; choose others with --units")
    try:
        check_seconds("  spike times", [np.sort(times) for times in spikes])
    except DataError as error:
        lines.append(str(error))
    try:
        areas, source = areas_of(tables)
        names, sizes = np.unique(areas, return_counts=True)
        order = sorted(range(len(names)), key=lambda k: (names[k] == "", -sizes[k], names[k]))
        lines.append(f"  areas, from {source}: {_sizes({names[k] or 'none': sizes[k] for k in order})}")
        column = ""
    except DataError as error:
        lines.append(f"  {error}")
        column = " --area-column COLUMN"
    for called, table in (("units", tables.units), ("electrodes", tables.electrodes)):
        if text_columns(table):
            lines.append(f"  columns of {called} with text: {', '.join(text_columns(table))}")
    command = f"closer_tf session {path}"
    for name, table in tables.intervals.items():
        rows = len(table.columns["start_time"]) if "start_time" in table.columns else 0
        lines.append(f"  intervals '{name}': {rows} rows")
        for key, values in table.columns.items():
            lines.append(f"    {key}: {_some(values)}")
        which = "" if name == "trials" else f" --trials {name}"
        if rows:
            lines.append(f"    {command}{which}{column} --condition COLUMN --bin-width SECONDS -o {tables.name}.npz")
    if not tables.intervals:
        lines.append("  no tables of intervals")
        lines.append(f"    {command}{column} --blocks SECONDS --bin-width SECONDS -o {tables.name}.npz")
    if any(name.startswith("natural_movie") and "frame" in table.columns for name, table in tables.intervals.items()):
        lines.append(f"  movies of the Allen Institute: closer_tf allen --nwb {path}")
    return lines


def _folder(path):
    if (path / "config.json").is_file() and (path / "masks.npz").is_file():
        return [f"{path}: a run folder", f"  closer_tf report {path} -o report.html, and closer_tf evaluate, embed, export"]
    if (path / "spike_times.npy").is_file() and (path / "spike_clusters.npy").is_file():
        return [f"{path}: spike sorting of Kilosort or phy; docs/neuroscientists.md makes a session of it in some lines"]
    if (path / ".zgroup").is_file() or (path / "zarr.json").is_file():
        return _nwb(path)
    from closer_tf.data.listing import image_files

    files, _ = image_files(path)
    if not files:
        raise DataError(f"{path}: a folder with neither images, nor spike sorting of phy, nor NWB in Zarr")
    return [f"{path}: a folder of {len(files)} images", _command("image_folder", path)]


_CONFIGS = {
    "image_folder": "small_images",
    "arrays": "small_images",
    "session": "simulated_tcloser",
    "natural_movie": "natural_movie_tcloser",
    "gabors": "gabors_closer",
}
"""Source -> the config that ships with the package to begin with."""


def _command(kind, path, more="", source=()):
    """A command that trains on the data, and what makes a config of it; `source` has further keys of `dataset`."""
    name = _CONFIGS[kind]
    source = json.dumps({"name": kind, "path": str(path), **dict(source)})
    known = kind in ("image_folder", "natural_movie", "gabors")  # of which that config is
    given = shlex.quote(f"dataset.path={path}" if known else f"dataset={source}")
    command = f"  closer_tf train {name} --run-dir runs/mine --set {given}{more}"
    return f"{command}\n  to have it as a config: the same with --resolved > mine.json"


def _some(values):
    """The values of a column in short."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        known = values[np.isfinite(values)]
        return f"{_some(known)}; {len(values) - len(known)} without" if len(known) else "no values"
    distinct = np.unique(values)
    if len(distinct) <= _SHOWN:
        return f"{len(distinct)} different values: {', '.join(str(value) for value in distinct.tolist())}"
    ends = f"{distinct[0]:.6g} to {distinct[-1]:.6g}" if values.dtype.kind in "iuf" else f"{distinct[0]}, {distinct[1]}, ..."
    return f"{len(distinct)} different values: {ends}"


def _sizes(sizes):
    return " ".join(f"{area} {size}" for area, size in sizes.items()) or "none"


if __name__ == "__main__":
    sys.exit(main())
