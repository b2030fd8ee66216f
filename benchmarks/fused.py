"""Several trainings in one beside one after another: `python -m benchmarks.fused -o results/benchmarks/fused`.

Times of one step of S runs: S ordinary steps; the fused step with one product per layer for all encoders (stacked); and the
fused step with one product per encoder (separate products). Random pixels stand in for CIFAR-10; digits are scikit-learn's.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from closer_tf.common.backend import import_keras
from closer_tf.common.files import given_path, write_atomically

CONFIGS = Path(__file__).resolve().parents[1] / "run_configs"
CASES = {  # name -> (config, overrides, batch, numbers of runs)
    "digits": ("quickstart", [], 64, (1, 2, 4, 8)),
    "mlp q=.1": ("mlp_gaussian", [], 128, (1, 2, 4)),
}


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fused", description="Measure several trainings in one. About 4 minutes on 2 cores."
    )
    parser.add_argument("-o", "--out", required=True, help="path of NAME.json, without suffix")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="what to measure (default: all)")
    parser.add_argument("--repeats", type=int, default=15, help="repeats of each measurement (default: 15)")
    parser.add_argument("--seconds", type=float, default=6.0, help="stop repeating a measurement after this long (default: 6)")
    options = parser.parse_args(arguments)
    import_keras()
    from benchmarks.step import device
    from benchmarks.timing import OtherWork, machine, matrix_rate

    results = {"machine": {**machine(), "device": device()}, "matrix_product_gflops": round(matrix_rate(), 1), "steps": []}
    other_work = OtherWork()
    for case in options.cases:
        results["steps"] += measure(case, options.repeats, options.seconds)
    results["machine"] |= other_work.found()
    out = given_path(options.out).with_suffix(".json")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, json.dumps(results, indent=1) + "\n")
    print(f"written: {out}")


def measure(case, repeats, seconds):
    """Times of one case's steps: list of dicts, `times_apart` saying how much longer than one after another."""
    from benchmarks.step import ready
    from benchmarks.timing import interleaved, median_ms, summary
    from closer_tf.nn.fused_model import FusedEnsembles

    config, overrides, batch, sizes = CASES[case]
    rows = []
    for runs in sizes:
        made = [ready(CONFIGS / f"{config}.json", [*overrides, f"seed={seed}"], batch) for seed in range(runs)]
        models = [model for model, _ in made]
        inputs, labels = (np.stack(parts) for parts in zip(*(batch for _, batch in made)))
        stacked, separate = FusedEnsembles(models), FusedEnsembles(models, stack=False)

        def one_after_another(made=made):
            for model, arrays in made:
                model.train_on_batch(*arrays)

        steps = {
            "one after another": one_after_another,
            "fused, stacked": lambda model=stacked, x=inputs, y=labels: model.train_on_batch(x, y),
            "fused, separate products": lambda model=separate, x=inputs, y=labels: model.train_on_batch(x, y),
        }
        times = interleaved(steps, repeats, budget_s=seconds)
        apart = median_ms(times["one after another"])
        for variant, found in times.items():
            ratio = round(median_ms(found) / apart, 3)
            rows.append(summary(found, case=case, runs=runs, batch=batch, variant=variant, times_apart=ratio))
            print(f"{case}, {runs} runs, {variant}: {median_ms(found):.1f} ms, {ratio} of apart", flush=True)
    return rows


if __name__ == "__main__":
    main()
