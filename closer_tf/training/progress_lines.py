"""What a person sees while a run trains: one line per epoch, and a bar over the steps where there is a terminal."""

import time

import keras
import numpy as np

from closer_tf.common.progress import bar, console, duration


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
