"""The run folder: one training run with all that is needed to repeat, continue and judge it.

config.json       the resolved config
versions.json     versions of Python and the libraries, and the machine
data.json         what the run was trained on: a fingerprint of the content, shapes, label names (`closer_tf.data.fingerprint`)
masks.npz         the receptive fields
changes.json      stops for a loss that was not finite, learning rates changed after one, other numbers of epochs; absent
                  without any
history.csv       one row per epoch
checkpoints/      where the training can go on
weights/          the ensemble after the epochs of `readout.at_epochs`; absent without any
best/             the state after the best epoch, for `training.keep: best`; absent where a checkpoint is of that epoch
ensemble.keras    the trained ensemble; read out where there is no checkpoint
results.json      the readout
results_before.json  the one before, until one that began anew is done
figures/          pictures
tensorboard/      what TensorBoard shows; absent unless --tensorboard asks for it
.lock             held by the process that writes, which .holder.json names

A training that goes on beyond its end leaves the ensemble and the results of that moment beside: ensemble_after_3_epochs.keras,
results_after_3_epochs.json.
"""

import contextlib
import csv
import io
import json
import math
import os
import shlex
import socket
import time
import zipfile

import numpy as np

from closer_tf.common.backend import versions
from closer_tf.common.files import (
    ASIDE,
    check_regular,
    given_path,
    make_folder,
    read_text,
    remove,
    remove_leftovers,
    write_atomically,
)
from closer_tf.config import RecordingSource, apply_override, parse_config
from closer_tf.config.identity import differences as config_differences
from closer_tf.config.identity import digests, same_weights
from closer_tf.data.fingerprint import differences
from closer_tf.errors import BusyError, DataError, RunError
from closer_tf.masks import ReceptiveFields, read_masks
from closer_tf.results import read as read_results
from closer_tf.training.checkpoints import checkpoint_files, moment_of

CHANGEABLE = {"learning rate": "optimizer.learning_rate", "epochs": "training.epochs"}
"""Event of changes.json -> the key that it changed: the learning rate after a stop for a loss that was not finite, the number
of epochs to one that the training has not passed."""

FIRST_FILES = {
    "figures",
    "data.json",
    "masks.npz",
    "versions.json",
    ".lock",
    ".holder.json",
}  # what is there before config.json


class RunFolder:
    """A run folder that exists or is going to.

    Args:
        path: the folder.
    """

    def __init__(self, path):
        self.path = given_path(path)
        self.config_file = self.path / "config.json"
        self.data_file = self.path / "data.json"
        self.masks_file = self.path / "masks.npz"
        self.changes_file = self.path / "changes.json"
        self.history_file = self.path / "history.csv"
        self.checkpoints = self.path / "checkpoints"
        self.weights = self.path / "weights"
        self.best = self.path / "best"
        self.ensemble_file = self.path / "ensemble.keras"
        self.results_file = self.path / "results.json"
        self.results_before = self.path / "results_before.json"
        self.figures = self.path / "figures"

    def check(self, config):
        """See whether a config can be trained here.

        Returns:
            True if the folder holds a run of this config, False if it is still to be made.

        Raises:
            RunError: the folder holds a run of another config, or has trained for more epochs, or holds other files.
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
        if not same_weights(stored, config) and not self._may_go_on_with(stored, config):
            self._refuse_epochs(stored, config)
            found = config_differences(stored, config)
            differing = [f"{key}: there {json.dumps(there)}, here {json.dumps(here)}" for key, there, here in found]
            moved = [f"masks.path={there}" for key, there, here in found if key == "masks.path" and there and here]
            raise RunError(
                f"{self.path}: holds a run of another config ({'; '.join(differing[:3])}"
                f"{' ...' if len(differing) > 3 else ''}). Choose another folder with --run-dir, or remove this one."
                + "".join(f" If its masks were moved: it keeps them and goes on with --set {shlex.quote(way)}" for way in moved)
            )
        return True

    @contextlib.contextmanager
    def opened(self, config, receptive_fields, data=None):
        """Make the folder, if need be, hold it for one writer, and write config, versions, masks and what the data is where
        they are missing.

        Args:
            config: resolved `RunConfig`.
            receptive_fields: `ReceptiveFields`.
            data: `Splits`; without it the run will not know its data.

        Raises:
            RunError: the folder cannot be made, another process holds it, or it holds a run of another config, or a trained
                ensemble without a checkpoint.
        """
        make_folder(self.figures, parents=True)
        with self.locked():
            for folder in (self.path, self.checkpoints, self.weights, self.best, self.figures):
                remove_leftovers(folder)
            if self.check(config):
                self._refuse_to_train_anew()
                self._note_changes(config)
            else:
                write_atomically(self.masks_file, receptive_fields.to_bytes())
                write_atomically(self.path / "versions.json", json.dumps(versions(), indent=2) + "\n")
            if data is not None and data.identity is not None and not self.data_file.exists():
                write_atomically(self.data_file, json.dumps(data.identity, indent=1) + "\n")
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
            BusyError: another process holds it; the message says which.
            RunError: the folder cannot be written to.
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
            BusyError: one does; the message says which.
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
                who = json.loads(read_text(self.path / ".holder.json"))
                raise BusyError(f"{self.path}: in use by process {who['pid']} on {who['host']} since {who['since']}") from None
            raise BusyError(f"{self.path}: in use by another process") from None
        except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
            raise RunError(f"{self.path}: cannot be locked for writing: {error}") from None
        return lock

    def load_config(self, overrides=()):
        """The run's resolved `RunConfig`, with the learning rate and the epochs that it goes on with.

        Args:
            overrides: strings 'key.path=value' for keys that the trained weights do not follow from.

        Raises:
            RunError: there is no run here, its config is damaged, or an override would make it another run.
        """
        try:
            content = json.loads(read_text(self.config_file))
            if not isinstance(content, dict):
                raise ValueError("expected an object")
        except FileNotFoundError:
            raise RunError(f"{self.path}: no run here (no config.json)") from None
        except NotADirectoryError:
            raise RunError(f"{self.path}: a file; expected a run folder, as closer_tf.train makes them") from None
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{self.config_file}: damaged: {error}") from None
        for change in self.changes():
            if change["event"] in CHANGEABLE:
                apply_override(content, f"{CHANGEABLE[change['event']]}={change['to']!r}")
        config = parse_config(content, str(self.config_file))
        if not overrides:
            return config
        for override in overrides:
            apply_override(content, override)
        changed = parse_config(content, str(self.config_file)).resolved()
        if not same_weights(changed, config):
            raise RunError(f"{self.path}: {', '.join(overrides)}: would make this another run; train it in its own folder")
        return changed

    def changes(self):
        """The events of changes.json, oldest first: list of dicts with `event`, `epoch` and `step` (done when it happened).

        'not finite': the training stopped; `terms` names what was not finite. 'learning rate' and 'epochs': changed `from` one
        `to` another from that moment on.
        """
        if not self.changes_file.exists():
            return []
        try:
            events = json.loads(read_text(self.changes_file))
            for event in events:
                (event["event"], int(event["epoch"]), int(event["step"]))
                if event["event"] in CHANGEABLE:
                    (float(event["from"]), float(event["to"]))
            return events
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise RunError(f"{self.changes_file}: damaged: {error}") from None

    def digests(self, config):
        """The digests of all configs that the run had: the config's own, and with the learning rates and epochs before."""
        found = digests(config)
        for change in reversed(self.changes()):
            config = before_change(config, change)
            found |= digests(config)
        return found

    def digest_at(self, config, epoch):
        """The digest of the config under which an epoch was trained: with the learning rate and the epochs that it had.

        Args:
            config: the run's config as it is now.
            epoch: int, counted from 1; 0 for before the training.
        """
        for change in reversed(self.changes()):
            if change["event"] in CHANGEABLE:
                if epoch > change["epoch"]:
                    break
                config = before_change(config, change)
        return config.digest()

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

    def moment(self):
        """(epochs done, steps done of the next), as the name of the latest checkpoint says; (0, 0) without one."""
        return max([(0, 0), *(moment_of(path.name) for path in checkpoint_files(self.checkpoints))])

    def _may_go_on_with(self, stored, config):
        """Whether nothing differs but what may: the epochs, to a number that is not passed, or the learning rate, if the run
        stopped for a loss that was not finite and is still there."""
        if self.moment() <= (config.training.epochs, 0) and not self.lost_its_checkpoints(stored):
            stored = _with(stored, "epochs", config.training.epochs)
        if self._stopped_for_the_loss():
            stored = _with(stored, "learning rate", config.optimizer.learning_rate)
        return same_weights(stored, config)

    def _stopped_for_the_loss(self):
        events = [event for event in self.changes() if event["event"] != "epochs"]
        stopped = events[-1:] if events and events[-1]["event"] == "not finite" else []
        return any(self.moment() < (event["epoch"], event["step"]) for event in stopped)

    def lost_its_checkpoints(self, config):
        """Whether a training of this config has ended here and there is no checkpoint left to go on from."""
        trained = config.trains and config.training.epochs > 0
        return trained and self.ensemble_file.exists() and not checkpoint_files(self.checkpoints)

    def _refuse_epochs(self, stored, config):
        """Say why the epochs cannot be those of the config, if that is all that differs."""
        epochs, (done, step) = config.training.epochs, self.moment()
        if not same_weights(_with(stored, "epochs", epochs), config):
            return
        if self.lost_its_checkpoints(stored):
            raise RunError(
                f"{self.path}: training.epochs={epochs}: the run ended after {stored.training.epochs} epochs and has no "
                f"checkpoint left to go on from. Train in a new folder with --run-dir"
            )
        further = f" and {step} steps" if step else ""
        raise RunError(
            f"{self.path}: training.epochs={epochs}: the run has done {done} epochs{further} already; expected at least "
            f"that many. A run is not taken back; to see it after fewer epochs, train in another folder with --run-dir"
        )

    def _note_changes(self, config):
        """Note in changes.json what is changed from now on, and say it."""
        stored = self.load_config()
        for event, key in CHANGEABLE.items():
            before, after = (_value(one, event) for one in (stored, config))
            if before == after:
                continue
            epoch, step = self.moment()
            change = {"event": event, "epoch": epoch, "step": step, "from": before, "to": after}
            self._write_changes([*self.changes(), change])
            print(f"{key}: {after} in place of {before} {moment_in_words(epoch, step)}; noted in changes.json")

    def set_aside(self):
        """Before a training goes on from where it had ended: keep the ensemble and the results of that moment under a name that
        says so, so that neither passes for what comes.
        """
        if not self.ensemble_file.exists():
            return
        epoch, step = self.moment()
        name = f"after_{epoch}_epochs" + (f"_{step}_steps" if step else "")
        kept = self.path / f"ensemble_{name}.keras"
        results = self.results_before if self.results_before.exists() else self.results_file  # of a readout that was stopped
        has_results = results.exists()
        if has_results:
            write_atomically(self.path / f"results_{name}.json", results.read_bytes())
            self.results_before.unlink(missing_ok=True)
        os.replace(self.ensemble_file, kept)
        print(f"what was there after {epoch} epochs stays: {kept.name}" + f", results_{name}.json" * has_results)

    def keep_results(self):
        """Before a readout begins anew: keep the results that are there under another name until it is done."""
        if self.results_file.exists() and not self.results_before.exists():
            write_atomically(self.results_before, self.results_file.read_bytes())

    def read_data(self):
        """What the run was trained on, as `closer_tf.data.fingerprint.identity_of` says it; None for runs from before."""
        if not self.data_file.exists():
            return None
        try:
            stored = json.loads(self.data_file.read_text(encoding="utf-8"))
            differences(stored, stored)  # looks at all that it needs
            str(stored["fingerprint"])
            if not 0 < (stored.get("white_level") or 1) < math.inf:
                raise ValueError("white_level: expected a number above 0")
            return stored
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RunError(f"{self.data_file}: damaged: {error!r}; remove it if you know that the data is the same") from None

    def check_data(self, data, config):
        """Refuse data that the run was not trained on; say so where that is not known.

        Args:
            data: `Splits`.
            config: the run's `RunConfig`, which may give the scale of the inputs.

        Raises:
            RunError: the data differs; the message says in what.
        """
        stored = self.read_data()
        if data.identity is None:
            return
        if stored is None:
            print(f"note: {self.path} has no fingerprint of its data (data.json): whether this is the same data is not known")
            return
        differing = differences(stored, data.identity, getattr(config.dataset, "input_scale", None) is None)
        if differing:
            where = getattr(config.dataset, "path", None) or config.dataset.name
            raise RunError(
                f"{self.path}: the data ({where}) is not what this run was trained on: {'; '.join(differing)}. Put that data "
                f"back, or train on this in another folder with --run-dir. If it is the same to you, such as the same files "
                f"read by another version of a library, remove {self.data_file}"
            )

    def check_masks(self, config):
        """Refuse receptive fields of a file of your own that now holds others than the run was made with.

        Args:
            config: the run's `RunConfig`.

        Raises:
            RunError: they are others. A file that is gone says nothing.
        """
        if config.masks.scheme != "custom":
            return
        try:
            now = read_masks(config.masks.path, config.masks.patch_size).indices
        except (DataError, ValueError):
            return
        then = self.load_masks().indices
        if len(now) != len(then) or not all(map(np.array_equal, now, then)):
            raise RunError(
                f"{config.masks.path}: no longer holds the masks that {self.path} was made with, which it keeps in masks.npz. "
                f"Put them back, move the file away to go on with the run's own, or train with these in another folder with "
                f"--run-dir"
            )

    def has_labels(self, config):
        """Whether what the run was trained on has labels, as far as data.json says; true where it is not known.

        Args:
            config: the run's `RunConfig`.
        """
        if isinstance(config.dataset, RecordingSource):  # whose labels have no names where they are numbers
            return getattr(config.dataset, "label", "position") != "none"
        data = self.read_data()
        return data is None or bool(data["label_names"])

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

    def append_history(self, rows):
        """Add the last of some rows to history.csv, in one piece; those before it are there.

        Raises:
            RunError: it cannot be written.
        """
        if len(rows) == 1 or not self.history_file.exists():
            return self.write_history(rows)
        try:
            with open(self.history_file, "a", newline="") as file:
                csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n").writerow(rows[-1])
        except OSError as error:
            raise RunError(f"{self.history_file}: could not be written: {error.strerror}") from error

    def read_history(self):
        """The rows of history.csv, numbers as floats; empty when there is none yet. A last line that a crash cut off
        is left out."""
        if not self.history_file.exists():
            return []
        try:
            text = read_text(self.history_file)
            whole = io.StringIO(text[: text.rfind("\n") + 1], newline="")
            return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(whole)]
        except (OSError, ValueError, TypeError, csv.Error) as error:
            raise RunError(f"{self.history_file}: damaged: {error}; continuing the training writes it anew") from None

    def read_results(self):
        """The content of results.json as plain data (`closer_tf.results` has it typed); {} before the first readout.

        Raises:
            RunError: the file is damaged.
        """
        results = read_results(self.results_file)
        return results.to_dict() if results else {}


def before_change(config, change):
    """The config as it was before an event of changes.json."""
    return _with(config, change["event"], change["from"]) if change["event"] in CHANGEABLE else config


def moment_in_words(epoch, step, steps=None):
    """Where a training is, as epochs are counted in its lines: 'after epoch 3', or 'in epoch 4, after step 7 of 20'.

    Args:
        epoch: epochs done.
        step: steps done of the next.
        steps: steps per epoch, if they shall be named.
    """
    if not step:
        return f"after epoch {epoch}" if epoch else "from the beginning"
    return f"in epoch {epoch + 1}, after step {step}" + (f" of {steps}" if steps else "")


def _value(config, event):
    section, name = CHANGEABLE[event].split(".")
    return getattr(getattr(config, section), name)


def _with(config, event, value):
    section, name = CHANGEABLE[event].split(".")
    return config.model_copy(update={section: getattr(config, section).model_copy(update={name: value})})
