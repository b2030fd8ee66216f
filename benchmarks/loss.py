"""The loss, forward and backward, per interaction graph and number of encoders: time, and memory beyond the embeddings."""

import json
import os
import subprocess
import sys

import numpy as np

from benchmarks.backend import value_and_gradient, wait
from benchmarks.reference import reference_loss
from benchmarks.timing import interleaved, summary
from closer_tf import graphs
from closer_tf.common.backend import peak_memory_bytes

BATCH, DIM = 128, 256
SIZES = (2, 5, 10, 20, 50, 100, 200)
REFERENCE_UP_TO = 10  # the tensor of differences takes N^2 * 17 MB several times over: beyond, it is not run
FAMILIES = {  # name -> (graph, stop-gradient)
    "all_to_all": (graphs.all_to_all, False),
    "full_density_stop_gradient": (graphs.all_to_all, True),
    "star": (graphs.star, True),
    "bidirectional_ring": (graphs.bidirectional_ring, True),
    "directional_ring": (graphs.directional_ring, True),
    "random_2N_edges": (lambda n: graphs.random_graph(n, min(2 * n, n * (n - 1)), seed=0), True),
}


def measure(sizes=SIZES, repeats=15):
    """Time and memory of every family and size.

    Returns:
        List of dicts: family, encoders, edges, implementation ('ours' or 'reference'), times, extra memory in MiB where it
        was measured; or `not_run` with the reason.
    """
    rows = []
    for count in sizes:
        functions, about = {}, {}
        for family, (make, stop_gradient) in FAMILIES.items():
            graph = make(count)
            for implementation in ("ours", "reference"):
                key = (family, implementation)
                about[key] = {"family": family, "encoders": count, "edges": graph.num_edges, "implementation": implementation}
                if implementation == "reference" and (count > REFERENCE_UP_TO or family not in REFERENCE_FAMILIES):
                    continue
                functions[key] = _ready(implementation, graph, stop_gradient)
        for key, seconds in interleaved(functions, repeats, budget_s=20.0).items():
            rows.append(summary(seconds, **about[key]))
        rows += [{**about[key], "not_run": _why_not(count)} for key in about if key not in functions]
        print(f"loss: {count} encoders done", flush=True)
    for row in rows:
        if row["encoders"] in (10, 200) and "not_run" not in row and row["family"] in REFERENCE_FAMILIES:
            row["extra_memory_mb"] = extra_memory_mb(row["family"], row["encoders"], row["implementation"])
    return rows


REFERENCE_FAMILIES = ("all_to_all", "bidirectional_ring")


def _why_not(count):
    if count > REFERENCE_UP_TO:
        return f"the tensor of differences would take {count**2 * BATCH**2 * DIM * 4 / 2**30:.0f} GiB, several times over"
    return "costs what it costs for the other graphs: the formula computes all pairs of encoders"


def _function(implementation, graph, stop_gradient):
    from closer_tf.nn.objectives import closer_terms

    if implementation == "reference":
        return value_and_gradient(lambda x: reference_loss(x, 10.0 * DIM, graph, stop_gradient))
    return value_and_gradient(lambda x: closer_terms(x, 10.0 * DIM, graph, stop_gradient)["loss"])


def _embeddings(batch, count):
    from keras import ops

    return ops.convert_to_tensor(np.random.default_rng(0).normal(size=(batch, count, DIM)).astype("float32"))


def _ready(implementation, graph, stop_gradient):
    function, x = _function(implementation, graph, stop_gradient), _embeddings(BATCH, graph.num_encoders)
    return lambda: wait(function(x))


def extra_memory_mb(family, count, implementation):
    """Peak memory of a process over what it held before the loss of a whole batch, in MiB, measured in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.loss", family, str(count), implementation]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    return json.loads(done.stdout.splitlines()[-1])


def _main(family, count, implementation):
    make, stop_gradient = FAMILIES[family]
    graph = make(int(count))
    function = _function(implementation, graph, stop_gradient)
    wait(function(_embeddings(4, int(count))))  # libraries, tracing, threads
    x = _embeddings(BATCH, int(count))
    wait(x)
    before = peak_memory_bytes()
    wait(function(x))
    print(round((peak_memory_bytes() - before) / 2**20, 1))


if __name__ == "__main__":
    _main(*sys.argv[1:])
