"""What a person sees while something works: lines, and a bar with the time left where there is a terminal."""

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def console():
    """A console on standard output that never wraps lines written to a file."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def bar(total, what):
    """A progress bar of `total` parts with the time left; silent where there is no terminal."""
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
