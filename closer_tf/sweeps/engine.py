"""A sweep from its points to finished run folders, on any Dask cluster.

At most as many points are handed to the cluster as it has threads; whoever waits, waits here. A point whose worker is lost is
given to another worker by Dask, and goes on from its last checkpoint. The lock of a run folder keeps two from writing to one.
"""

import contextlib
import json
import signal
import threading
import time
import traceback
import uuid
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from closer_tf.common.backend import versions
from closer_tf.common.command import Interrupted
from closer_tf.common.files import given_path, make_folder, write_atomically
from closer_tf.errors import BusyError, CloserError, DataError, DivergedError, RunError
from closer_tf.results import READOUTS, read
from closer_tf.sweeps import worker
from closer_tf.sweeps.points import check_data, progress_of
from closer_tf.training.runs import RunFolder

POLL_SECONDS = 0.5
PATIENCE = 600.0  # seconds that running trainings are given to save and stop
LOGS = "logs"
NO_LABELS = "no labels: not read out"


@dataclass
class Outcome:
    """How far one point of a sweep is.

    Args:
        point: `Point`.
        state: 'done', 'new', 'interrupted', 'running', 'failed', 'busy' (another process holds its folder) or 'stopped'.
        found: the state in which this command found it.
        tries: how often this command began it, without the times that a lost worker is the reason for.
        seconds: what this command spent on it.
        threads: threads that it computed with.
        worker: where it last ran.
        error: why it failed, or None.
    """

    point: object
    state: str
    found: str
    tries: int = 0
    seconds: float = 0.0
    threads: int | None = None
    worker: str | None = None
    error: str | None = None


@dataclass
class Sweep:
    """A sweep at work.

    Args:
        name: what it is called; its record is RUNS_DIR/NAME.sweep.json.
        points: list of `Point`.
        runs_dir: the folder of all run folders.
        retries: how often a failed point is tried again.
        plugins: modules that register parts that the points' configs name.
    """

    name: str
    points: list
    runs_dir: Path
    retries: int = 2
    plugins: tuple = ()
    outcomes: list = field(init=False)

    def __post_init__(self):
        self.runs_dir, self.loaded = given_path(self.runs_dir).absolute(), {}
        self.outcomes = [self._look_at(point) for point in self.points]
        self.id = uuid.uuid4().hex
        self.stop_asked, self.signal_number = threading.Event(), None
        self.began, self.share = time.time(), 1

    @property
    def record_file(self):
        """The machine-readable record."""
        return self.runs_dir / f"{self.name}.sweep.json"

    def _look_at(self, point):
        try:
            state, _ = progress_of(point, self.runs_dir)
            if state == "done":
                run = RunFolder(self.runs_dir / point.name)
                check_data(point, run, self.loaded)
                run.check_masks(point.config)
        except (DataError, RunError) as error:
            return Outcome(point, "failed", "failed", error=str(error))
        return Outcome(point, state, state)

    def of_state(self, *states):
        """The outcomes that are in one of some states."""
        return [outcome for outcome in self.outcomes if outcome.state in states]

    def run(self, client, share=1, threads=None, watch=lambda sweep: None):
        """Run every point that is not done; returns when nothing is left to do or everything has stopped.

        Args:
            client: Dask client.
            share: trainings that one machine runs at once; its cores are divided by it.
            threads: threads of each training. Default: the cores of its machine divided by `share`.
            watch: function called with this object whenever something may have changed.

        Raises:
            BusyError: another process runs a sweep of this name here.
            RunError: the cluster is gone.
        """
        self.began, self.share = time.time(), share
        make_folder(self.runs_dir, parents=True)
        waiting = deque(outcome for outcome in self.outcomes if outcome.state != "done")
        running = {}
        with self._alone():
            while (waiting and not self.stop_asked.is_set()) or running:
                if self.stop_asked.is_set():
                    self._stop(client, running)
                    break
                if getattr(client, "status", "running") == "closed":
                    raise RunError("the Dask scheduler is gone. What was trained is saved; the same command goes on from there")
                slots = sum(found["nthreads"] for found in client.scheduler_info()["workers"].values())
                while waiting and len(running) < slots:
                    outcome = waiting.popleft()
                    running[self._submit(client, outcome, share, threads)] = outcome
                watch(self)
                for future in self._ended(running):
                    outcome = running.pop(future)
                    if self._take(future, outcome):
                        waiting.append(outcome)
                    self.write_record()
            self.write_record()
            watch(self)

    def run_here(self, watch=lambda sweep: None):
        """Run every point that is not done in this process, one after another; arguments and errors as for `run`.

        A point that fails is not tried again, and is none the worse for the next.
        """
        self.began = time.time()
        make_folder(self.runs_dir / LOGS, parents=True)
        with self._alone():
            for outcome in (outcome for outcome in self.outcomes if outcome.state != "done"):
                if self.stop_asked.is_set():
                    break
                outcome.state, outcome.tries, outcome.error = "running", outcome.tries + 1, None
                watch(self)
                began = time.monotonic()
                folder, log = self.runs_dir / outcome.point.name, self.runs_dir / LOGS / f"{outcome.point.name}.log"
                try:
                    outcome.state, outcome.error = train_here(outcome.point.config, folder, log)
                except Interrupted as stop:  # the training heard the signal in this command's place
                    outcome.state, self.signal_number = "stopped", stop.signal_number
                    self.stop_asked.set()
                outcome.seconds, outcome.worker = round(time.monotonic() - began, 1), "this process"
                self.write_record()
                watch(self)

    def _submit(self, client, outcome, share, threads):
        point = outcome.point
        outcome.state, outcome.tries, outcome.error = "running", outcome.tries + 1, None
        return client.submit(
            worker.train_point,
            self.id,
            point.config.to_dict(),
            str(self.runs_dir / point.name),
            str(self.runs_dir / LOGS / f"{point.name}.log"),
            threads,
            share,
            plugins=list(self.plugins),
            key=f"{point.name}-{self.id}-{outcome.tries}",
            pure=False,
        )

    def _ended(self, running):
        """The futures that have ended, after waiting a moment for one."""
        deadline = time.monotonic() + POLL_SECONDS
        while time.monotonic() < deadline and not self.stop_asked.is_set():
            if any(future.done() for future in running):
                break
            time.sleep(0.05)
        return [future for future in running if future.done()]

    def _take(self, future, outcome):
        """Take in how a point ended; returns whether it is to be tried again."""
        error = "the cluster gave it up" if future.status in ("cancelled", "lost") else future.exception()
        if error is not None:  # KilledWorker and the like: its workers died, again and again
            outcome.state, outcome.error = "failed", f"{type(error).__name__}: {error}" if error != str(error) else error
            return outcome.tries <= self.retries
        found = future.result()
        outcome.state, outcome.error, outcome.worker = found["state"], found["error"], found["worker"]
        outcome.seconds += found["seconds"]
        outcome.threads = found["threads"]
        # one that diverged would end the same way again
        return outcome.state == "failed" and found["code"] != DivergedError.exit_code and outcome.tries <= self.retries

    def _stop(self, client, running):
        """Have the running trainings save and stop, and take in how they ended."""
        client.run(worker.stop_trainings, self.id)
        deadline = time.monotonic() + PATIENCE
        while any(not future.done() for future in running) and time.monotonic() < deadline:
            time.sleep(0.1)
        for future, outcome in running.items():
            if future.done():
                self._take(future, outcome)
            else:
                outcome.state = "stopped"
        client.cancel(list(running))

    @contextlib.contextmanager
    def _alone(self):
        from filelock import FileLock, Timeout

        lock = FileLock(self.runs_dir / f".{self.name}.sweep.lock")
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            raise BusyError(f"{self.record_file}: another process runs a sweep of this name here") from None
        try:
            yield
        finally:
            lock.release()

    def write_record(self):
        """Write RUNS_DIR/NAME.sweep.json."""
        write_atomically(self.record_file, json.dumps(self.record(), indent=1) + "\n")

    def record(self):
        """What is known of every point, as plain data."""
        return {
            "sweep": self.name,
            "versions": versions(),
            "began": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.began)),
            "seconds": round(time.time() - self.began, 1),
            "trainings_per_host": self.share,
            "points": [self._about(outcome) for outcome in self.outcomes],
        }

    def _about(self, outcome):
        point = outcome.point
        about = {
            "run": point.name,
            "point": point.label,
            "baseline": point.baseline,
            "condition": point.config.condition,
            "seed": point.config.seed,
            "config_digest": point.config.digest(),
        }
        keys = ("state", "found", "tries", "seconds", "threads", "worker", "error")
        about |= {key: getattr(outcome, key) for key in keys}
        if outcome.state == "done":
            run = RunFolder(self.runs_dir / point.name)
            results = read(run.results_file)
            if results is None and not run.has_labels(point.config):
                about["note"] = NO_LABELS
            about["epochs"] = results.epochs if results else point.config.training.epochs
            about["accuracy"] = {
                condition: {name: found[name].test for name in READOUTS if name in found}
                for condition, found in (results.accuracy if results else {}).items()
            }
        return about


def train_here(config, run_dir, log_file):
    """Train a point in this process; what it prints is added to a log.

    Args:
        config: resolved `RunConfig`.
        run_dir: the run folder.
        log_file: the log.

    Returns:
        (state, error): 'done', 'failed' or 'busy'; a message where it failed, else None.

    Raises:
        Interrupted: the training was asked to stop; its state is saved.
    """
    import keras

    from closer_tf.train import train_run

    with open(log_file, "a", buffering=1) as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        try:
            train_run(config, run_dir)
        except Interrupted:
            raise
        except BusyError as error:
            return "busy", str(error)
        except Exception as error:  # whatever it is, the other points can do without this one
            if not isinstance(error, CloserError):
                traceback.print_exc()
            return "failed", str(error) if isinstance(error, CloserError) else f"{type(error).__name__}: {error}"
        finally:
            keras.utils.clear_session()
    return "done", None


@contextlib.contextmanager
def stopping_on_signals(sweep):
    """Context in which the first SIGINT or SIGTERM has a sweep save and stop; a second one ends the process as usual."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.getsignal(number) for number in numbers}

    def heard(number, frame):
        sweep.signal_number = number
        sweep.stop_asked.set()
        for each, handler in previous.items():
            signal.signal(each, handler)

    for number in numbers:
        signal.signal(number, heard)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
