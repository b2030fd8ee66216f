"""The training loop of several trainings in one: every run's checkpoints and history as its own training would write them."""

import keras
import numpy as np

from closer_tf.checkpoints import Checkpoint, checkpoint_files, metric_values, restore_checkpoint
from closer_tf.errors import DivergedError
from closer_tf.files import remove
from closer_tf.fused_model import FusedEnsembles
from closer_tf.loop import (
    CheckpointKeeper,
    Interrupted,
    Signals,
    go_through_epochs,
    steps_per_epoch,
    steps_per_execution,
    training_stream,
)
from closer_tf.precision import products_in
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
    keeper = FusedKeeper(FusedEnsembles(models), keepers, steps)
    make = _fit_under_jax if keras.backend.backend() == "jax" else _fit_under_tensorflow
    with products_in(configs[0].compute.precision), Signals(keeper):
        fit, validate = make(keeper.fused, data, configs, keeper, callbacks)
        go_through_epochs(keepers[0].start, steps, options.epochs, fit, lambda: keeper.finish_epoch(validate), keeper)
    return keeper.diverged


def _fit_under_jax(fused, data, configs, keeper, callbacks):
    """As `_fit_under_tensorflow`, many steps at a call."""
    from closer_tf.jax_steps import CompiledSteps

    splits = [each.train for each in data], [each.validation for each in data]
    seeds = [config.seeds.data_order for config in configs]
    at_once = steps_per_execution(configs[0], keeper.steps)
    compiled = CompiledSteps(fused, *splits, configs[0].training.batch_size, seeds, at_once)
    return lambda first, last, done=0: compiled.fit(first, last, [keeper, *callbacks], done), compiled.evaluate


def _fit_under_tensorflow(fused, data, configs, keeper, callbacks):
    """What `go_through_epochs` needs: how to train epochs, and a function that gives dict name -> validation means (S,)."""
    from closer_tf.tensorflow_stream import in_order, side_by_side

    size = configs[0].training.batch_size

    def validation():
        splits = [each.validation for each in data]
        return side_by_side([in_order(split, size) for split in splits]) if len(splits[0]) > 1 else None

    def fit(first, last, done=0):
        streams = [
            training_stream(each.train, size, config.seeds.data_order, first, done) for each, config in zip(data, configs)
        ]
        fused.fit(
            side_by_side(streams),
            initial_epoch=first,
            epochs=last,
            steps_per_epoch=keeper.steps - done,
            validation_data=validation(),
            callbacks=[keeper, *callbacks],
            shuffle=False,
            verbose=0,
        )

    def validate():
        found = validation()
        return {} if found is None else fused.evaluate(found, callbacks=[keeper], return_dict=True, verbose=0)

    return fit, validate


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
        self.signal_number = self.stopped = None

    def on_epoch_begin(self, epoch, logs=None):
        """Note where the epoch begins; in a continued epoch, go on with its running means."""
        for keeper in self.keepers:
            keeper.on_epoch_begin(epoch)
        self.epoch, self.before = epoch, self.keepers[0].before
        if self.before:
            self.fused.gather_means()

    def on_train_batch_end(self, batch, logs=None):
        """Drop a run whose loss is not finite; save when a checkpoint is due; stop if the process was asked to."""
        self.step = min(self.before + batch + 1, self.steps)
        for s, keeper in self._going():
            keeper.step = self.step
            self._unless_diverged(s, keeper.check_loss, self._of_run(s, logs))
        if self.step < self.steps and (self.signal_number is not None or self._going()[0][1].due_by_time()):
            self._save(self.epoch, self.step)
            self._stop_if_asked()

    def on_test_begin(self, logs=None):
        """Keep the epoch's running means: validation starts them anew."""
        self._keep_means()

    def on_test_batch_end(self, batch, logs=None):
        """Stop here if the process was asked to: the epoch's steps are done, its validation is done again later."""
        if self.signal_number is not None:
            self._save(self.epoch, self.step, of_training=True)
            self._stop_if_asked()

    def on_epoch_end(self, epoch, logs=None):
        """Add the epoch to the histories; keep weights that are to be read out; write checkpoints when they are due."""
        if self.step < self.steps:  # a callback has stopped it on the way
            return
        for s, keeper in self._going():
            keeper.add_to_history(epoch, self._of_run(s, logs))
        self._keep_weights(epoch + 1)
        if self._going()[0][1].due_after(epoch) or self.signal_number is not None:
            self._save(epoch + 1, 0)
        for _, keeper in self._going():
            keeper.run.append_history(keeper.history)
        self._stop_if_asked()

    def on_train_end(self, logs=None):
        """Save the moment at which a callback asked for a stop, by `model.stop_training`."""
        _, keeper = self._going()[0]
        epochs, step = len(keeper.history), self.step % self.steps
        if self.fused.stop_training and epochs < keeper.config.training.epochs:
            self.stopped = epochs, step
            if step and keeper.training_metrics is None:  # without validation nothing has started them anew
                self._keep_means()
            self._save(epochs, step, of_training=step > 0)
            self._stop_if_asked()

    def finish_epoch(self, validate):
        """Do what is left of an epoch whose steps are all done: its validation and its end."""
        self.on_epoch_begin(self.keepers[0].start.epoch)
        self.step = self.steps
        for keeper in self.keepers:
            keeper.step = self.steps
        logs = {key: np.asarray(value) for key, value in self.fused.get_metrics_result().items()}
        logs |= {f"val_{key}": value for key, value in validate().items()}
        self.on_epoch_end(self.epoch, logs)

    def _keep_means(self):
        self.fused.scatter_means()
        for keeper in self.keepers:
            keeper.training_metrics = metric_values(keeper.model)

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

    def _keep_weights(self, epochs):
        if any(epochs in keeper.config.read_out_at() for _, keeper in self._going()):
            self.fused.scatter()
            for s, keeper in self._going():
                self._unless_diverged(s, keeper.keep_weights, epochs)

    def _save(self, epoch, step, of_training=False):
        """All checkpoints are there before the first old one goes, so that there always is a moment that all runs have."""
        self.fused.scatter()
        for s, keeper in self._going():
            metrics = keeper.training_metrics if of_training else None
            self._unless_diverged(s, keeper.save, epoch, step, metrics, spare=1)
        going = [keeper for _, keeper in self._going()]
        if going:
            going[0].warn_of_costly_checkpoints(going)
        for keeper in going:
            for old in checkpoint_files(keeper.run.checkpoints)[keeper.config.training.keep_checkpoints :]:
                remove(old)

    def _stop_if_asked(self):
        if self.signal_number is not None:
            raise Interrupted(self.signal_number)


class MeanLines(ProgressLines):
    """Prints the means over the runs after each epoch; arguments as in `ProgressLines`."""

    def on_epoch_end(self, epoch, logs=None):
        """Print the epoch's line."""
        super().on_epoch_end(epoch, {key: float(np.nanmean(values)) for key, values in (logs or {}).items()})
