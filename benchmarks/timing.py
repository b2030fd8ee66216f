"""How things are timed: warm, interleaved, medians of repeats that are all kept; on what machine, and whether it was busy."""

import os
import platform
import time

import numpy as np
import psutil

from closer_tf.common.backend import versions

SPELL_S = 0.3


def interleaved(functions, repeats=15, budget_s=60.0):
    """Seconds per call of several functions that take turns, so that a slow spell of the machine hits all of them.

    In its turn a function runs again and again for `SPELL_S` seconds, after one call that is not counted, and at least once: a
    repeat is the mean over that spell. So it meets its own data in the caches, as in a training, and not what another's
    gigabytes left.

    Args:
        functions: dict name -> function without arguments that returns when its work is done.
        repeats: turns of each, after two calls that are not counted.
        budget_s: a function stops repeating, after at least 3 turns, once it has taken this long.

    Returns:
        dict name -> list of seconds per call, one per turn.
    """
    seconds = {name: [] for name in functions}
    taken = dict.fromkeys(functions, 0.0)
    for function in functions.values():
        function()
        function()
    for _ in range(repeats):
        for name, function in functions.items():
            if len(seconds[name]) >= 3 and taken[name] > budget_s:
                continue
            per_call, all_of_it = _spell(function)
            seconds[name].append(per_call)
            taken[name] += all_of_it
    return seconds


def _spell(function):
    """(mean seconds per call, seconds altogether) of one turn."""
    first = time.perf_counter()
    function()
    began, calls = time.perf_counter(), 0
    if began - first > SPELL_S:  # so slow that a call to warm up would tell nothing
        return began - first, began - first
    while time.perf_counter() - began < SPELL_S:
        function()
        calls += 1
    return (time.perf_counter() - began) / calls, time.perf_counter() - first


def median_ms(seconds):
    """Median of a list of seconds, in milliseconds."""
    return 1e3 * float(np.median(seconds))


def summary(seconds, **about):
    """One measurement as the result file holds it: median, spread and every repeat, in milliseconds."""
    return {
        **about,
        "median_ms": round(median_ms(seconds), 3),
        "min_ms": round(1e3 * min(seconds), 3),
        "max_ms": round(1e3 * max(seconds), 3),
        "repeats_ms": [round(1e3 * second, 3) for second in seconds],
    }


def matrix_rate(size=2048, repeats=10):
    """Float32 matrix products of this machine by the backend in use, in GFLOP/s (median), of size x size matrices."""
    from keras import ops

    from benchmarks.backend import compiled, wait

    x = ops.convert_to_tensor(np.random.default_rng(0).normal(size=(size, size)).astype("float32"))
    product = compiled(lambda a: ops.matmul(a, a))
    seconds = interleaved({"product": lambda: wait(product(x))}, repeats)["product"]
    return 2 * size**3 / float(np.median(seconds)) / 1e9


def machine():
    """dict: processor, cores, system, versions and backend."""
    import keras

    found = {"processor": processor(), "system": platform.platform(), **versions(), "cores": os.cpu_count()}
    found["keras_backend"] = keras.backend.backend()
    return found


class OtherWork:
    """How many of the machine's cores other programs kept busy since this was made, on average."""

    def __init__(self):
        self.began, self.used = time.perf_counter(), self._used()

    @staticmethod
    def _used():
        machine, own = psutil.cpu_times(), os.times()
        return machine.user + machine.nice + machine.system - sum(own[:4])  # own: with the children that have ended

    def cores(self):
        """float, in cores."""
        return max(0.0, (self._used() - self.used) / (time.perf_counter() - self.began))

    def found(self):
        """dict: as result files hold it."""
        cores = self.cores()
        return {"cores_busy_with_other_work": round(cores, 2), "other_work_ran_beside": cores > 0.1}


def processor():
    """The processor's name."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
