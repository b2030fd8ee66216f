"""The training loop: epochs of one run, or of several in one, with checkpoints in between."""

import time

import keras
import numpy as np

from closer_tf.common.files import remove
from closer_tf.data.splits import steps_per_epoch
from closer_tf.data.streams import steps_per_execution, training_stream
from closer_tf.errors import DivergedError
from closer_tf.nn.precision import products_in
from closer_tf.training.checkpoints import Checkpoint, checkpoint_files, metric_values, restore_checkpoint, restore_metrics
from closer_tf.training.record import RunRecord, warn_of_costly_checkpoints
from closer_tf.training.signals import Interrupted, Signals


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
    return _train([model], [data], [config], [run], [checkpoint], callbacks).stopped


def run_fused_training(models, data, configs, runs, checkpoints, callbacks=()):
    """Train compiled ensembles together to their last epoch, from one moment.

    Args:
        models: list of S compiled `CLoSeR` models.
        data: list of S `Splits`.
        configs: list of S resolved `RunConfig`s.
        runs: list of S `RunFolder`s that take checkpoints and history.
        checkpoints: list of S `Checkpoint`s of one moment to go on from, or of S None.
        callbacks: Keras callbacks, whose logs are vectors over the runs.

    Returns:
        dict: position of a run -> `DivergedError`, for those whose loss or weights were no longer finite. The others went on.

    Raises:
        Interrupted: SIGINT or SIGTERM came; checkpoints of that moment are saved.
        DivergedError: no run is left.
        RunError: a file of a run cannot be written; the last checkpoints stay.
        ValueError: the models cannot be trained together.
    """
    return _train(models, data, configs, runs, checkpoints, callbacks).diverged


def _train(models, data, configs, runs, checkpoints, callbacks):
    """What `run_training` and `run_fused_training` do; returns the `CheckpointKeeper`."""
    options = configs[0].training
    steps = steps_per_epoch(len(data[0].train), options.batch_size)
    records = []
    for model, config, run, checkpoint in zip(models, configs, runs, checkpoints):
        if checkpoint is not None:
            restore_checkpoint(model, checkpoint)
            if isinstance(model.optimizer._learning_rate, keras.Variable):  # no schedule
                model.optimizer.learning_rate = config.optimizer.learning_rate  # may have changed since
        start = checkpoint or Checkpoint(epoch=0, step=0, history=[], digest=config.digest(), arrays=[])
        records.append(RunRecord(run, config, model, start, steps))
    keeper = CheckpointKeeper(records, _together(models))
    make = _compiled_epochs if keras.backend.backend() == "jax" else _epochs_by_keras
    with products_in(configs[0].compute.precision), Signals(keeper):
        fit, validate = make(keeper.trained, data, configs, keeper, callbacks)
        _go_through_epochs(records[0].start, steps, options.epochs, fit, validate, keeper)
    return keeper


def _together(models):
    """Several ensembles as one model; None for one."""
    if keras.backend.backend() == "tensorflow":
        from closer_tf.nn.distribution import spread_seeds

        for model in models:
            spread_seeds(model)
    if len(models) == 1:
        return None
    from closer_tf.nn.fused_model import FusedEnsembles

    return FusedEnsembles(models)


def _go_through_epochs(start, steps, epochs, fit, validate, keeper):
    """Train from a moment to the last epoch.

    Args:
        start: `Checkpoint` to go on from.
        steps: steps per epoch.
        epochs: the last epoch.
        fit: function (first, last, done=0) that trains epochs `first` to `last`, of the first one what is left after `done`
            steps.
        validate: function without arguments; returns dict name -> mean over validation.
        keeper: `CheckpointKeeper`.
    """
    epoch = start.epoch
    if start.step:  # finish the broken epoch first
        if start.step < steps:
            fit(epoch, epoch + 1, done=start.step)
        else:
            keeper.finish_epoch(epoch, validate)
        epoch += 1
    if epoch < epochs and not keeper.stopped:
        fit(epoch, epochs)


def _compiled_epochs(model, data, configs, keeper, callbacks):
    """As `_epochs_by_keras`, under JAX: many steps at a call."""
    from closer_tf.training.jax_steps import CompiledSteps

    splits = [each.train for each in data], [each.validation for each in data]
    seeds = [config.seeds.data_order for config in configs]
    at_once = steps_per_execution(configs[0], keeper.steps)
    compiled = CompiledSteps(model, *splits, configs[0].training.batch_size, seeds, at_once)
    return lambda first, last, done=0: compiled.fit(first, last, [keeper, *callbacks], done), compiled.evaluate


def _epochs_by_keras(model, data, configs, keeper, callbacks):
    """What `_go_through_epochs` needs: how to train epochs, and a function that gives dict name -> mean over validation."""
    from closer_tf.data.tensorflow_stream import one_epoch, side_by_side

    size = configs[0].training.batch_size
    validation = validation_stream([each.validation for each in data], size)
    settings = {"validation_data": validation, "callbacks": [keeper, *callbacks], "shuffle": False, "verbose": 0}
    at_once = steps_per_execution(configs[0], keeper.steps) if len(data) == 1 else 1
    if model.steps_per_execution != at_once:
        model.steps_per_execution = at_once
        model.train_function = model.test_function = None  # an earlier `fit` may have traced them for another number

    def fit(first, last, done=0):
        orders, left = [(each.train, size, config.seeds.data_order) for each, config in zip(data, configs)], keeper.steps - done
        if at_once == 1:
            stream = side_by_side([training_stream(*order, first, done) for order in orders])
            model.fit(stream, initial_epoch=first, epochs=last, steps_per_epoch=left, **settings)
        else:
            model.fit(one_epoch(*orders[0], keeper.began_at, left), initial_epoch=first, epochs=last, **settings)

    def validate():
        if validation is None:
            return {}
        return model.evaluate(validation, callbacks=[keeper], return_dict=True, verbose=0)

    return fit, validate


def validation_stream(splits, batch_size):
    """The runs' validation samples side by side, in order, for `evaluate` under TensorFlow.

    None without samples, and with one alone, which is told from nothing: its loss is 0 whatever the encoders do.
    """
    from closer_tf.data.tensorflow_stream import in_order, side_by_side

    return side_by_side([in_order(split, batch_size) for split in splits]) if len(splits[0]) > 1 else None


class CheckpointKeeper(keras.callbacks.Callback):
    """Writes histories and checkpoints, and saves the moment when the process is asked to stop.

    A run whose loss is no longer finite drops out: nothing more is written of it, and those that train beside it do not feel
    it. Where none is left, the training stops.

    Args:
        records: list of S `RunRecord`s.
        fused: `FusedEnsembles` that the S runs are trained in. Default: one run, trained by itself.
    """

    def __init__(self, records, fused=None):
        super().__init__()
        self.records, self.fused, self.steps = records, fused, records[0].steps
        self.trained = fused or records[0].model
        self.first_step = records[0].start.step
        self.diverged = {}  # position of a run -> its error
        self.signal_number = None
        self.stopped = None  # (epochs, steps) where a callback asked for a stop

    def on_epoch_begin(self, epoch, logs=None):
        """Note where the epoch begins; in a continued epoch, go on with its running means."""
        self.epoch, self.began = epoch, time.perf_counter()
        self.before, self.first_step = self.first_step, 0
        self.training_metrics = [None] * len(self.records)
        if self.before:
            for record in self.records:
                restore_metrics(record.model, record.start)
            if self.fused:
                self.fused.gather_means()

    def began_at(self):
        """(epoch, step) at which the present epoch's training began here."""
        return self.epoch, self.before

    def on_train_batch_end(self, batch, logs=None):
        """Stop a run whose loss is not finite; save when a checkpoint is due; stop if the process was asked to."""
        self._at(min(self.before + batch + 1, self.steps))  # Keras counts the last call's steps as if it had taken all
        for s, record in self._going():
            self._unless_diverged(s, record.check_loss, self._of_run(s, logs))
        if self.step < self.steps and (self.signal_number is not None or self._first().due_by_time()):
            self._save(self.epoch, self.step)
            self._stop_if_asked()

    def on_test_begin(self, logs=None):
        """Keep the epoch's running means: validation starts them anew."""
        self._keep_means()

    def on_test_batch_end(self, batch, logs=None):
        """Stop here if the process was asked to: the epoch's steps are done, its validation is done again later."""
        if self.signal_number is not None:
            self._save(self.epoch, self.step, self.training_metrics)
            self._stop_if_asked()

    def on_epoch_end(self, epoch, logs=None):
        """Add the epoch to the histories; keep weights that are to be read out; write checkpoints when they are due."""
        if self.step < self.steps:  # a callback has stopped it on the way
            return
        for s, record in self._going():
            record.add_epoch(epoch, time.perf_counter() - self.began, self._of_run(s, logs))
        self._keep_weights(epoch + 1)  # before the checkpoint: a run that goes on from that does not pass here again
        if self._first().due_after(epoch) or self.signal_number is not None:
            self._save(epoch + 1, 0)
        else:
            self._hold_best()
        for _, record in self._going():
            record.run.append_history(record.history)
        self._stop_if_asked()

    def on_train_end(self, logs=None):
        """Save the moment at which a callback asked for a stop, by `model.stop_training`."""
        first = self._first()
        epochs, step = len(first.history), self.step % self.steps
        if self.trained.stop_training and epochs < first.config.training.epochs:
            self.stopped = epochs, step
            if step and self.training_metrics[0] is None:  # without validation nothing has started them anew
                self._keep_means()
            self._save(epochs, step, self.training_metrics if step else None)
            self._stop_if_asked()

    def finish_epoch(self, epoch, validate):
        """Do what is left of an epoch whose steps are all done: its validation and its end."""
        self.set_model(self.trained)
        self.on_epoch_begin(epoch)
        self._at(self.steps)
        logs = {key: np.asarray(value) for key, value in self.trained.get_metrics_result().items()}
        logs |= {f"val_{key}": value for key, value in validate().items()}
        self.on_epoch_end(epoch, logs)

    def _at(self, step):
        self.step = step
        for record in self.records:
            record.now = self.epoch, step

    def _keep_means(self):
        if self.fused:
            self.fused.scatter_means()
        self.training_metrics = [metric_values(record.model) for record in self.records]

    def _going(self):
        return [(s, record) for s, record in enumerate(self.records) if s not in self.diverged]

    def _first(self):
        return self._going()[0][1]

    def _of_run(self, s, logs):
        return {key: float(np.asarray(values)[s] if self.fused else values) for key, values in (logs or {}).items()}

    def _unless_diverged(self, s, work, *arguments, **options):
        try:
            work(*arguments, **options)
        except DivergedError as error:
            self.diverged[s] = error
            if len(self.diverged) == len(self.records):
                raise
            print(f"{error} The other trainings go on.")

    def _keep_weights(self, epochs):
        if any(epochs in record.config.read_out_at() for _, record in self._going()):
            if self.fused:
                self.fused.scatter()
            for s, record in self._going():
                self._unless_diverged(s, record.keep_weights, epochs)

    def _hold_best(self):
        if any(record.best is not None for _, record in self._going()):
            if self.fused:
                self.fused.scatter()
            for s, record in self._going():
                self._unless_diverged(s, record.hold_best)

    def _save(self, epoch, step, metrics=None):
        """All checkpoints are there before the first old one goes, so that there always is a moment that all runs have."""
        if self.fused:
            self.fused.scatter()
        for s, record in self._going():
            of_run = None if metrics is None else metrics[s]
            self._unless_diverged(s, record.save, epoch, step, of_run, spare=1 if self.fused else 0)
        going = [record for _, record in self._going()]
        warn_of_costly_checkpoints(going)
        for record in going if self.fused else ():
            for old in checkpoint_files(record.run.checkpoints)[record.config.training.keep_checkpoints :]:
                remove(old)
        for record in going:
            record.prune_best()

    def _stop_if_asked(self):
        if self.signal_number is not None:
            raise Interrupted(self.signal_number)
