"""The training loop: Keras's `fit` over batches whose order follows from (seed, epoch), with checkpoints in between."""

import signal
import threading
import time

import keras
import numpy as np

from closer_tf.checkpoints import Checkpoint, restore_checkpoint, restore_metrics, save_checkpoint


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


def steps_per_epoch(split, batch_size):
    """Batches in one epoch, the last partial one counted."""
    return -(-len(split) // batch_size)


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
    """
    options = config.training
    steps = steps_per_epoch(data.train, options.batch_size)
    start = checkpoint or Checkpoint(epoch=0, step=0, history=[], digest=config.digest(), arrays=[])
    if checkpoint is not None:
        restore_checkpoint(model, checkpoint)
        run.write_history(checkpoint.history)
    keeper = CheckpointKeeper(run, config, steps, start)
    settings = {
        "validation_data": (data.validation.inputs, data.validation.labels) if len(data.validation) else None,
        "validation_batch_size": options.batch_size,
        "callbacks": [keeper, *callbacks],
        "shuffle": False,
        "verbose": 0,
    }

    def fit(first, last, done=0):
        stream = training_stream(data.train, options.batch_size, config.seeds.data_order, first, done)
        model.fit(stream, initial_epoch=first, epochs=last, steps_per_epoch=steps - done, **settings)

    with keeper.listening_to_signals():
        epoch = start.epoch
        if start.step:  # finish the broken epoch first
            fit(epoch, epoch + 1, done=start.step)
            epoch += 1
        if epoch < options.epochs:
            fit(epoch, options.epochs)


class CheckpointKeeper(keras.callbacks.Callback):
    """Writes history and checkpoints, and saves the moment when the process is asked to stop.

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

    def on_epoch_begin(self, epoch, logs=None):
        """Note where the epoch begins; in a continued epoch, go on with its running means."""
        self.epoch, self.began = epoch, time.perf_counter()
        self.step = self.first_step
        if self.first_step:
            restore_metrics(self.model, self.start)
            self.first_step = 0

    def on_train_batch_end(self, batch, logs=None):
        """Stop here if the process was asked to."""
        self.step += 1
        if self.signal_number is not None and self.step < self.steps:
            self._save(self.epoch, self.step)
            raise Interrupted(self.signal_number)

    def on_epoch_end(self, epoch, logs=None):
        """Add the epoch to the history; write a checkpoint when one is due."""
        row = {"epoch": epoch + 1, "seconds": round(time.perf_counter() - self.began, 3)}
        self.history.append({**row, **{key: float(value) for key, value in (logs or {}).items()}})
        options = self.config.training
        due = (epoch + 1) % options.checkpoint_every == 0 or epoch + 1 == options.epochs
        if due or self.signal_number is not None:
            self._save(epoch + 1, 0)
        self.run.write_history(self.history)
        if self.signal_number is not None:
            raise Interrupted(self.signal_number)

    def _save(self, epoch, step):
        checkpoint = Checkpoint(epoch, step, self.history, self.config.digest(), arrays=[])
        save_checkpoint(self.run.checkpoints, self.model, checkpoint, keep=self.config.training.keep_checkpoints)

    def listening_to_signals(self):
        """Context in which SIGINT and SIGTERM ask for a stop at the next step; a second one acts at once."""
        return _Signals(self)


class _Signals:
    def __init__(self, keeper):
        self.keeper, self.previous = keeper, {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.previous[number] = signal.signal(number, self._heard)

    def _heard(self, number, frame):
        self.keeper.signal_number = number
        self._restore()

    def _restore(self):
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = {}

    def __exit__(self, *exception):
        self._restore()
