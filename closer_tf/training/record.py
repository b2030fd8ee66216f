"""What is written of a run while it trains: its history, its checkpoints, and the weights that are to be read out."""

import math
import time
import warnings

from closer_tf.errors import CloserWarning, DivergedError
from closer_tf.training import best_epoch, kept_weights
from closer_tf.training.checkpoints import Checkpoint, checkpoint_files, save_checkpoint

COSTLY, SECONDS_TO_JUDGE = 0.1, 60.0  # checkpoints that take a larger share of so much time are worth a word
COLLAPSED = 1e-4  # an `embedding_sd` below this is taken for zero


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
        self.passed_its_best = best_epoch.has_passed_its_best(start.history, config.training.epochs)
        run.write_history(start.history)  # what a crash left beyond the checkpoint is trained again
        kept_weights.begin(run, config, start.epoch)
        self.best = best_epoch.BestWeights(run, config, start) if config.training.keep == "best" else None

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
        if not self.passed_its_best and best_epoch.has_passed_its_best(self.history, self.config.training.epochs):
            self.passed_its_best = True
            says = f"{best_epoch.describe(self.history)}: {best_epoch.advice_on_it(self.config, self.history)}"
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
