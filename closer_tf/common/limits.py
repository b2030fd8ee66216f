"""How much a data file may ask for: what it declares is looked at before anything is allocated."""

import os
import stat

from closer_tf.errors import DataError

MAX_BYTES = 8 * 2**30
"""The most that is read from one source, whatever the machine has."""


def check_declared(what, declared):
    """Refuse what would not fit.

    Args:
        what: what to call the file or its part in the message.
        declared: bytes that reading it would take.

    Raises:
        DataError: more than `MAX_BYTES`, or than half of the machine's memory.
    """
    limit = min(MAX_BYTES, memory() // 2)
    if declared > limit:
        raise DataError(f"{what}: declares {declared:,} bytes of arrays; at most {limit:,} are read on this machine")


def check_regular(path):
    """Refuse what is no ordinary file: reading a pipe or a device may never end.

    Raises:
        DataError: there is no such file, or it is a folder, pipe or device.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL or a lone surrogate
        raise DataError(f"{path}: cannot be read: {error}") from None
    if not stat.S_ISREG(mode):
        raise DataError(f"{path}: not an ordinary file")


def memory():
    """Bytes of memory that this machine has."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not every system says
        return 2 * MAX_BYTES
