"""What the command lines share: exit codes, one-message errors, a quiet start.

Exit codes: 0 done; 1 a bug of ours (with its traceback); 2 something the user can mend; 128 + n stopped by signal n
(130 for Ctrl-C, 143 for SIGTERM), with the state saved where the message says so.
"""

import sys

from closer_tf import __version__
from closer_tf.errors import CloserError

USER_ERROR = 2


def run_command(work, needs_keras=True):
    """Run a command's work; turn what a user can mend into one message.

    Args:
        work: function without arguments, which may return an exit code.
        needs_keras: import Keras first, quietly.

    Returns:
        The exit code.
    """
    from closer_tf.quiet import import_keras

    try:
        if needs_keras:
            import_keras()
        outcome = work()
    except CloserError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("stopped.", file=sys.stderr)
        return 130
    return outcome if isinstance(outcome, int) else 0


def add_version(parser):
    """Give an argument parser the usual --version."""
    parser.add_argument("--version", action="version", version=f"closer_tf {__version__}")
