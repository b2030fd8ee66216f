"""What the command lines share: exit codes, one-message errors and warnings, a quiet start, progress, stops by a signal.

Exit codes: 0 done; 1 a bug of ours (with its traceback); 2 something the user can mend; 3 the training diverged (its loss or
weights are no longer finite); 4 another process is at work on the run folder, or runs the sweep; 128 + n stopped by signal n
(130 for Ctrl-C, 143 for SIGTERM, 141 when the reader of the output went away), with the state saved where the message says so.
"""

import argparse
import importlib
import importlib.util
import os
import re
import signal
import sys
import threading
import warnings
from collections import Counter

from closer_tf import __version__
from closer_tf.errors import CloserError, CloserWarning, ConfigError

USER_ERROR = 2
OUTPUT_CLOSED = 141
MAX_SEEDS = 100_000  # keeps a mistyped range from filling the memory
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_command(work, needs_keras=True, plugins=()):
    """Run a command's work; turn what a user can mend into one message.

    Args:
        work: function without arguments, which may return an exit code.
        needs_keras: import Keras first, quietly.
        plugins: modules to import before that, as from `add_plugins`.

    Returns:
        The exit code.
    """
    from closer_tf.common.backend import import_keras

    with _warnings_as_lines():
        try:
            find_plugins(plugins)  # before anything slow
            if needs_keras or plugins:
                import_keras()
            import_plugins(plugins)
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


def command_parser(prog, description, epilog):
    """The argument parser of a command: its name, what it does, and its examples and exit codes as they are written."""
    as_written = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog=prog, description=description, epilog=epilog, formatter_class=as_written)


def add_version(parser):
    """Give an argument parser the usual --version."""
    parser.add_argument("--version", action="version", version=f"closer_tf {__version__}")


def add_overrides(parser, what):
    """Give an argument parser the repeatable --set KEY=VALUE, as `overrides`; `what` is its help."""
    parser.add_argument("--set", dest="overrides", metavar="KEY=VALUE", action="append", default=[], help=what)


def add_plugins(parser):
    """Give an argument parser the repeatable --plugin MODULE, modules that register parts of one's own, as `plugins`."""
    says = "import this module first: it registers parts of your own that the config names; can be repeated"
    parser.add_argument("--plugin", dest="plugins", metavar="MODULE", action="append", default=[], help=says)


def find_plugins(modules):
    """Refuse names that are no modules, without importing any; they are found in the current folder, too.

    Args:
        modules: their names, as for Python's `import`.

    Raises:
        ConfigError: there is no such module.
    """
    if modules and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for module in modules:
        if not all(part.isidentifier() for part in module.split(".")) or module.endswith(".py"):
            raise ConfigError(f"--plugin {module}: expected the name of a module, such as my_parts for my_parts.py")
        package = module.partition(".")[0]
        if package not in sys.modules and importlib.util.find_spec(package) is None:
            raise ConfigError(f"--plugin {module}: cannot be imported: ModuleNotFoundError: No module named '{package}'")


def import_plugins(modules):
    """Import modules that register parts; arguments as for `find_plugins`.

    Raises:
        ConfigError: there is no such module, or importing it fails.
    """
    find_plugins(modules)
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            raise ConfigError(f"--plugin {module}: cannot be imported: {type(error).__name__}: {error}") from error


def add_seeds(parser, which="the seeds", required=False):
    """Give an argument parser --seeds and --num-seeds, of which `seeds_of` makes a list; `which` begins their help."""
    options = parser.add_mutually_exclusive_group(required=required)
    options.add_argument("--seeds", metavar="SEEDS", help=f"{which}: numbers and ranges such as 0-9 or 0,2,5 or 0-3,7")
    options.add_argument("--num-seeds", type=int, metavar="N", help=f"{which}: the N seeds 0 to N - 1")


def seeds_of(options):
    """The seeds that the options of `add_seeds` stand for: list of ints, or None where neither is given.

    Raises:
        ConfigError: they stand for no seeds.
    """
    if options.num_seeds is not None:
        if not 1 <= options.num_seeds <= MAX_SEEDS:
            raise ConfigError(f"--num-seeds {options.num_seeds}: expected 1 to {MAX_SEEDS:,}")
        return list(range(options.num_seeds))
    return None if options.seeds is None else parse_seeds(options.seeds, "--seeds")


def parse_seeds(text, source="seeds"):
    """The seeds that a text such as '0-3,7' stands for, in its order.

    Args:
        text: whole numbers and ranges, both ends included, with commas between them.
        source: what to call it in error messages.

    Returns:
        List of different ints, at least one.

    Raises:
        ConfigError: it holds something else, a range that runs backwards, a seed twice, or more than 100,000 seeds.
    """
    seeds, about = [], f"{source} {text}"
    for part in text.split(","):
        found = re.fullmatch(r"([0-9]{1,19})(?:-([0-9]{1,19}))?", part.strip())
        if not found:
            what = f"found '{part.strip()}'" if text.strip() else "found none"
            raise ConfigError(f"{about}: expected whole numbers and ranges, such as 0-9 or 0,2,5 or 0-3,7; {what}")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            raise ConfigError(f"{about}: expected ranges from the smaller to the larger seed, found {part.strip()}")
        if last >= 2**63:
            raise ConfigError(f"{about}: expected seeds below 2^63, found {last}")
        if len(seeds) + last - first >= MAX_SEEDS:
            raise ConfigError(f"{about}: expected at most {MAX_SEEDS:,} seeds")
        seeds += range(first, last + 1)
    [(often, times)] = Counter(seeds).most_common(1)
    if times > 1:
        raise ConfigError(f"{about}: expected each seed once, found {often} {times} times")
    return seeds


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


def console():
    """A console on standard output that never wraps lines written to a file."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def bar(total, what):
    """A progress bar of `total` parts with the time left; silent where there is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    progress = Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console(),
        transient=True,
        disable=not sys.stdout.isatty(),
    )
    progress.add_task(what, total=total)
    return progress


def duration(seconds):
    """Seconds as people write them: '41 s', '3 min 20 s', '5 h 12 min'."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


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


def run_stoppable(work, located, folder):
    """Do the training of a command line.

    Args:
        work: function without arguments that trains.
        located: function from a mistake in the config to the same with its file.
        folder: where the state is saved when a signal stops the training.

    Returns:
        The exit code: 0, or 128 + the signal's number.

    Raises:
        ConfigError: of `work`, with the file's name.
    """
    try:
        work()
    except ConfigError as error:
        raise ConfigError(located(str(error))) from None
    except Interrupted as stop:
        print(f"{stop}: state saved in {folder}; the same command goes on from here.")
        return 128 + stop.signal_number
    return 0
