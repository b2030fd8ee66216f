"""What goes beyond the paper, beside what it is compared with: push beside pull on the same edges, layer-local steps beside
end-to-end ones. `python -m benchmarks.beyond` prints a table and, with a path, writes it as JSON."""

import json
import sys

import keras
import numpy as np

from benchmarks.backend import bare_step, value_and_gradient, wait
from benchmarks.timing import interleaved, machine, summary
from closer_tf import graphs
from closer_tf.config import load_config
from closer_tf.data import Split, Splits
from closer_tf.nn.pairwise import pair_loss
from closer_tf.training import experiment

ENCODERS, BATCH, DIM, MEMORY_MB = 10, 128, 256, 1024
RINGS = {"directional_ring": graphs.directional_ring, "bidirectional_ring": graphs.bidirectional_ring}
STEPS = {
    "all_to_all": ["objective.graph.family=all_to_all"],
    "directional_ring": ["objective.graph.family=directional_ring", "objective.stop_gradient=true"],
}
"""name of a graph -> keys of a run config"""


def losses(repeats=60):
    """Times of the loss and its gradient: list of dicts."""
    values = keras.ops.convert_to_tensor(np.random.default_rng(0).normal(size=(ENCODERS, BATCH, DIM)).astype(np.float32))
    functions = {}
    for name, make in RINGS.items():
        for push in (False, True):
            functions[name, "push" if push else "pull"] = _loss(values, make(ENCODERS), push)
    found = interleaved(functions, repeats, budget_s=20.0)
    return [summary(seconds, what="loss and gradient", graph=graph, kind=kind) for (graph, kind), seconds in found.items()]


def _loss(values, graph, push):
    compute = value_and_gradient(lambda x: pair_loss(x, 10.0 * DIM, graph, True, False, MEMORY_MB, push=push))
    return lambda: wait(compute(values))


def steps(repeats=25):
    """Times of a training step of the paper's MLP, end to end and layer by layer: list of dicts."""
    functions = {}
    for graph, keys in STEPS.items():
        for kind in ("end to end", "layer by layer"):
            local = [f"objective.local={json.dumps(kind == 'layer by layer')}"]
            functions[graph, kind] = _step(load_config("mlp_gaussian", [*keys, *local, "augmentation={}"]))
    found = interleaved(functions, repeats, budget_s=90.0)
    return [summary(seconds, what="training step", graph=graph, kind=kind) for (graph, kind), seconds in found.items()]


def _step(config):
    images = np.random.default_rng(0).integers(0, 256, (BATCH, 32, 32, 3)).astype(np.uint8)
    part = Split(images, np.arange(BATCH) % 10)
    data = Splits("cifar10", part, part, part, tuple("0123456789"), 1 / 255)
    fields = experiment.make_receptive_fields(config, data)
    model = experiment.make_training_model(config, experiment.make_ensemble(config, fields, data), 10)
    return bare_step(model, [images])


def main(path=None):
    """Measure, print, and write to a path if there is one."""
    rows = [*losses(), *steps()]
    for row in rows:
        print({key: value for key, value in row.items() if key != "repeats_ms"}, flush=True)
    if path:
        with open(path, "w") as file:
            json.dump({"machine": machine(), "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
