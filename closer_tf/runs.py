"""The run folder: one training run with all that is needed to repeat, continue and judge it.

config.json       the resolved config
versions.json     versions of Python and the libraries, and the machine
masks.npz         the receptive fields
changes.json      stops for a loss that was not finite, and learning rates changed after one; absent without any
history.csv       one row per epoch
checkpoints/      where the training can go on
ensemble.keras    the trained ensemble; read out where there is no checkpoint
results.json      the readout
figures/          pictures
"""

import contextlib
import csv
import io
import json
import os
import socket
import time
import zipfile
from pathlib import Path

from closer_tf.checkpoints import PATTERN, checkpoint_files, latest_checkpoint
from closer_tf.config import CHECKPOINT_KEYS, FREE_COMPUTE_KEYS, apply_override, parse_config
from closer_tf.data.limits import check_regular
from closer_tf.errors import DataError, RunError
from closer_tf.files import ASIDE, make_folder, remove, remove_leftovers, write_atomically
from closer_tf.masks import ReceptiveFields
from closer_tf.versions import versions

LEARNING_RATE = "optimizer.learning_rate"  # the one key that may change after a stop for a loss that was not finite

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
        self.changes_file = self.path / "changes.json"
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
        try:
            if not self.config_file.exists():
                found = {child.name for child in self.path.iterdir() if not child.name.startswith(ASIDE)}
                if found - FIRST_FILES:
                    raise RunError(f"{self.path}: not empty and not a run folder; choose another with --run-dir")
                return False
        except OSError as error:
            raise RunError(f"{self.path}: cannot be read: {error.strerror}") from error
        stored = self.load_config()
        if stored.digest() != config.digest() and not self._may_go_on_with(stored, config):
            differing = [text for text in _differences(stored.to_dict(), config.to_dict()) if not _is_free(text)]
            raise RunError(
                f"{self.path}: holds a run of another config ({'; '.join(differing[:3])}"
                f"{' ...' if len(differing) > 3 else ''}). Choose another folder with --run-dir, or remove this one."
            )
        return True

    @contextlib.contextmanager
    def opened(self, config, receptive_fields):
        """Make the folder, if need be, hold it for one writer, and write config, versions and masks where they are missing.

        Raises:
            RunError: the folder cannot be made, another process holds it, or it holds a run of another config, or a trained
                ensemble without a checkpoint.
        """
        make_folder(self.figures, parents=True)
        with self.locked():
            for folder in (self.path, self.checkpoints, self.figures):
                remove_leftovers(folder)
            if self.check(config):
                self._refuse_to_train_anew()
                self._note_learning_rate(config)
            else:
                write_atomically(self.masks_file, receptive_fields.to_bytes())
                write_atomically(self.path / "versions.json", json.dumps(versions(), indent=2) + "\n")
            write_atomically(self.config_file, config.to_json())  # makes the folder a run folder; readout keys may be new
            yield

    def _refuse_to_train_anew(self):
        """Keep a trained ensemble that came without checkpoints: without one to go on from, a training begins anew."""
        if self.ensemble_file.exists() and self.history_file.exists() and not checkpoint_files(self.checkpoints):
            raise RunError(
                f"{self.path}: holds a trained ensemble.keras but no checkpoint to go on from; training anew would replace it. "
                "Read it out with python -m closer_tf.evaluate, or choose another folder with --run-dir."
            )

    @contextlib.contextmanager
    def locked(self):
        """Hold the folder for one writer; the lock ends with the process, however that ends.

        Raises:
            RunError: another process holds it; the message says which. Or the folder cannot be written to.
        """
        holder = self.path / ".holder.json"
        lock = self._take_lock(timeout=0.5)
        try:
            who = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            write_atomically(holder, json.dumps(who))
            yield
        finally:
            remove(holder)
            lock.release()

    def refuse_if_held(self):
        """Say at once, before anything slow, that another process holds the folder.

        Raises:
            RunError: one does; the message says which.
        """
        if (self.path / ".lock").exists():
            self._take_lock(timeout=0).release()

    def _take_lock(self, timeout):
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=timeout)
        except Timeout:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                who = json.loads((self.path / ".holder.json").read_text())
                raise RunError(f"{self.path}: in use by process {who['pid']} on {who['host']} since {who['since']}") from None
            raise RunError(f"{self.path}: in use by another process") from None
        except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
            raise RunError(f"{self.path}: cannot be locked for writing: {error}") from None
        return lock

    def load_config(self, overrides=()):
        """The run's resolved `RunConfig`, with the learning rate that it goes on with.

        Args:
            overrides: strings 'key.path=value' for keys that the trained weights do not follow from.

        Raises:
            RunError: there is no run here, its config is damaged, or an override would make it another run.
        """
        try:
            content = json.loads(self.config_file.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError("expected an object")
        except FileNotFoundError:
            raise RunError(f"{self.path}: no run here (no config.json)") from None
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{self.config_file}: damaged: {error}") from None
        for change in self.changes():
            if change["event"] == "learning rate":
                apply_override(content, f"{LEARNING_RATE}={change['to']!r}")
        config = parse_config(content, str(self.config_file))
        if not overrides:
            return config
        for override in overrides:
            apply_override(content, override)
        changed = parse_config(content, str(self.config_file)).resolved()
        if changed.digest() != config.digest():
            raise RunError(f"{self.path}: {', '.join(overrides)}: would make this another run; train it in its own folder")
        return changed

    def changes(self):
        """The events of changes.json, oldest first: list of dicts with `event`, `epoch` and `step` (done when it happened).

        'not finite': the training stopped; `terms` names what was not finite. 'learning rate': changed `from` one `to`
        another from that moment on.
        """
        if not self.changes_file.exists():
            return []
        try:
            events = json.loads(self.changes_file.read_text())
            for event in events:
                (event["event"], int(event["epoch"]), int(event["step"]))
                if event["event"] == "learning rate":
                    (float(event["from"]), float(event["to"]))
            return events
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise RunError(f"{self.changes_file}: damaged: {error}") from None

    def digests(self, config):
        """The digests of all configs that the run had: the config's own, and with the learning rates before."""
        rates = [change["from"] for change in self.changes() if change["event"] == "learning rate"]
        return {config.digest(), *(_with_learning_rate(config, rate).digest() for rate in rates)}

    def note_stop(self, epoch, step, terms):
        """Note in changes.json that the training stopped because something was not finite.

        Args:
            epoch: epochs done.
            step: steps done of the next.
            terms: names of what was not finite.
        """
        event = {"event": "not finite", "epoch": epoch, "step": step, "terms": list(terms)}
        events = self.changes()
        if events[-1:] != [event]:
            self._write_changes([*events, event])

    def _write_changes(self, events):
        write_atomically(self.changes_file, json.dumps(events, indent=1) + "\n")

    def _may_go_on_with(self, stored, config):
        """Whether only the learning rate differs, and the run stopped for a loss that was not finite and is still there."""
        events = self.changes()
        if not events or events[-1]["event"] != "not finite":
            return False
        latest = [path.name for path in checkpoint_files(self.checkpoints)[:1]]
        stopped = PATTERN.format(events[-1]["epoch"], events[-1]["step"])
        rate = config.optimizer.learning_rate
        return all(name < stopped for name in latest) and _with_learning_rate(stored, rate).digest() == config.digest()

    def _note_learning_rate(self, config):
        stored = self.load_config()
        if stored.digest() == config.digest():
            return
        checkpoint = latest_checkpoint(self.checkpoints, self.digests(stored))
        epoch, step = (checkpoint.epoch, checkpoint.step) if checkpoint else (0, 0)
        before, rate = stored.optimizer.learning_rate, config.optimizer.learning_rate
        event = {"event": "learning rate", "epoch": epoch, "step": step, "from": before, "to": rate}
        self._write_changes([*self.changes(), event])
        print(f"learning rate: {rate:g} in place of {before:g} from epoch {epoch}, step {step} on; noted in changes.json")

    def load_masks(self):
        """The run's `ReceptiveFields`."""
        return ReceptiveFields.load(self.masks_file)

    def load_ensemble(self, compiled=False):
        """The saved ensemble, a `CLoSeR` model.

        Args:
            compiled: with its optimizer and objective, where they were saved.

        Raises:
            RunError: there is none, or it cannot be loaded.
        """
        import keras

        if not self.ensemble_file.exists():
            raise RunError(
                f"{self.path}: no trained ensemble here yet (no ensemble.keras); finish the run with python -m closer_tf.train"
            )
        try:
            check_regular(self.ensemble_file)
            return keras.saving.load_model(self.ensemble_file, compile=compiled)
        except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile, DataError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise RunError(
                f"{self.ensemble_file}: cannot be loaded: {reason}; remove it and run the train command again"
            ) from None

    def write_history(self, rows):
        """Write history.csv from one dict per epoch; without rows there is no such file."""
        if not rows:
            remove(self.history_file)
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.history_file, text.getvalue())

    def read_history(self):
        """The rows of history.csv, numbers as floats; empty when there is none yet."""
        if not self.history_file.exists():
            return []
        try:
            with open(self.history_file, newline="") as file:
                return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
        except (OSError, ValueError, TypeError, csv.Error) as error:
            raise RunError(f"{self.history_file}: damaged: {error}; continuing the training writes it anew") from None

    def read_results(self):
        """The content of results.json, or an empty dict."""
        if not self.results_file.exists():
            return {}
        try:
            results = json.loads(self.results_file.read_text())
            if not isinstance(results, dict):
                raise ValueError("expected an object")
            return results
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{self.results_file}: damaged: {error}; remove it and read out again") from None

    def write_results(self, results):
        """Write results.json."""
        write_atomically(self.results_file, json.dumps(results, indent=2, allow_nan=False) + "\n")


def _with_learning_rate(config, rate):
    return config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"learning_rate": rate})})


def _is_free(difference):
    """Whether a difference between configs is one that the digest leaves out."""
    free = [f"training.{key}:" for key in CHECKPOINT_KEYS] + [f"compute.{key}:" for key in FREE_COMPUTE_KEYS]
    return difference.startswith(("readout.", *free))


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
