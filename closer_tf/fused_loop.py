"""The training loop of several trainings in one: every run's checkpoints and history as its own training would write them."""

import keras
import numpy as np

from closer_tf.checkpoints import Checkpoint, checkpoint_files, metric_values, restore_checkpoint
from closer_tf.errors import DivergedError
from closer_tf.files import remove
from closer_tf.fused_model import FusedEnsembles
from closer_tf.loop import CheckpointKeeper, Interrupted, Signals, go_through_epochs, steps_per_epoch, training_stream
from closer_tf.progress_lines import ProgressLines


def run_fused_training(models, data, configs, runs, checkpoints, callbacks=()):
    """Train compiled ensembles together to their last epoch, from one moment.

    Args:
        models: list of S compiled `CLoSeR` models.
        data: list of S `Splits`.
        configs: list of S resolved `RunConfig`s.
        runs: list of S `RunFolder`s that take checkpoints and history.
        checkpoints: list of S `Checkpoint`s of one moment to go on from, or of S None.
        callbacks: Keras callbacks, whose logs are means over the runs.

    Returns:
        dict: position of a run -> `DivergedError`, for those whose loss or weights were no longer finite. The others went on.

    Raises:
        Interrupted: SIGINT or SIGTERM came; checkpoints of that moment are saved.
        DivergedError: no run is left.
        RunError: a file of a run cannot be written; the last checkpoints stay.
        ValueError: the models cannot be trained together.
    """
    options = configs[0].training
    steps = steps_per_epoch(data[0].train, options.batch_size)
    keepers = []
    for model, config, run, checkpoint in zip(models, configs, runs, checkpoints):
        if checkpoint is not None:
            restore_checkpoint(model, checkpoint)
            model.optimizer.learning_rate = config.optimizer.learning_rate
        start = checkpoint or Checkpoint(epoch=0, step=0, history=[], digest=config.digest(), arrays=[])
        run.write_history(start.history)
        keepers.append(CheckpointKeeper(run, config, steps, start))
        keepers[-1].set_model(model)
    fused = FusedEnsembles(models)
    keeper = FusedKeeper(fused, keepers, steps)
    validation = [splits.validation for splits in data]
    settings = {"callbacks": [keeper, *callbacks], "shuffle": False, "verbose": 0}

    def fit(first, last, done=0):
        streams = [
            training_stream(splits.train, options.batch_size, config.seeds.data_order, first, done)
            for splits, config in zip(data, configs)
        ]
        found = _in_order(validation, options.batch_size)
        stream, left = _side_by_side(streams), steps - done
        fused.fit(stream, initial_epoch=first, epochs=last, steps_per_epoch=left, validation_data=found, **settings)

    def finish_epoch():
        keeper.finish_epoch(_in_order(validation, options.batch_size))

    with Signals(keeper):
        go_through_epochs(keepers[0].start, steps, options.epochs, fit, finish_epoch)
    return keeper.diverged


class FusedKeeper(keras.callbacks.Callback):
    """Does for every run what its `CheckpointKeeper` does for a training of its own. A run whose loss is no longer finite drops
    out: nothing more is written of it, and the others do not feel it.

    Args:
        fused: `FusedEnsembles`.
        keepers: list of S `CheckpointKeeper`s.
        steps: steps per epoch.
    """

    def __init__(self, fused, keepers, steps):
        super().__init__()
        self.fused, self.keepers, self.steps = fused, keepers, steps
        self.diverged = {}
        self.signal_number = None

    def on_epoch_begin(self, epoch, logs=None):
        """Note where the epoch begins; in a continued epoch, go on with its running means."""
        for keeper in self.keepers:
            keeper.on_epoch_begin(epoch)
        self.epoch, self.before = epoch, self.keepers[0].before
        if self.before:
            self.fused.gather_means()

    def on_train_batch_end(self, batch, logs=None):
        """Drop a run whose loss is not finite; save when a checkpoint is due; stop if the process was asked to."""
        self.step = self.before + batch + 1
        for s, keeper in self._going():
            keeper.step = self.step
            self._unless_diverged(s, keeper.check_loss, self._of_run(s, logs))
        if self.step == self.steps:
            self.fused.scatter_means()  # validation starts them anew
            for keeper in self.keepers:
                keeper.training_metrics = metric_values(keeper.model)
        elif self.signal_number is not None or self._going()[0][1].due_by_time():
            self._save(self.epoch, self.step)
            self._stop_if_asked()

    def on_test_batch_end(self, batch, logs=None):
        """Stop here if the process was asked to: the epoch's steps are done, its validation is done again later."""
        if self.signal_number is not None:
            self._save(self.epoch, self.steps, of_training=True)
            self._stop_if_asked()

    def on_epoch_end(self, epoch, logs=None):
        """Add the epoch to the histories; write checkpoints when they are due."""
        for s, keeper in self._going():
            keeper.add_to_history(epoch, self._of_run(s, logs))
        if self._going()[0][1].due_after(epoch) or self.signal_number is not None:
            self._save(epoch + 1, 0)
        for _, keeper in self._going():
            keeper.run.write_history(keeper.history)
        self._stop_if_asked()

    def finish_epoch(self, validation):
        """Do what is left of an epoch whose steps are all done: its validation and its end."""
        self.on_epoch_begin(self.keepers[0].start.epoch)
        self.step = self.steps
        for keeper in self.keepers:
            keeper.step, keeper.training_metrics = self.steps, metric_values(keeper.model)
        logs = {key: np.asarray(value) for key, value in self.fused.get_metrics_result().items()}
        if validation is not None:
            found = self.fused.evaluate(validation, callbacks=[self], return_dict=True, verbose=0)
            logs |= {f"val_{key}": value for key, value in found.items()}
        self.on_epoch_end(self.epoch, logs)

    def _going(self):
        return [(s, keeper) for s, keeper in enumerate(self.keepers) if s not in self.diverged]

    def _of_run(self, s, logs):
        return {key: float(np.asarray(values)[s]) for key, values in (logs or {}).items()}

    def _unless_diverged(self, s, work, *arguments, **options):
        try:
            work(*arguments, **options)
        except DivergedError as error:
            self.diverged[s] = error
            if len(self.diverged) == len(self.keepers):
                raise
            print(f"{error} The other trainings go on.")

    def _save(self, epoch, step, of_training=False):
        """All checkpoints are there before the first old one goes, so that there always is a moment that all runs have."""
        self.fused.scatter()
        for s, keeper in self._going():
            metrics = keeper.training_metrics if of_training else None
            self._unless_diverged(s, keeper.save, epoch, step, metrics, spare=1)
        for _, keeper in self._going():
            for old in checkpoint_files(keeper.run.checkpoints)[keeper.config.training.keep_checkpoints :]:
                remove(old)

    def _stop_if_asked(self):
        if self.signal_number is not None:
            raise Interrupted(self.signal_number)


class Batches(keras.utils.PyDataset):
    """The batches of S splits in order, side by side: (stimuli (S, B, ...), labels (S, B)).

    Args:
        splits: list of S `Split`s of one length.
        batch_size: samples per batch and run; the last batch holds what is left.
    """

    def __init__(self, splits, batch_size):
        super().__init__()
        self.splits, self.batch_size = splits, batch_size

    def __len__(self):
        return steps_per_epoch(self.splits[0], self.batch_size)

    def __getitem__(self, k):
        rows = slice(k * self.batch_size, (k + 1) * self.batch_size)
        return np.stack([split.inputs[rows] for split in self.splits]), np.stack([split.labels[rows] for split in self.splits])


def _in_order(splits, batch_size):
    """The batches of S splits in order as the backend takes them in, or None where there are fewer than two samples."""
    if len(splits[0]) < 2:
        return None
    if keras.backend.backend() != "tensorflow":
        return Batches(splits, batch_size)
    from closer_tf.tensorflow_stream import in_order, side_by_side

    return side_by_side([in_order(split, batch_size) for split in splits])


def _side_by_side(streams):
    if keras.backend.backend() != "tensorflow":
        return (tuple(np.stack(parts) for parts in zip(*each)) for each in zip(*streams))
    from closer_tf.tensorflow_stream import side_by_side

    return side_by_side(streams)


class MeanLines(ProgressLines):
    """Prints the means over the runs after each epoch; arguments as in `ProgressLines`."""

    def on_epoch_end(self, epoch, logs=None):
        """Print the epoch's line."""
        super().on_epoch_end(epoch, {key: float(np.nanmean(values)) for key, values in (logs or {}).items()})
