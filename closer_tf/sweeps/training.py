"""One training in a process of its own: `python -m closer_tf.sweeps.training RUN_DIR [PLUGIN ...]`, the run config as a line on
its input.

The input stays open as long as somebody waits for the result. When it ends, because the worker or its whole machine is gone,
the training saves and stops after the current step, as if it had been sent SIGTERM.
"""

import json
import os
import signal
import sys
import threading

from closer_tf.common.command import Interrupted, run_command
from closer_tf.config import parse_config


def main(arguments=None):
    """Train what the first line of the input asks for; returns the exit code of `closer_tf.train`."""
    run_dir, *plugins = sys.argv[1:] if arguments is None else arguments
    content = json.loads(sys.stdin.readline())
    threading.Thread(target=_stop_when_alone, daemon=True).start()
    return run_command(lambda: _train(content, run_dir), plugins=plugins)


def _train(content, run_dir):
    from closer_tf.train import train_run

    config = parse_config(content, "point").resolved()
    try:
        train_run(config, run_dir)
    except Interrupted as stop:
        print(f"{stop}: state saved in {run_dir}")
        return 128 + stop.signal_number
    return 0


def _stop_when_alone():
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    raise SystemExit(main())
