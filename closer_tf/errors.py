"""The errors a user can act on.

Every command turns a `CloserError` into one message on standard error and exit code 2. Anything else that escapes is a
bug of ours and keeps its traceback.
"""


class CloserError(Exception):
    """Base of all errors that a user can mend: a wrong config, unreadable data, a busy run folder."""


class ConfigError(CloserError):
    """A run config that cannot be used. The message names the file, the key's full path and what was expected."""


class DataError(CloserError):
    """Data that is absent, unreadable or inconsistent. The message names the file or the array."""


class RunError(CloserError):
    """A run folder that cannot be used: another config, another writer, a damaged or missing file."""


class ExportError(CloserError):
    """An export that cannot be made, or that does not do what the ensemble does."""
