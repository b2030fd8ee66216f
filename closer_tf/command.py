"""What the command lines share: exit codes, one-message errors and warnings, a quiet start.

Exit codes: 0 done; 1 a bug of ours (with its traceback); 2 something the user can mend; 3 the training diverged (its loss or
weights are no longer finite); 128 + n stopped by signal n (130 for Ctrl-C, 143 for SIGTERM, 141 when the reader of the output
went away), with the state saved where the message says so.
"""

import os
import sys
import warnings

from closer_tf import __version__
from closer_tf.errors import CloserError, CloserWarning

USER_ERROR = 2
OUTPUT_CLOSED = 141


def run_command(work, needs_keras=True):
    """Run a command's work; turn what a user can mend into one message.

    Args:
        work: function without arguments, which may return an exit code.
        needs_keras: import Keras first, quietly.

    Returns:
        The exit code.
    """
    from closer_tf.quiet import import_keras

    with _warnings_as_lines():
        try:
            if needs_keras:
                import_keras()
            outcome = work()
            sys.stdout.flush()
        except CloserError as error:
            return _failed(error, error.exit_code)
        except KeyboardInterrupt:
            print("stopped.", file=sys.stderr)
            return 130
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it exits
            return OUTPUT_CLOSED
        except OSError as error:  # the disk, the network or the machine, not the program
            where = f"{error.filename}: " if error.filename else ""
            return _failed(f"{where}{error.strerror or error}", USER_ERROR)
        except Exception as error:
            if not _out_of_memory(error):
                raise
            return _failed("out of memory; try a smaller training.batch_size, fewer encoders or smaller data", USER_ERROR)
    return outcome if isinstance(outcome, int) else 0


def add_version(parser):
    """Give an argument parser the usual --version."""
    parser.add_argument("--version", action="version", version=f"closer_tf {__version__}")


def add_overrides(parser, what):
    """Give an argument parser the repeatable --set KEY=VALUE, as `overrides`; `what` is its help."""
    parser.add_argument("--set", dest="overrides", metavar="KEY=VALUE", action="append", default=[], help=what)


def add_figures(parser):
    """Give an argument parser the repeatable --figures FORMAT, what pictures are written as beside PNG, as `figures`."""
    says = "write the pictures in this format too, beside PNG: pdf or svg; can be repeated"
    parser.add_argument("--figures", metavar="FORMAT", action="append", choices=("pdf", "svg"), default=[], help=says)


def _failed(message, code):
    print(f"error: {printable(message)}", file=sys.stderr)
    return code


def printable(text):
    """Text from a config or a file, without characters that a terminal would obey or cannot show."""
    shown = str(text).encode("utf-8", errors="backslashreplace").decode()
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in shown)


def _out_of_memory(error):
    return isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"  # the latter is TensorFlow's


class _warnings_as_lines(warnings.catch_warnings):
    """Context in which a `CloserWarning` is shown as a line, not with the place in our code that it came from."""

    def __enter__(self):
        super().__enter__()
        usual = warnings.formatwarning
        self.usual = usual

        def format_warning(message, category, *args, **options):
            if issubclass(category, CloserWarning):
                return f"warning: {printable(message)}\n"
            return usual(message, category, *args, **options)

        warnings.formatwarning = format_warning

    def __exit__(self, *exception):
        warnings.formatwarning = self.usual
        super().__exit__(*exception)
