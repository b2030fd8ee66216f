"""SIGINT and SIGTERM ask a training to stop at the next step; a second one ends the process at once."""

import os
import signal
import threading

from closer_tf.errors import ConfigError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """The training was asked to stop; its state is saved.

    Args:
        signal_number: the signal that asked, such as `signal.SIGINT`.
    """

    def __init__(self, signal_number):
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


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


def run_training(work, source, folder):
    """Do the training of a command line.

    Args:
        work: function without arguments that trains.
        source: the config's file, which its mistakes are said to be in.
        folder: where the state is saved when a signal stops the training.

    Returns:
        The exit code: 0, or 128 + the signal's number.

    Raises:
        ConfigError: of `work`, with the file's name.
    """
    try:
        work()
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    except Interrupted as stop:
        print(f"{stop}: state saved in {folder}; the same command goes on from here.")
        return 128 + stop.signal_number
    return 0
