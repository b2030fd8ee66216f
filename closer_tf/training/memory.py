"""Whether an ensemble can fit into the machine's memory, from its config alone; and how much of it was taken."""

import contextlib
import math
import sys

from closer_tf.common.limits import memory
from closer_tf.errors import ConfigError

COPIES = 4  # of every parameter while training: itself, its gradient, the optimizer's two running means


def check_memory(config, receptive_fields, data):
    """Refuse encoders that the machine's memory cannot hold, before any of it is taken.

    Args:
        config: resolved `RunConfig`.
        receptive_fields: `ReceptiveFields`.
        data: `Splits`.

    Raises:
        ConfigError: training them takes more memory than there is.
    """
    channels = math.prod(data.input_shape[2:]) * receptive_fields.patch_size**2
    encoders = zip(config.each_encoder(), receptive_fields.indices)
    parameters = sum(count_parameters(options, len(cells), channels) for options, cells in encoders)
    needed, there = 4 * COPIES * parameters / 2**30, memory() / 2**30
    if needed > there:
        raise ConfigError(f"encoder: {parameters:,} parameters take {needed:,.0f} GB to train, there are {there:,.0f} GB")


def peak_memory_bytes():
    """The most memory that this process has held so far, in bytes; 0 on systems that do not say.

    Linux's `ru_maxrss` starts at what the parent process held, hence /proc where there is one.
    """
    with contextlib.suppress(OSError, StopIteration):  # no Linux, or none that tells
        with open("/proc/self/status") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # bytes on macOS, KiB elsewhere


def peak_memory_gb():
    """`peak_memory_bytes` in GiB, to two digits."""
    return round(peak_memory_bytes() / 2**30, 2)


def count_parameters(options, cells, values):
    """Roughly the parameters of one encoder: its kernels, without biases and scales.

    Args:
        options: a config's `encoder`.
        cells: cells of its receptive field.
        values: values per cell.
    """
    if options.type == "own":
        return 0  # not known before it is made
    if options.type == "mlp":
        widths = [cells * values, *options.hidden, options.embedding_dim]
        return sum(a * b for a, b in zip(widths, widths[1:]))
    if options.type == "rnn":
        gates = 3 if options.cell == "gru" else 1
        widths = [max(cells, values), *options.units]  # the sequence runs over the one or the other
        return sum(gates * (a + b) * b for a, b in zip(widths, widths[1:])) + options.units[-1] * options.embedding_dim
    width = options.embedding_dim
    block = 4 * width * options.heads * options.key_dim + 2 * width * options.mlp_dim
    return width * (values + cells + 2) + options.blocks * block
