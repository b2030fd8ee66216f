"""Sessions of the Allen Visual Coding - Neuropixels data set, as session files: closer_tf allen.

Siegle et al. 2021, "Survey of spiking in the mouse visual system reveals functional hierarchy"; data from the Allen Brain
Observatory, under the Allen Institute's terms of use.
"""

import argparse
import sys
import time
from dataclasses import fields, replace

from closer_tf.common.command import add_version, command_parser, run_command
from closer_tf.common.files import given_path
from closer_tf.data.neuro.binning import FILTERS, MOVIES, bin_recording, passing_units
from closer_tf.data.neuro.presentations import bin_presentations
from closer_tf.data.neuro.sessions import Session, area_sizes
from closer_tf.errors import DataError

PUBLISHED_AREAS = {
    751348571: ("LP", "VISrl", "CA1", "VISam", "PO", "LGd", "VISp", "SUB", "Eth", "SGN"),
    755434585: ("VISam", "VISp", "VISpm", "ProS", "VISrl", "CA1", "LGd", "VISal", "VISl", "MGv"),
    757216464: ("LP", "CA1", "VISp", "PO", "VISam", "VISl", "VISal", "SGN", "SUB", "VISrl"),
    757970808: ("CA1", "VISp", "VISam", "LP", "VISli", "VISal", "ProS", "VISrl", "LGd", "MB"),
}
"""The ten areas of each of the paper's mice, in descending number of units."""

_EXAMPLES = """examples:
  what there is (downloads the tables when the cache has none):
    closer_tf allen --list --cache allen_cache --yes
  one of the paper's mice: how large the download is, then download and write allen_sessions/session_751348571.npz:
    closer_tf allen 751348571 --cache allen_cache
    closer_tf allen 751348571 --cache allen_cache --yes
  a session file that you have, without allensdk and without a network:
    closer_tf allen --nwb session_751348571.nwb
  stimuli that were shown one by one, as trials of one bin, into allen_sessions/session_751348571_gabors.npz:
    closer_tf allen --nwb session_751348571.nwb --presentations gabors --condition x_position y_position
  other quality filters, or one less:
    closer_tf allen --nwb session_751348571.nwb --presence-ratio 0.9 --skip amplitude_cutoff

An interrupted download continues where it stopped; a session file that is there already is not made again.
allensdk needs Python 3.11: pip install 'closer_tf[allen]'.
"""


def session_path(out, name, presentations=None):
    """Where the session file of a recording goes; with the name of a stimulus, that of its presentations."""
    return given_path(out) / f"session_{name}{f'_{presentations}' if presentations else ''}.npz"


def main(argv=None):
    """The command line; returns the exit code."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: _run(arguments), needs_keras=False)


def _parser():
    parser = command_parser(
        "closer_tf allen",
        "Write sessions of the Allen Visual Coding - Neuropixels data set as session files (.npz).",
        _EXAMPLES,
    )
    parser.add_argument("sessions", nargs="*", type=int, help="session ids; default: the four mice of the paper")
    parser.add_argument("--cache", default="allen_cache", help="folder of allensdk's cache (default: %(default)s)")
    parser.add_argument("--out", default="allen_sessions", help="folder of the session files (default: %(default)s)")
    parser.add_argument("--nwb", nargs="+", metavar="FILE", help="read these session NWB files, without allensdk")
    parser.add_argument("--list", action="store_true", help="show sessions, areas and numbers of units")
    parser.add_argument("--yes", action="store_true", help="download what is missing")
    parser.add_argument("--force", action="store_true", help="make session files anew that are there already")
    parser.add_argument(
        "--stimuli", nargs="+", default=list(MOVIES), metavar="NAME", help=f"movies to bin (default: {' '.join(MOVIES)})"
    )
    parser.add_argument(
        "--bins-per-frame",
        type=_positive,
        default=1,
        metavar="N",
        help="bins that each frame of a movie is cut into (default: %(default)s)",
    )
    parser.add_argument("--presentations", metavar="NAME", help="in place of movies, a stimulus that was shown one by one")
    parser.add_argument("--condition", nargs="+", metavar="COLUMN", help="columns that tell its presentations apart")
    for name, which in (("amplitude_cutoff", "highest"), ("presence_ratio", "lowest"), ("isi_violations", "highest")):
        says = f"{which} {name} of a unit that passes (default: %(default)s)"
        default = getattr(FILTERS, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=default, metavar="NUMBER", help=says)
    skipped = [field.name for field in fields(FILTERS)]
    parser.add_argument("--skip", nargs="+", default=[], choices=skipped, metavar="FILTER", help=f"of {', '.join(skipped)}")
    add_version(parser)
    return parser


def _positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {value}")
    return value


def _run(arguments):
    if arguments.nwb and arguments.sessions:
        raise DataError("--nwb FILE names the recordings itself; leave out the session ids")
    if arguments.condition and not arguments.presentations:
        raise DataError("--condition tells presentations apart; name their stimulus with --presentations, such as gabors")
    if arguments.list and arguments.nwb:
        _list_files(arguments.nwb, _filters(arguments))
    elif arguments.list:
        _list_cache(arguments)
    elif arguments.nwb:
        from closer_tf.data.neuro.nwb import read_nwb

        for file in arguments.nwb:
            print(f"{file}: reading ...", flush=True)
            recording = read_nwb(file)
            if not _done(arguments, recording.name):
                _write(arguments, recording)
    else:
        _from_cache(arguments)


def _from_cache(arguments):
    from closer_tf.data.neuro import allen_cache

    todo = [s for s in arguments.sessions or PUBLISHED_AREAS if not _done(arguments, s)]
    if not todo:
        return
    urls = {}
    for session in todo:
        if not allen_cache.session_file(arguments.cache, session).is_file():
            urls[session] = allen_cache.session_url(session)
            print(f"session {session}: {_size(urls[session][1])} to download to {arguments.cache}", flush=True)
    _get_tables(arguments, also=len(urls))
    for session in todo:
        if session in urls:
            url, size = urls[session]
            allen_cache.download_file(url, size, allen_cache.session_file(arguments.cache, session), _Progress(session))
        print(f"session {session}: reading ...", flush=True)
        _write(arguments, allen_cache.read_session(arguments.cache, session, _filters(arguments)))


def _get_tables(arguments, also=0):
    """Download the tables that the cache lacks; without --yes, stop when these or `also` sessions are missing."""
    from closer_tf.data.neuro import allen_cache

    missing = allen_cache.missing_tables(arguments.cache)
    if missing:
        print(f"{', '.join(missing)}: some tens of MB to download to {arguments.cache}", flush=True)
    if (missing or also) and not arguments.yes:
        raise DataError(f"{arguments.cache} lacks {len(missing)} tables and {also} sessions; to download them, add --yes")
    allen_cache.download_tables(arguments.cache)


def _filters(arguments):
    chosen = {name: getattr(arguments, name) for name in ("amplitude_cutoff", "presence_ratio", "isi_violations")}
    skipped = {name: False if isinstance(getattr(FILTERS, name), bool) else None for name in arguments.skip}
    return replace(FILTERS, **chosen | skipped)


def _done(arguments, name):
    path = session_path(arguments.out, name, arguments.presentations)
    if arguments.force or not path.exists():
        return False
    try:
        session = Session.load(path)
    except DataError as error:
        print(f"{error}; making it anew", flush=True)
        return False
    if _filters(arguments) != FILTERS:
        raise DataError(f"{path}: is there already, made with filters that it does not name; add --force to replace it")
    if arguments.presentations:
        print(f"{path}: already written, skipped; --force makes it anew", flush=True)
        return True
    if list(session.stimuli) != list(arguments.stimuli):
        raise DataError(
            f"{path}: holds {', '.join(session.stimuli)}, asked for {', '.join(arguments.stimuli)}; add --force to replace it, "
            f"or name another --out"
        )
    stored = session.bins_per_frame or 1  # files from before it was stored
    if stored != arguments.bins_per_frame:
        raise DataError(
            f"{path}: holds {stored} bins per frame, asked for {arguments.bins_per_frame}; add --force to replace it, or name "
            f"another --out"
        )
    print(f"{path}: already written ({1000 * session.bin_width:.1f} ms per bin), skipped; --force makes it anew", flush=True)
    return True


def _write(arguments, recording):
    filters, presentations = _filters(arguments), arguments.presentations
    if presentations:
        session = bin_presentations(recording, presentations, arguments.condition, filters)
    else:
        session = bin_recording(recording, arguments.stimuli, arguments.bins_per_frame, filters=filters)
    path = session_path(arguments.out, recording.name, presentations)
    session.save(path)
    shapes = ", ".join(f"{name} {c.shape[0]} trials of {c.shape[1]} bins" for name, c in session.stimuli.items())
    print(f"{path}: {session.num_units} units; {shapes}; {1000 * session.bin_width:.1f} ms per bin")
    print(f"  areas: {_areas(area_sizes(session.unit_areas))}", flush=True)


def _list_cache(arguments):
    from closer_tf.data.neuro import allen_cache

    _get_tables(arguments)
    for session, kind, areas in allen_cache.list_sessions(arguments.cache):
        if arguments.sessions and session not in arguments.sessions:
            continue
        here = ", in the cache" if allen_cache.session_file(arguments.cache, session).is_file() else ""
        paper = ", in the paper" if session in PUBLISHED_AREAS else ""
        print(f"{session}  {kind}{paper}{here}: {sum(areas.values())} units: {_areas(areas)}")


def _list_files(files, filters):
    from closer_tf.data.neuro.nwb import read_nwb

    for file in files:
        recording = read_nwb(file)
        areas = recording.units.areas[passing_units(recording.units, filters)]
        print(f"{file}  session {recording.name}: {len(areas)} units: {_areas(area_sizes(areas))}")
        print(f"  stimuli with frames: {', '.join(sorted(recording.stimuli))}")
        print(f"  presentations: {', '.join(sorted(recording.presentations))}")


def _areas(sizes):
    return " ".join(f"{area} {size}" for area, size in sizes.items())


def _size(size):
    if size is None:
        return "an unknown size (usually 2 to 3 GB)"
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.2f} MB"


class _Progress:
    """Prints how far a download is: at most one line in ten seconds, and the last one."""

    def __init__(self, session):
        self._session = session
        self._next = time.monotonic()

    def __call__(self, done, size):
        if time.monotonic() >= self._next or done == size:
            self._next = time.monotonic() + 10
            print(f"session {self._session}: {_size(done)} of {_size(size)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
