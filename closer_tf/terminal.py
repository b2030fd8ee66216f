"""What all output to a person shares. Never imports Keras."""

import sys

from rich.console import Console


def console():
    """A console on standard output that never wraps lines written to a file."""
    in_terminal = sys.stdout.isatty()
    return Console(highlight=False, soft_wrap=not in_terminal, width=None if in_terminal else 120)


def duration(seconds):
    """Seconds as people write them: '41 s', '3 min 20 s', '5 h 12 min', '3 d 4 h'."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    if seconds < 48 * 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86400} d {seconds % 86400 // 3600} h"
