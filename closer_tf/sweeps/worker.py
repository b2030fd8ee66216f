"""What a Dask worker does: start one training after another, each in a process of its own, and say how it ended."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from closer_tf.common.files import make_folder
from closer_tf.errors import BusyError

STOPPED = 128 + signal.SIGTERM  # exit code of a training that saved and stopped
TAIL = 2000  # bytes of a log that are looked at for the error message

_running = {}  # process id -> (sweep, Popen), of this worker
_stopped = set()  # sweeps whose trainings are not begun any more


def train_point(sweep, content, run_dir, log_file, threads=None, share=1, patience=120.0, plugins=()):
    """Train one point, or go on with it, and wait for the end.

    Args:
        sweep: str that names the running sweep, for `stop_trainings`.
        content: the resolved run config as plain data.
        run_dir: the run folder.
        log_file: file that takes what the training prints.
        threads: threads that the training computes with. Default: this machine's cores divided by `share`.
        share: trainings that this machine runs at once.
        patience: seconds to wait for a run folder that another process holds, such as one whose worker was just lost.
        plugins: modules that register parts that the config names; this machine has to find them.

    Returns:
        dict with `state` ('done', 'failed', 'stopped' or 'busy'), `code` (exit code, negative for a signal), `error`,
        `seconds`, `threads` and `worker` (host and process id).
    """
    began = time.monotonic()
    make_folder(Path(log_file).parent, parents=True)
    threads = threads or max(1, usable_cores() // share)
    code, error, busy = STOPPED, None, False
    while sweep not in _stopped:
        code = _run(sweep, content, run_dir, log_file, threads, plugins)
        error = None if code == 0 else _last_error(log_file)
        busy = code == BusyError.exit_code
        if not busy or time.monotonic() - began > patience:
            break
        time.sleep(2.0)
    stopped = code in (STOPPED, -signal.SIGTERM)
    return {
        "state": "done" if code == 0 else "busy" if busy else "stopped" if stopped else "failed",
        "code": code,
        "error": None if code == 0 or stopped else error or f"exit code {code}",
        "seconds": round(time.monotonic() - began, 1),
        "threads": threads,
        "worker": f"{os.uname().nodename}:{os.getpid()}",
    }


def stop_trainings(sweep):
    """Have this worker's trainings of a sweep save and stop; those that come are not begun."""
    _stopped.add(sweep)
    for of_sweep, process in list(_running.values()):
        if of_sweep == sweep:
            process.terminate()


def usable_cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def leave_foreground():
    """Put this process in a group of its own, so that Ctrl-C in a terminal reaches the sweep alone."""
    os.setpgid(0, 0)


def _run(sweep, content, run_dir, log_file, threads, plugins):
    """Run one training to its end; returns its exit code."""
    command = [sys.executable, "-m", "closer_tf.sweeps.training", str(run_dir), *plugins]
    with open(log_file, "ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=_environment(threads), start_new_session=True
        )
    _running[process.pid] = (sweep, process)
    try:
        with contextlib.suppress(BrokenPipeError):  # it ended before it read its config
            process.stdin.write((json.dumps(content) + "\n").encode())
            process.stdin.flush()
        return process.wait()
    finally:
        del _running[process.pid]
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _environment(threads):
    environment = dict(os.environ)
    for name in ("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environment.pop(name, None)  # Dask sets these and OMP_NUM_THREADS to 1 for itself
    environment.setdefault("TF_NUM_INTRAOP_THREADS", str(threads))  # who says how many stays right: docs/performance.md
    return environment | {"OMP_NUM_THREADS": str(threads)}


def _last_error(log_file):
    """The last line of a log that says what went wrong, or None."""
    with open(log_file, "rb") as log:
        log.seek(max(0, os.path.getsize(log_file) - TAIL))
        lines = log.read().decode(errors="replace").strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or [None])[-1]
