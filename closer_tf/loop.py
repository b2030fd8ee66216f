"""The training loop: Keras's `fit` over batches whose order follows from (seed, epoch), with checkpoints in between."""

import math
import os
import signal
import threading
import time
import warnings

import keras
import numpy as np

from closer_tf.checkpoints import (
    Checkpoint,
    checkpoint_files,
    metric_values,
    restore_checkpoint,
    restore_metrics,
    save_checkpoint,
)
from closer_tf.errors import CloserWarning, DivergedError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
COLLAPSED = 1e-4  # an `embedding_sd` below this is taken for zero


class Interrupted(Exception):
    """The training was asked to stop; its state is saved.

    Args:
        signal_number: the signal that asked, such as `signal.SIGINT`.
    """

    def __init__(self, signal_number):
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


def batches(split, batch_size, seed, epoch=0, step=0):
    """Shuffled batches without end: every epoch in an order of its own, which follows from (seed, epoch) alone.

    Args:
        split: `Split`.
        batch_size: samples per batch; the last batch of an epoch holds what is left.
        seed: int.
        epoch, step: where to begin.

    Yields:
        (stimuli, labels).
    """
    while True:
        order = np.random.default_rng([seed, epoch]).permutation(len(split))
        for start in range(step * batch_size, len(order), batch_size):
            chosen = order[start : start + batch_size]
            yield split.inputs[chosen], split.labels[chosen]
        epoch, step = epoch + 1, 0


def training_stream(split, batch_size, seed, epoch=0, step=0):
    """The same batches in the form that the backend takes in fastest; arguments as in `batches`."""
    if keras.backend.backend() != "tensorflow":
        return batches(split, batch_size, seed, epoch, step)
    from closer_tf.tensorflow_stream import dataset

    return dataset(split, batch_size, seed, epoch, step)


def validation_stream(split, batch_size):
    """A split in order, in the form that the backend takes in fastest: (x, y) for `evaluate`.

    None without samples, and with one alone, which is told from nothing: its loss is 0 whatever the encoders do.
    """
    if len(split) < 2 or keras.backend.backend() != "tensorflow":
        return (split.inputs, split.labels) if len(split) > 1 else None
    from closer_tf.tensorflow_stream import in_order

    return in_order(split, batch_size), None


def steps_per_epoch(split, batch_size):
    """Batches in one epoch, the last partial one counted."""
    return -(-len(split) // batch_size)


def steps_per_execution(config):
    """Training steps that TensorFlow takes at a call: `compute.steps_per_execution`, or what it is by itself."""
    from closer_tf.config import RecordingSource

    if keras.backend.backend() != "tensorflow" or config.compute.distribution != "none":
        return 1
    return config.compute.steps_per_execution or (8 if isinstance(config.dataset, RecordingSource) else 1)


def run_training(model, data, config, run, checkpoint=None, callbacks=()):
    """Train a compiled ensemble to the config's last epoch, from its initialisation or from a checkpoint.

    Args:
        model: compiled `CLoSeR` model.
        data: `Splits`.
        config: resolved `RunConfig`.
        run: `RunFolder` that takes checkpoints and history.
        checkpoint: `Checkpoint` to go on from. Default: begin at epoch 0.
        callbacks: further Keras callbacks.

    Raises:
        Interrupted: SIGINT or SIGTERM came; a checkpoint of that moment is saved.
        DivergedError: the loss or a weight is not finite; the last good checkpoint stays.
        RunError: a file of the run cannot be written; the last checkpoint stays.
    """
    options = config.training
    steps = steps_per_epoch(data.train, options.batch_size)
    start = checkpoint or Checkpoint(epoch=0, step=0, history=[], digest=config.digest(), arrays=[])
    if checkpoint is not None:
        restore_checkpoint(model, checkpoint)
        model.optimizer.learning_rate = config.optimizer.learning_rate  # may have changed since
    if keras.backend.backend() == "tensorflow":
        from closer_tf.distribution import spread_seeds

        spread_seeds(model)
    run.write_history(start.history)  # what a crash left beyond the checkpoint is trained again
    keeper = CheckpointKeeper(run, config, steps, start)
    settings = {
        "validation_data": validation_stream(data.validation, options.batch_size),
        "validation_batch_size": options.batch_size,
        "callbacks": [keeper, *callbacks],
        "shuffle": False,
        "verbose": 0,
    }

    at_once = steps_per_execution(config)
    if model.steps_per_execution != at_once:
        model.steps_per_execution = at_once
        model.train_function = model.test_function = None  # an earlier `fit` may have traced them for another number

    def fit(first, last, done=0):
        order, left = (data.train, options.batch_size, config.seeds.data_order), steps - done
        if at_once == 1:
            model.fit(training_stream(*order, first, done), initial_epoch=first, epochs=last, steps_per_epoch=left, **settings)
        else:
            from closer_tf.tensorflow_stream import one_epoch

            model.fit(one_epoch(*order, keeper.began_at, left), initial_epoch=first, epochs=last, **settings)

    with keeper.listening_to_signals():
        go_through_epochs(start, steps, options.epochs, fit, lambda: keeper.finish_epoch(model, settings))


def go_through_epochs(start, steps, epochs, fit, finish_epoch):
    """Train from a moment to the last epoch.

    Args:
        start: `Checkpoint` to go on from.
        steps: steps per epoch.
        epochs: the last epoch.
        fit: function (first, last, done=0) that trains epochs `first` to `last`, of the first one what is left after `done`
            steps.
        finish_epoch: function without arguments that does what is left of an epoch whose steps are all done.
    """
    epoch = start.epoch
    if start.step:  # finish the broken epoch first
        if start.step < steps:
            fit(epoch, epoch + 1, done=start.step)
        else:
            finish_epoch()
        epoch += 1
    if epoch < epochs:
        fit(epoch, epochs)


class CheckpointKeeper(keras.callbacks.Callback):
    """Writes history and checkpoints, stops when the loss is not finite, warns of a collapse, and saves the moment when the
    process is asked to stop.

    Args:
        run: `RunFolder`.
        config: resolved `RunConfig`.
        steps: steps per epoch.
        start: the `Checkpoint` that the training goes on from.
    """

    def __init__(self, run, config, steps, start):
        super().__init__()
        self.run, self.config, self.steps, self.start = run, config, steps, start
        self.history = list(start.history)
        self.first_step = start.step
        self.signal_number = None
        self.saved = time.monotonic()
        self.collapsed = False

    def on_epoch_begin(self, epoch, logs=None):
        """Note where the epoch begins; in a continued epoch, go on with its running means."""
        self.epoch, self.began = epoch, time.perf_counter()
        self.before, self.first_step = self.first_step, 0
        if self.before:
            restore_metrics(self.model, self.start)

    def began_at(self):
        """(epoch, step) at which the present epoch's training began here."""
        return self.epoch, self.before

    def on_train_batch_end(self, batch, logs=None):
        """Stop here if the loss is not finite or the process was asked to; save when a checkpoint is due."""
        self.step = min(self.before + batch + 1, self.steps)  # Keras counts the last call's steps as if it had taken all
        self.check_loss(logs or {})
        if self.step == self.steps:
            self.training_metrics = metric_values(self.model)  # validation starts them anew
            return
        if self.signal_number is not None:
            self.save(self.epoch, self.step)
            raise Interrupted(self.signal_number)
        if self.due_by_time():
            self.save(self.epoch, self.step)

    def on_test_batch_end(self, batch, logs=None):
        """Stop here if the process was asked to: the epoch's steps are done, its validation is done again later."""
        if self.signal_number is not None:
            self.save(self.epoch, self.steps, self.training_metrics)
            raise Interrupted(self.signal_number)

    def on_epoch_end(self, epoch, logs=None):
        """Add the epoch to the history; write a checkpoint when one is due."""
        self.add_to_history(epoch, logs or {})
        if self.due_after(epoch) or self.signal_number is not None:
            self.save(epoch + 1, 0)
        self.run.write_history(self.history)
        if self.signal_number is not None:
            raise Interrupted(self.signal_number)

    def finish_epoch(self, model, settings):
        """Do what is left of an epoch whose steps are all done: its validation and its end."""
        self.set_model(model)
        self.on_epoch_begin(self.start.epoch)
        self.step, self.training_metrics = self.steps, metric_values(model)
        logs = {key: float(value) for key, value in model.get_metrics_result().items()}
        if settings["validation_data"] is not None:
            size = settings["validation_batch_size"]
            found = model.evaluate(*settings["validation_data"], batch_size=size, callbacks=[self], return_dict=True, verbose=0)
            logs |= {f"val_{key}": value for key, value in found.items()}
        self.on_epoch_end(self.start.epoch, logs)

    def listening_to_signals(self):
        """Context in which SIGINT and SIGTERM ask for a stop at the next step; a second one ends the process at once."""
        return Signals(self)

    def add_to_history(self, epoch, logs):
        """One more epoch is done, with these means; warn if the ensemble has collapsed."""
        logs = {key: float(value) for key, value in logs.items()}
        self._warn_of_collapse(logs)
        self.history.append({"epoch": epoch + 1, "seconds": round(time.perf_counter() - self.began, 3), **logs})

    def due_after(self, epoch):
        """Whether a checkpoint is due at the end of this epoch."""
        options = self.config.training
        return (epoch + 1) % options.checkpoint_every == 0 or epoch + 1 == options.epochs or self.due_by_time()

    def due_by_time(self):
        """Whether the last checkpoint is as old as `training.checkpoint_minutes`."""
        minutes = self.config.training.checkpoint_minutes
        return minutes is not None and time.monotonic() - self.saved >= 60 * minutes

    def save(self, epoch, step, metrics=None, spare=0):
        """Write a checkpoint.

        Args:
            epoch: epochs done.
            step: steps done of the next.
            metrics: the epoch's running means. Default: as the model has them.
            spare: how many checkpoints stay beside the config's number.

        Raises:
            DivergedError: a weight is not finite; nothing is written.
        """
        moment = Checkpoint(epoch, step, self.history, self.config.digest(), arrays=[])
        keep = self.config.training.keep_checkpoints + spare
        try:
            save_checkpoint(self.run.checkpoints, self.model, moment, keep, metrics)
        except DivergedError as error:
            self._diverged(str(error), [])
        self.saved = time.monotonic()

    def check_loss(self, logs):
        """Stop if a mean of the epoch's steps so far is not finite: it is not from the step on at which the loss is not.

        Raises:
            DivergedError: it is noted in the run folder.
        """
        if not math.isfinite(logs.get("loss", 0.0)):
            bad = [key for key, value in logs.items() if not math.isfinite(value)]
            self._diverged(f"not finite any more: {', '.join(bad)}", bad)

    def _diverged(self, what, terms):
        self.run.note_stop(self.epoch, self.step, terms)
        files = checkpoint_files(self.run.checkpoints)
        last = f"the last good checkpoint, {files[0].name}," if files else "the beginning, as there is no checkpoint yet,"
        rate = self.config.optimizer.learning_rate
        raise DivergedError(
            f"{self.run.path}: epoch {self.epoch + 1}, step {self.step} of {self.steps}: {what}. "
            f"To go on from {last} with smaller steps, run the same command with a learning rate below {rate:g}, such as "
            f"--set optimizer.learning_rate={rate / 3:.1g}; changes.json keeps what was trained with which."
        )

    def _warn_of_collapse(self, logs):
        if not self.collapsed and logs.get("embedding_sd", 1.0) < COLLAPSED:
            self.collapsed = True
            warnings.warn(
                f"epoch {self.epoch + 1}: the ensemble has collapsed: the embeddings of all stimuli are alike "
                f"(embedding_sd {logs['embedding_sd']:.1g})",
                CloserWarning,
                stacklevel=2,
            )


class Signals:
    """Context in which SIGINT and SIGTERM set the `signal_number` of a keeper; a second one ends the process at once.

    Python's own handlers wait for the step to end. The wake-up pipe hears a second signal even inside a long one."""

    def __init__(self, keeper):
        self.keeper, self.previous = keeper, {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self.previous = {number: signal.signal(number, self._heard) for number in SIGNALS}
            reader, self.writer = os.pipe()
            os.set_blocking(self.writer, False)
            self.previous_pipe = signal.set_wakeup_fd(self.writer, warn_on_full_buffer=False)
            threading.Thread(target=_end_at_the_second, args=(reader,), daemon=True).start()

    def _heard(self, number, frame):
        self.keeper.signal_number = number

    def __exit__(self, *exception):
        if self.previous:
            signal.set_wakeup_fd(self.previous_pipe)
            os.close(self.writer)  # ends the thread
        for number, handler in self.previous.items():
            signal.signal(number, handler)


def _end_at_the_second(reader):
    heard = 0
    while number := os.read(reader, 1):
        heard += number[0] in SIGNALS
        if heard == 2:
            os._exit(128 + number[0])
    os.close(reader)
