"""The training loop: epochs of one run, or of several in one; what is written and said of them meanwhile."""

import math
import time
import warnings

import keras
import numpy as np

from closer_tf.common.backend import backend_part, products_in
from closer_tf.common.command import Interrupted, Signals, bar, console, duration
from closer_tf.common.files import remove
from closer_tf.common.values import load
from closer_tf.data.splits import steps_per_epoch
from closer_tf.errors import CloserWarning, DivergedError
from closer_tf.training.checkpoints import (
    BestWeights,
    Checkpoint,
    advice_on_it,
    begin_weights,
    checkpoint_files,
    describe_best,
    has_passed_its_best,
    keep_weights,
    metric_values,
    restore_checkpoint,
    restore_metrics,
    save_checkpoint,
    set_later_aside,
)

COSTLY, SECONDS_TO_JUDGE = 0.1, 60.0  # checkpoints that take a larger share of so much time are worth a word
COLLAPSED = 1e-4  # an `embedding_sd` below this is taken for zero


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
            inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # of a loss scale
            if isinstance(inner._learning_rate, keras.Variable):  # no schedule
                model.optimizer.learning_rate = config.optimizer.learning_rate  # may have changed since
        start = checkpoint or Checkpoint(epoch=0, step=0, history=[], digest=config.digest(), arrays=[])
        records.append(RunRecord(run, config, model, start, steps))
    keeper = CheckpointKeeper(records, _together(models))
    with products_in(configs[0].compute.precision), Signals(keeper):
        fit, validate = backend_part("epochs")(keeper.trained, data, configs, keeper, callbacks)
        _go_through_epochs(records[0].start, steps, options.epochs, fit, validate, keeper)
    return keeper


def _together(models):
    """Several ensembles as one model; None for one."""
    if keras.backend.backend() == "tensorflow":
        for model in models:
            load("closer_tf.nn.tensorflow:spread_seeds")(model)
    return None if len(models) == 1 else load("closer_tf.nn.fused_model:FusedEnsembles")(models)


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


class RunRecord:
    """Writes a run's history and checkpoints, and warns of a collapse and of checkpoints that cost much.

    Args:
        run: `RunFolder`.
        config: resolved `RunConfig`.
        model: the compiled `CLoSeR` model in training.
        start: the `Checkpoint` that the training goes on from.
        steps: steps per epoch.
    """

    def __init__(self, run, config, model, start, steps):
        self.run, self.config, self.model, self.start, self.steps = run, config, model, start, steps
        self.now = start.epoch, start.step  # where the training is, for messages
        self.history = list(start.history)
        self.began_training = self.saved = time.monotonic()
        self.saving, self.warned_of_cost, self.collapsed = 0.0, False, False
        self.passed_its_best = has_passed_its_best(start.history, config.training.epochs)
        set_later_aside(run.checkpoints, start.epoch, start.step)
        run.write_history(start.history)  # what a crash left beyond the checkpoint is trained again
        begin_weights(run, config, start.epoch)
        self.best = BestWeights(run, config, start) if config.training.keep == "best" else None

    def add_epoch(self, epoch, seconds, logs):
        """One more epoch is done, with these means; warn if the ensemble has collapsed or the training has passed its best."""
        logs = {key: float(value) for key, value in logs.items()}
        if not self.collapsed and logs.get("embedding_sd", 1.0) < COLLAPSED:
            self.collapsed = True
            warnings.warn(
                f"epoch {epoch + 1}: the ensemble has collapsed: the embeddings of all stimuli are alike "
                f"(embedding_sd {logs['embedding_sd']:.1g})",
                CloserWarning,
                stacklevel=2,
            )
        self.history.append({"epoch": epoch + 1, "seconds": round(seconds, 3), **logs})
        if not self.passed_its_best and has_passed_its_best(self.history, self.config.training.epochs):
            self.passed_its_best = True
            says = f"{describe_best(self.history)}: {advice_on_it(self.config, self.history)}"
            warnings.warn(says, CloserWarning, stacklevel=2)

    def hold_best(self):
        """Hold the weights of this moment, after an epoch that no checkpoint follows, if it is the best so far and to be kept.

        Raises:
            DivergedError: a weight is not finite.
        """
        if self.best is not None:
            try:
                self.best.hold(self.model, self.history)
            except DivergedError as error:
                self._diverged(str(error), [])

    def keep_weights(self, epochs):
        """Write the weights of this moment, `epochs` epochs done, if `readout.at_epochs` asks for them.

        Raises:
            DivergedError: a weight is not finite; nothing is written.
        """
        try:
            keep_weights(self.run, self.config, self.model, epochs, self.history)
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
        if self.best is not None:
            self.best.write(self.history, step)
        try:
            save_checkpoint(self.run.checkpoints, self.model, moment, keep, metrics)
        except DivergedError as error:
            self._diverged(str(error), [])
        self.saved = time.monotonic()
        self.saving += self.saved - began

    def prune_best(self):
        """Remove weights of best epochs that no checkpoint needs any more."""
        if self.best is not None:
            self.best.prune(self.history)

    def check_loss(self, logs):
        """Stop if a mean of the epoch's steps so far is not finite: it is not from the step on at which the loss is not.

        Raises:
            DivergedError: it is noted in the run folder.
        """
        if not math.isfinite(logs.get("loss", 0.0)):
            bad = [key for key, value in logs.items() if not math.isfinite(value)]
            self._diverged(f"not finite any more: {', '.join(bad)}", bad)

    def _diverged(self, what, terms):
        epoch, step = self.now
        self.run.note_stop(epoch, step, terms)
        files = checkpoint_files(self.run.checkpoints)
        last = f"the last good checkpoint, {files[0].name}," if files else "the beginning, as there is no checkpoint yet,"
        rate = self.config.optimizer.learning_rate
        raise DivergedError(
            f"{self.run.path}: epoch {epoch + 1}, step {step} of {self.steps}: {what}. "
            f"To go on from {last} with smaller steps, run the same command with a learning rate below {rate:g}, such as "
            f"--set optimizer.learning_rate={rate / 3:.1g}; changes.json keeps what was trained with which."
        )


def warn_of_costly_checkpoints(records):
    """Say once when the checkpoints of runs that train together take more than `COSTLY` of the time since they began here."""
    first = records[0]
    spent, saving = first.saved - first.began_training, sum(record.saving for record in records)
    if spent < SECONDS_TO_JUDGE or saving < COSTLY * spent or first.warned_of_cost:
        return
    first.warned_of_cost = True
    warnings.warn(
        f"checkpoints take {saving / spent:.0%} of the time: a larger training.checkpoint_every than "
        f"{first.config.training.checkpoint_every} would save most of it (a run may go on with another)",
        CloserWarning,
        stacklevel=2,
    )


class ProgressLines(keras.callbacks.Callback):
    """Prints the losses and the time left after each epoch, and shows a bar over the steps in a terminal.

    The time left follows from the epochs after the first that this process trains: the first compiles, and may be the rest of
    one that was stopped. After that first one it follows from its steps after the first call.

    Args:
        epochs: the config's epochs.
        steps: steps per epoch.
        lines: print about this many lines in all; the first and last epoch always have theirs.
    """

    def __init__(self, epochs, steps, lines=100):
        super().__init__()
        self.epochs, self.steps, self.every = epochs, steps, max(1, epochs // lines)
        self.done, self.spent = 0, 0.0
        self.first_call = self.last_call = None

    def on_epoch_begin(self, epoch, logs=None):
        """Start the bar of this epoch."""
        self.began = time.perf_counter()
        self.bar = bar(self.steps, f"epoch {epoch + 1}/{self.epochs}")
        self.bar.start()

    def on_train_batch_end(self, batch, logs=None):
        """Move the bar."""
        done = min(batch + 1, self.steps)
        self.last_call = (done, time.perf_counter())
        self.first_call = self.first_call or self.last_call
        self.bar.update(self.bar.task_ids[0], completed=done)

    def on_epoch_end(self, epoch, logs=None):
        """Print the epoch's line."""
        self.bar.stop()
        seconds = time.perf_counter() - self.began
        self.done += 1
        if self.done > 1:
            self.spent += seconds
        number = epoch + 1
        if number % self.every and self.done > 1 and number < self.epochs:
            return
        logs = {key: float(np.nanmean(value)) for key, value in logs.items()}  # over the runs that train in one
        first = [key for key in ("loss", "val_loss") if key in logs]
        rest = [key for key in logs if key not in first and not key.startswith("val_")]
        losses = "  ".join(f"{key} {logs[key]:.4f}" for key in (*first, *rest))
        console().print(f"epoch {number}/{self.epochs}  {losses}  {seconds:.1f} s  left: {self._left(number)}")

    def _left(self, number):
        """How long the epochs after epoch `number` take, in words."""
        if number >= self.epochs:
            return duration(0)
        if self.done > 1:
            return duration(self.spent / (self.done - 1) * (self.epochs - number))
        steps = self.last_call[0] - self.first_call[0] if self.first_call else 0
        if steps == 0:
            return "not known yet"
        return duration((self.last_call[1] - self.first_call[1]) / steps * self.steps * (self.epochs - number))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        """Leave the terminal as it was, however the training ended."""
        if hasattr(self, "bar"):
            self.bar.stop()
