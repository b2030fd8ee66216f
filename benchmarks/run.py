"""Measure speed and memory on this machine: `python -m benchmarks.run -o results/benchmarks/NAME`.

Runs on whichever backend Keras is set to (KERAS_BACKEND=tensorflow or jax), on its GPU if it has one.
"""

import argparse
import json
from pathlib import Path

from closer_tf.common.backend import import_keras
from closer_tf.common.files import given_path, write_atomically

PARTS = ("loss", "step", "epoch", "start")
CONFIGS = Path(__file__).resolve().parents[1] / "run_configs"


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description="Measure the loss, training steps, epochs and start-up on this machine. About 15 minutes on 2 cores.",
        epilog="example: python -m benchmarks.run --parts loss step -o results/benchmarks/laptop",
    )
    parser.add_argument("-o", "--out", required=True, help="path of NAME.json and NAME.png, without suffix")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure (default: all)")
    parser.add_argument("--repeats", type=int, default=15, help="repeats of each measurement (default: 15)")
    parser.add_argument("--sizes", type=int, nargs="+", help="numbers of encoders for the loss (default: 2 ... 200)")
    parser.add_argument("--cases", nargs="+", help="training steps to measure (default: all)")
    options = parser.parse_args(arguments)
    import_keras()
    from benchmarks import epoch, loss, start, step
    from benchmarks.timing import OtherWork, machine, matrix_rate

    results = {"machine": {**machine(), "device": step.device()}, "matrix_product_gflops": round(matrix_rate(), 1)}
    rate = results["matrix_product_gflops"]
    cases = {name: step.CASES[name] for name in options.cases or step.CASES}
    work = {
        "loss": lambda: loss.measure(options.sizes or loss.SIZES, options.repeats),
        "step": lambda: step.measure(CONFIGS, rate, cases, options.repeats),
        "epoch": lambda: epoch.measure(CONFIGS),
        "start": lambda: start.measure(CONFIGS),
    }
    out = given_path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    other_work = OtherWork()
    for part in options.parts:
        results[part] = work[part]()
        results["matrix_product_gflops_after"] = round(matrix_rate(), 1)
        results["machine"] |= other_work.found()
        write_atomically(out.with_suffix(".json"), json.dumps(results, indent=1) + "\n")
    from benchmarks.plot import plot
    from closer_tf.plots import save

    save(plot(results), out.with_suffix(".png"))
    print(f"written: {out.with_suffix('.json')}, {out.with_suffix('.png')}")


if __name__ == "__main__":
    main()
