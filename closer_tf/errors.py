"""The errors a user can act on, and the warnings worth one line.

Every command turns a `CloserError` into one message on standard error and the error's exit code. Anything else that escapes
is a bug of ours and keeps its traceback.
"""


class CloserError(Exception):
    """Base of all errors that a user can mend: a wrong config, unreadable data, a busy run folder."""

    exit_code = 2


class ConfigError(CloserError):
    """A run config that cannot be used. The message names the file, the key's full path and what was expected."""


class DataError(CloserError):
    """Data that is absent, unreadable or inconsistent. The message names the file or the array."""


class RunError(CloserError):
    """A run folder that cannot be used: another config, another writer, a damaged or missing file."""


class BusyError(RunError):
    """A run folder, or a sweep of one name, that another process is at work on: the same command may do later."""

    exit_code = 4


class DivergedError(CloserError):
    """A training whose loss or weights are no longer finite. The last good checkpoint is kept."""

    exit_code = 3


class BackendError(CloserError, ImportError):
    """The library that Keras shall compute with is not installed. The message says what to install or to set."""


class CloserWarning(UserWarning):
    """Something that a user should know while the work goes on. Commands show it as one line on standard error."""


class ExportError(CloserError):
    """An export that cannot be made, or that does not do what the ensemble does."""
