"""All commands under one name: `closer_tf train CONFIG.json`, the same as `python -m closer_tf.train CONFIG.json`."""

import argparse
import importlib
import sys

from closer_tf.common.command import USER_ERROR, add_version
from closer_tf.config import suggestion

COMMANDS = {
    "diagnose": ("closer_tf.diagnose", "say before a training whether receptive fields agree about the label"),
    "train": ("closer_tf.train", "train an ensemble from a run config and read it out"),
    "train-fused": ("closer_tf.fused", "train several seeds of a run config in one, and read each out"),
    "sweep": ("closer_tf.sweep", "run many trainings from one file, here or on a cluster"),
    "reproduce": ("closer_tf.reproduce", "draw the paper's panels again, beside the published values"),
    "evaluate": ("closer_tf.evaluate", "read a finished run out again, or in another way"),
    "summary": ("closer_tf.summary", "set the readouts of several runs side by side"),
    "report": ("closer_tf.report", "compare runs on one HTML page"),
    "embed": ("closer_tf.embed", "write a run's embeddings to a file: arrays or a table"),
    "export": ("closer_tf.export", "take a run's ensemble elsewhere: SavedModel, Keras, ONNX"),
    "inspect": ("closer_tf.data.contents", "say what is in a file, and which command reads it"),
    "session": ("closer_tf.data.neuro.session_command", "make a session file of any NWB file with sorted units"),
    "allen": ("closer_tf.data.neuro.allen", "fetch the Allen Institute's recordings as session files"),
    "doctor": ("closer_tf.doctor", "say what this environment can do"),
}
"""name -> (module with a `main(arguments)` that returns the exit code, what it does)"""

EXAMPLES = """examples:
  closer_tf doctor
  closer_tf diagnose run_configs/simulated_tcloser.json
  closer_tf train quickstart
  closer_tf train run_configs/quickstart.json
  closer_tf sweep run_configs/sweeps/digits.json --workers 2
  closer_tf reproduce fig3b --dry-run
  closer_tf evaluate runs/quickstart --set readout.knn_neighbours=20
  closer_tf report runs/* -o report.html
  closer_tf embed runs/quickstart -o quickstart.npz
  closer_tf inspect mouse.nwb
  closer_tf export runs/quickstart --to exports/digits

`closer_tf COMMAND --help` says more; `python -m closer_tf COMMAND` is the same.
exit codes: 0 done; 1 a bug of ours, with its traceback; 2 a mistake that the message explains; 3 a training that diverged; 4 a
run folder that another process is at work on; 130 stopped by Ctrl-C and 143 by SIGTERM, with the state saved where the message
says so."""


def main(arguments=None):
    """The command line; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(
        prog="closer_tf",
        usage="closer_tf COMMAND ...",
        description="CLoSeR: ensembles of encoders with small receptive fields that learn from each other.\n\ncommands:\n"
        + "\n".join(f"  {name:12} {what}" for name, (_, what) in COMMANDS.items()),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version(parser)
    if not arguments:
        parser.print_help()
        return 0
    if arguments[0].startswith("-"):
        parser.parse_args(arguments)  # prints help, version or what is wrong, and exits
    name, *rest = arguments
    if name not in COMMANDS:
        hint = suggestion(name, COMMANDS)
        print(f"error: no command '{name}'; expected one of {', '.join(COMMANDS)}.{hint}", file=sys.stderr)
        return USER_ERROR
    return importlib.import_module(COMMANDS[name][0]).main(rest)


if __name__ == "__main__":
    raise SystemExit(main())
