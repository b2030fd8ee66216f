"""The run folder: one training run with all that is needed to repeat, continue and judge it.

config.json       the resolved config
versions.json     versions of Python and the libraries, and the machine
masks.npz         the receptive fields
history.csv       one row per epoch
checkpoints/      where the training can go on
ensemble.keras    the trained ensemble
results.json      the readout
figures/          pictures
"""

import contextlib
import csv
import io
import json
import os
import platform
import socket
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from closer_tf.config import load_config, parse_config
from closer_tf.errors import RunError
from closer_tf.files import write_atomically
from closer_tf.masks import ReceptiveFields

LIBRARIES = ("closer_tf", "keras", "tensorflow", "jax", "numpy", "scikit-learn", "scipy", "tensorflow-datasets")

FIRST_FILES = {"figures", "masks.npz", "versions.json", ".lock", ".holder.json"}  # what is there before config.json


class RunFolder:
    """A run folder that exists or is going to.

    Args:
        path: the folder.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.masks_file = self.path / "masks.npz"
        self.history_file = self.path / "history.csv"
        self.checkpoints = self.path / "checkpoints"
        self.ensemble_file = self.path / "ensemble.keras"
        self.results_file = self.path / "results.json"
        self.figures = self.path / "figures"

    def check(self, config):
        """See whether a config can be trained here.

        Returns:
            True if the folder holds a run of this config, False if it is still to be made.

        Raises:
            RunError: the folder holds a run of another config, or other files.
        """
        if not self.path.exists():
            return False
        if not self.path.is_dir():
            raise RunError(f"{self.path}: expected a run folder, found a file")
        if not self.config_file.exists():
            if {child.name for child in self.path.iterdir()} - FIRST_FILES:
                raise RunError(f"{self.path}: not empty and not a run folder; choose another with --run-dir")
            return False
        stored = self.load_config()
        if stored.digest() != config.digest():
            differing = [text for text in _differences(stored.to_dict(), config.to_dict()) if not text.startswith("readout.")]
            raise RunError(
                f"{self.path}: holds a run of another config ({'; '.join(differing[:3])}"
                f"{' ...' if len(differing) > 3 else ''}). Choose another folder with --run-dir, or remove this one."
            )
        return True

    @contextlib.contextmanager
    def opened(self, config, receptive_fields):
        """Make the folder, if need be, hold it for one writer, and write config, versions and masks where they are missing.

        Raises:
            RunError: the folder cannot be made, another process holds it, or it holds a run of another config.
        """
        try:
            self.figures.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.path}: the run folder cannot be made: {error.strerror}") from error
        with self.locked():
            if not self.check(config):
                write_atomically(self.masks_file, receptive_fields.to_bytes())
                write_atomically(self.path / "versions.json", json.dumps(versions(), indent=2) + "\n")
            write_atomically(self.config_file, config.to_json())  # makes the folder a run folder; readout keys may be new
            yield

    @contextlib.contextmanager
    def locked(self):
        """Hold the folder for one writer; the lock ends with the process, however that ends.

        Raises:
            RunError: another process holds it; the message says which.
        """
        from filelock import FileLock, Timeout

        holder = self.path / ".holder.json"
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            with contextlib.suppress(OSError, ValueError):
                who = json.loads(holder.read_text())
                raise RunError(f"{self.path}: in use by process {who['pid']} on {who['host']} since {who['since']}") from None
            raise RunError(f"{self.path}: in use by another process") from None
        try:
            who = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            write_atomically(holder, json.dumps(who))
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    def load_config(self, overrides=()):
        """The run's resolved `RunConfig`.

        Args:
            overrides: strings 'key.path=value' for keys that the trained weights do not follow from.

        Raises:
            RunError: there is no run here, its config is damaged, or an override would make it another run.
        """
        try:
            content = json.loads(self.config_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(f"{self.path}: no run here (no config.json)") from None
        except (OSError, ValueError) as error:
            raise RunError(f"{self.config_file}: damaged: {error}") from None
        config = parse_config(content, str(self.config_file))
        if not overrides:
            return config
        changed = load_config(self.config_file, overrides)
        if changed.digest() != config.digest():
            raise RunError(f"{self.path}: {', '.join(overrides)}: would make this another run; train it in its own folder")
        return changed

    def load_masks(self):
        """The run's `ReceptiveFields`."""
        return ReceptiveFields.load(self.masks_file)

    def write_history(self, rows):
        """Write history.csv from one dict per epoch."""
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["epoch"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.history_file, text.getvalue())

    def read_history(self):
        """The rows of history.csv, numbers as floats; empty when there is none yet."""
        if not self.history_file.exists():
            return []
        with open(self.history_file, newline="") as file:
            return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]

    def read_results(self):
        """The content of results.json, or an empty dict."""
        if not self.results_file.exists():
            return {}
        try:
            return json.loads(self.results_file.read_text())
        except ValueError as error:
            raise RunError(f"{self.results_file}: damaged: {error}; remove it and read out again") from None

    def write_results(self, results):
        """Write results.json."""
        write_atomically(self.results_file, json.dumps(results, indent=2, allow_nan=False) + "\n")


def versions():
    """Versions of Python and the libraries in use, and the machine, as a dict of strings."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    found["cores"] = str(os.cpu_count())
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _differences(stored, given, prefix=""):
    """One 'key: stored, given' text per key that differs."""
    texts = []
    for key in sorted({*stored, *given} - {"description"}):
        a, b = stored.get(key), given.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            texts += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            texts.append(f"{prefix}{key}: there {json.dumps(a)}, here {json.dumps(b)}")
    return texts
