"""Whether spikes and stimuli were timed alike, and in seconds."""

import numpy as np

from closer_tf.errors import DataError

UNITS = {"milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}  # per second

LONGEST = 30 * 86400.0
"""Seconds that a recording may last."""
SLOWEST = 0.05
"""Spikes per second of the busiest unit, below which times are not in seconds."""
_ENOUGH = 50  # spikes of that unit, from which on its rate says something


def check_clock(what, spikes, name, starts, stops, called="trials"):
    """Refuse stimuli of which most trials lie before the first or after the last spike: their times are of another clock or
    unit.

    Args:
        what: what to call the recording in messages.
        spikes: list of float arrays, the spike times of each unit, seconds.
        name: the stimulus.
        starts, stops: float arrays (trials,), seconds, in order of time.
        called: what has these times.

    Raises:
        DataError: as above, or there is no spike, or spike times are not finite.
    """
    spikes = [times for times in spikes if len(times)]
    first, last = min(map(np.min, spikes), default=np.nan), max(map(np.max, spikes), default=np.nan)
    if not np.isfinite([first, last]).all():
        raise DataError(f"{what}: it has no spikes, or spike times that are not finite")
    apart = (stops < first) | (starts > last)
    if apart.mean() > 0.5:
        factor = stops[-1] / last if last else np.inf
        guess = next((f"; are they in {unit}?" for unit, per_second in UNITS.items() if 0.1 < factor / per_second < 10), "")
        raise DataError(
            f"{what}: {name}: {apart.sum()} of {len(starts)} trials are without any unit's spikes: its "
            f"{called} lie between {starts[0]:.6g} and {stops[-1]:.6g} s, the spikes between {first:.6g} and "
            f"{last:.6g} s; expected both in seconds{guess}"
        )


def check_seconds(what, spikes):
    """Refuse spike times in a range in which no recording's seconds lie: milliseconds, nanoseconds or numbers of samples.

    Args:
        what: what to call them in messages.
        spikes: list of sorted float arrays.

    Raises:
        DataError: they span more than `LONGEST`, or the busiest unit fires less often than `SLOWEST`.
    """
    some = [times for times in spikes if len(times)]
    if not some:
        return
    first, last = min(times[0] for times in some), max(times[-1] for times in some)
    most = max(map(len, some))
    span = last - first
    if span > LONGEST or (most >= _ENOUGH and most < SLOWEST * span):
        raise DataError(
            f"{what}: expected seconds, found times from {first:.6g} to {last:.6g}, which is {span / 86400:.3g} days with "
            f"{most / span:.2g} spikes per second of the busiest unit; divide times in milliseconds by 1e3, in nanoseconds by "
            f"1e9, numbers of samples by the sampling rate"
        )
