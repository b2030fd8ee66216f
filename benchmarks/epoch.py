"""An epoch of `fit` as the training loop runs it, beside as many bare steps: what Python and the input pipeline cost."""

import time

import numpy as np

from benchmarks.backend import bare_step
from benchmarks.step import ready
from benchmarks.timing import summary
from closer_tf.config import load_config
from closer_tf.data.splits import Split
from closer_tf.data.streams import steps_per_execution, training_stream

CASES = {  # name -> (config, overrides, steps of a whole epoch, turns)
    "mlp q=.1": ("mlp_gaussian", [], 351, 5),
    "neuronal": ("simulated_tcloser", ["dataset.size=paper", "num_encoders=10"], 421, 9),
}


def measure(configs, cases=CASES):
    """Seconds of epochs of `fit`, and of the same number of bare steps on batches that are there already; they take turns.

    `times_bare_steps` is the median over turns of their ratio: the machine's slow spells are longer than a turn.

    Returns:
        List of dicts.
    """
    rows = []
    for case, (name, overrides, steps, turns) in cases.items():
        model, (inputs, labels) = ready(configs / f"{name}.json", overrides, samples=128 * steps)
        steps = len(inputs) // 128
        split = Split(inputs[: 128 * steps], labels[: 128 * steps])
        batch = inputs[:128], labels[:128]
        at_once = model.steps_per_execution = steps_per_execution(load_config(configs / f"{name}.json", overrides), steps)
        if at_once == 1:
            stream = training_stream(split, 128, seed=0)
        else:
            from closer_tf.data.tensorflow_stream import one_epoch

            stream = one_epoch(split, 128, seed=0, now=lambda: (0, 0), steps=steps)

        def fit(model=model, stream=stream, steps=steps if at_once == 1 else None):
            model.fit(stream, steps_per_epoch=steps, shuffle=False, verbose=0)

        def bare(model=model, batch=batch, steps=steps):
            run = bare_step(model, batch)
            for _ in range(steps):
                run()

        fit() if at_once > 1 else fit(steps=2)
        bare(steps=2)
        seconds = {"fit": [], "bare steps": []}
        for _ in range(turns):
            for what, function in (("fit", fit), ("bare steps", bare)):
                began = time.perf_counter()
                function()
                seconds[what].append(time.perf_counter() - began)
        ratio = float(np.median(np.divide(seconds["fit"], seconds["bare steps"])))
        rows += [summary(of, case=case, what=what, steps=steps) for what, of in seconds.items()]
        rows[-2] |= {"steps_per_execution": at_once, "times_bare_steps": round(ratio, 3)}
        print(f"epoch: {case}: fit takes {ratio:.3f} times the bare steps", flush=True)
    return rows
