"""Write a session file from any NWB file with sorted units: closer_tf session FILE -o SESSION.npz."""

import sys

from closer_tf.common.command import add_version, command_parser, run_command
from closer_tf.common.files import given_path
from closer_tf.data.neuro.sessions import area_sizes
from closer_tf.errors import ConfigError, DataError

_EXAMPLES = """examples:
  what is in a file, and which command reads it:
    closer_tf inspect mouse.nwb
  trials told apart by their column 'stimulus', in bins of 50 ms:
    closer_tf session mouse.nwb --condition stimulus --bin-width 0.05 -o mouse.npz
  another table, several columns, one bin per presentation, good units only:
    closer_tf session mouse.nwb --trials gabors_presentations --condition x_position y_position --one-bin \\
        --units quality=good "presence_ratio>=0.95" -o gabors.npz
  a recording without trials, in blocks of a minute:
    closer_tf session mouse.nwb --blocks 60 --bin-width 0.1 -o mouse.npz

A file in HDF5 needs no further package, a folder in Zarr needs zarr (pip install hdmf-zarr). For the Allen Institute's movies,
their quality filters and invalid times: closer_tf allen. For spike times in Python: Session.from_spike_times. A session file is
trained on with "dataset": {"name": "session", "path": "mouse.npz"}."""


def main(argv=None):
    """The command line; returns the exit code."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: _run(arguments), needs_keras=False)


def _parser():
    parser = command_parser(
        "closer_tf session", "Count the spikes of an NWB file in trials, and write them as a session file (.npz).", _EXAMPLES
    )
    parser.add_argument("file", help="an NWB file with units.spike_times: HDF5, or a folder in Zarr")
    parser.add_argument("-o", "--out", required=True, metavar="FILE", help="the session file to write, FILE.npz")
    width = parser.add_mutually_exclusive_group(required=True)
    width.add_argument("--bin-width", type=float, metavar="SECONDS", help="width of a bin")
    width.add_argument("--one-bin", action="store_true", help="every trial is one bin, from its start to its stop")
    parser.add_argument("--trials", default="trials", metavar="TABLE", help="table of intervals (default: %(default)s)")
    parser.add_argument("--condition", nargs="+", metavar="COLUMN", help="its columns that say what was shown or done")
    parser.add_argument("--length", type=float, metavar="SECONDS", help="of each trial; shorter ones are left out")
    parser.add_argument("--unequal", choices=("cut", "pad"), default="cut", help="trials of unequal length (default: cut)")
    parser.add_argument("--blocks", type=float, metavar="SECONDS", help="no trials: blocks of that length")
    parser.add_argument("--labels", nargs="+", default=[], metavar="COLUMN", help="columns of TABLE to read out later")
    parser.add_argument(
        "--periods", nargs="+", default=[], metavar="LABEL=TURN", help="labels that are angles, such as direction=360"
    )
    parser.add_argument("--area-column", metavar="COLUMN", help="column of units or electrodes (default: location)")
    parser.add_argument("--units", nargs="+", default=[], metavar="RULE", help="which units, such as quality=good")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    add_version(parser)
    return parser


def _period(text):
    label, _, turn = text.rpartition("=")
    try:
        return label, float(turn)
    except ValueError:
        raise ConfigError(f"--periods {text}: expected a label and what a full turn is, such as direction=360") from None


def _run(arguments):
    from closer_tf.data.neuro.nwb_tables import read_session

    out = given_path(arguments.out)
    if out.suffix != ".npz":
        raise ConfigError(f"--out {out}: expected a name that ends in .npz")
    if out.exists() and not arguments.force:
        raise DataError(f"{out}: is there already; choose another name, or replace it with --force")
    if arguments.blocks is not None and (arguments.condition or arguments.labels or arguments.one_bin):
        raise ConfigError("--blocks: blocks of time have no columns; leave out --condition, --labels and --one-bin")
    session = read_session(
        arguments.file,
        arguments.bin_width,
        trials=arguments.trials,
        condition=arguments.condition,
        area_column=arguments.area_column,
        units=arguments.units,
        blocks=arguments.blocks,
        length=arguments.length,
        labels=arguments.labels,
        unequal=arguments.unequal,
        periods=dict(_period(text) for text in arguments.periods),
    )
    session.save(out)
    print(f"{out}: {session}")
    print(f"  areas: {' '.join(f'{area} {size}' for area, size in area_sizes(session.unit_areas).items()) or 'none'}")


if __name__ == "__main__":
    sys.exit(main())
