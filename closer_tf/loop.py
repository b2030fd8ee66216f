"""The training loop: Keras's `fit` over batches whose order follows from (seed, epoch), with checkpoints in between."""

import math
import os
import signal
import threading
import time
import warnings

import keras
import numpy as np

from closer_tf import kept_weights
from closer_tf.checkpoints import (
    Checkpoint,
    checkpoint_files,
    metric_values,
    restore_checkpoint,
    restore_metrics,
    save_checkpoint,
)
from closer_tf.errors import CloserWarning, DivergedError
from closer_tf.precision import products_in

SIGNALS = (signal.SIGINT, signal.SIGTERM)
COSTLY, SECONDS_TO_JUDGE = 0.1, 60.0  # checkpoints that take a larger share of so much time are worth a word
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
        order = epoch_order(len(split), seed, epoch)
        for start in range(step * batch_size, len(order), batch_size):
            chosen = order[start : start + batch_size]
            yield split.inputs[chosen], split.labels[chosen]
        epoch, step = epoch + 1, 0


def epoch_order(count, seed, epoch):
    """The order of `count` training samples in an epoch, which follows from (seed, epoch) alone: int array (count,)."""
    return np.random.default_rng([seed, epoch]).permutation(count)


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


def steps_per_execution(config, steps):
    """Training steps at one call from Python: `compute.steps_per_execution`, or what it is by itself.

    Args:
        config: resolved `RunConfig`.
        steps: steps per epoch; under JAX a call takes them all by itself.
    """
    from closer_tf.config import RecordingSource

    backend, chosen = keras.backend.backend(), config.compute.steps_per_execution
    if backend == "jax":
        return min(chosen or steps, steps)
    if backend != "tensorflow" or config.compute.distribution != "none":
        return 1
    return chosen or (8 if isinstance(config.dataset, RecordingSource) else 1)


def run_training(model, data, config, run, checkpoint=None, callbacks=()):
    """Train a compiled ensemble to the config's last epoch, from its initialisation or from a checkpoint.

    Args:
        model: compiled `CLoSeR` model.
        data: `Splits`.
        config: resolved `RunConfig`.
        run: `RunFolder` that takes checkpoints and history.
        checkpoint: `Checkpoint` to go on from. Default: begin at epoch 0.
        callbacks: further Keras callbacks.

    Returns:
        (epochs done, steps done of the next) if a callback asked for a stop before the last epoch, else None. A checkpoint of
        that moment is saved.

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
    make = _fit_under_jax if keras.backend.backend() == "jax" else _fit_by_keras
    with products_in(config.compute.precision), keeper.listening_to_signals():
        fit, validate = make(model, data, config, keeper, callbacks)
        go_through_epochs(start, steps, options.epochs, fit, lambda: keeper.finish_epoch(model, validate), keeper)
    return keeper.stopped


def _fit_under_jax(model, data, config, keeper, callbacks):
    """As `_fit_by_keras`, many steps at a call."""
    from closer_tf.jax_steps import CompiledSteps

    at_once = steps_per_execution(config, keeper.steps)
    seeds, size = [config.seeds.data_order], config.training.batch_size
    compiled = CompiledSteps(model, [data.train], [data.validation], size, seeds, at_once)
    return lambda first, last, done=0: compiled.fit(first, last, [keeper, *callbacks], done), compiled.evaluate


def _fit_by_keras(model, data, config, keeper, callbacks):
    """What `go_through_epochs` needs: how to train epochs, and a function that gives dict name -> mean over validation."""
    size = config.training.batch_size
    validation = validation_stream(data.validation, size)
    settings = {
        "validation_data": validation,
        "validation_batch_size": size,
        "callbacks": [keeper, *callbacks],
        "shuffle": False,
        "verbose": 0,
    }
    at_once = steps_per_execution(config, keeper.steps)
    if model.steps_per_execution != at_once:
        model.steps_per_execution = at_once
        model.train_function = model.test_function = None  # an earlier `fit` may have traced them for another number

    def fit(first, last, done=0):
        order, left = (data.train, size, config.seeds.data_order), keeper.steps - done
        if at_once == 1:
            model.fit(training_stream(*order, first, done), initial_epoch=first, epochs=last, steps_per_epoch=left, **settings)
        else:
            from closer_tf.tensorflow_stream import one_epoch

            model.fit(one_epoch(*order, keeper.began_at, left), initial_epoch=first, epochs=last, **settings)

    def validate():
        if validation is None:
            return {}
        return model.evaluate(*validation, batch_size=size, callbacks=[keeper], return_dict=True, verbose=0)

    return fit, validate


def go_through_epochs(start, steps, epochs, fit, finish_epoch, keeper):
    """Train from a moment to the last epoch.

    Args:
        start: `Checkpoint` to go on from.
        steps: steps per epoch.
        epochs: the last epoch.
        fit: function (first, last, done=0) that trains epochs `first` to `last`, of the first one what is left after `done`
            steps.
        finish_epoch: function without arguments that does what is left of an epoch whose steps are all done.
        keeper: says with `stopped` that a callback asked for a stop.
    """
    epoch = start.epoch
    if start.step:  # finish the broken epoch first
        if start.step < steps:
            fit(epoch, epoch + 1, done=start.step)
        else:
            finish_epoch()
        epoch += 1
    if epoch < epochs and not keeper.stopped:
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
        self.began_training = self.saved = time.monotonic()
        self.saving, self.warned_of_cost, self.collapsed = 0.0, False, False
        self.stopped = None  # (epochs, steps) where a callback asked for a stop
        self.training_metrics = None
        kept_weights.begin(run, config, start.epoch)

    def on_epoch_begin(self, epoch, logs=None):
        """Note where the epoch begins; in a continued epoch, go on with its running means."""
        self.epoch, self.began = epoch, time.perf_counter()
        self.before, self.first_step, self.training_metrics = self.first_step, 0, None
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
            return
        if self.signal_number is not None:
            self.save(self.epoch, self.step)
            raise Interrupted(self.signal_number)
        if self.due_by_time():
            self.save(self.epoch, self.step)

    def on_test_begin(self, logs=None):
        """Keep the epoch's running means: validation starts them anew."""
        self.training_metrics = metric_values(self.model)

    def on_test_batch_end(self, batch, logs=None):
        """Stop here if the process was asked to: the epoch's steps are done, its validation is done again later."""
        if self.signal_number is not None:
            self.save(self.epoch, self.step, self.training_metrics)
            raise Interrupted(self.signal_number)

    def on_epoch_end(self, epoch, logs=None):
        """Add the epoch to the history; keep its weights if they are to be read out; write a checkpoint when one is due."""
        if self.step < self.steps:  # a callback has stopped it on the way
            return
        self.add_to_history(epoch, logs or {})
        self.keep_weights(epoch + 1)  # before the checkpoint: a run that goes on from that does not pass here again
        if self.due_after(epoch) or self.signal_number is not None:
            self.save(epoch + 1, 0)
            self.warn_of_costly_checkpoints([self])
        self.run.append_history(self.history)
        if self.signal_number is not None:
            raise Interrupted(self.signal_number)

    def on_train_end(self, logs=None):
        """Save the moment at which a callback asked for a stop, by `model.stop_training`."""
        epochs, step = len(self.history), self.step % self.steps
        if self.model.stop_training and epochs < self.config.training.epochs:
            self.stopped = epochs, step
            self.save(epochs, step, self.training_metrics if step else None)
            if self.signal_number is not None:
                raise Interrupted(self.signal_number)

    def finish_epoch(self, model, validate):
        """Do what is left of an epoch whose steps are all done: its validation and its end."""
        self.set_model(model)
        self.on_epoch_begin(self.start.epoch)
        self.step = self.steps
        logs = {key: float(value) for key, value in model.get_metrics_result().items()}
        logs |= {f"val_{key}": value for key, value in validate().items()}
        self.on_epoch_end(self.start.epoch, logs)

    def listening_to_signals(self):
        """Context in which SIGINT and SIGTERM ask for a stop at the next step; a second one ends the process at once."""
        return Signals(self)

    def add_to_history(self, epoch, logs):
        """One more epoch is done, with these means; warn if the ensemble has collapsed."""
        logs = {key: float(value) for key, value in logs.items()}
        self._warn_of_collapse(logs)
        self.history.append({"epoch": epoch + 1, "seconds": round(time.perf_counter() - self.began, 3), **logs})

    def keep_weights(self, epochs):
        """Write the weights of this moment if `readout.at_epochs` asks for them.

        Args:
            epochs: epochs done.

        Raises:
            DivergedError: a weight is not finite; nothing is written.
        """
        try:
            kept_weights.keep(self.run, self.config, self.model, epochs, self.history)
        except DivergedError as error:
            self._diverged(str(error), [])

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
        began = time.monotonic()
        moment = Checkpoint(epoch, step, self.history, self.config.digest(), arrays=[])
        keep = self.config.training.keep_checkpoints + spare
        try:
            save_checkpoint(self.run.checkpoints, self.model, moment, keep, metrics)
        except DivergedError as error:
            self._diverged(str(error), [])
        self.saved = time.monotonic()
        self.saving += self.saved - began

    def warn_of_costly_checkpoints(self, keepers):
        """Say once when the checkpoints of these keepers take more than `COSTLY` of the time since the training began here."""
        spent, saving = self.saved - self.began_training, sum(keeper.saving for keeper in keepers)
        if spent < SECONDS_TO_JUDGE or saving < COSTLY * spent or self.warned_of_cost:
            return
        self.warned_of_cost = True
        warnings.warn(
            f"checkpoints take {saving / spent:.0%} of the time: a larger training.checkpoint_every than "
            f"{self.config.training.checkpoint_every} would save most of it (a run may go on with another)",
            CloserWarning,
            stacklevel=2,
        )

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
