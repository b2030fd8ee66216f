"""The readout against scikit-learn: `python -m benchmarks.readout -o readout.json`.

Fits every penalty to every encoder's features and to their concatenation: by scikit-learn's loop over C at its 100 iterations,
our published protocol, the same with float32 products, our converged one, and scikit-learn's loop at the converged one's
tolerance. The last takes hours at full size. Newton's method in place of L-BFGS ends closest to the optimum, but each of its
steps takes minutes on the ensemble's features, whose Hessian is of 5 GB (16 GB of memory were in use): there it may begin where
L-BFGS ends, or take conjugate gradients, which need no Hessian. The file is written anew as each set of features ends; ratios
are over those that both ways have.
"""

import argparse
import json
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.timing import OtherWork, processor
from closer_tf.common.backend import versions
from closer_tf.common.files import write_atomically
from closer_tf.config import PROBE_ITERATIONS, PUBLISHED_C_GRID
from closer_tf.readout.converged_regression import fit_converged
from closer_tf.readout.probes import Fit, Problem, fit_penalties, standardise

TOLERANCE = 1e-4  # scikit-learn's default: the largest entry of the mean loss's gradient
NEAR = 1e-3  # where another solver takes over
PAIRS = (  # what a ratio is called, ours, scikit-learn's or ours in float64
    ("published", "published", "sklearn_published"),
    ("float32", "published_float32", "published"),
    ("converged", "converged", "sklearn_converged"),
    ("newton", "converged", "sklearn_newton"),
    ("newton_cg", "converged", "sklearn_newton_cg"),
    ("lbfgs_newton", "converged", "sklearn_lbfgs_newton"),
)
WAYS = (
    "sklearn_published",
    "published",
    "published_float32",
    "converged",
    "sklearn_converged",
    "sklearn_newton",
    "sklearn_newton_cg",
    "sklearn_lbfgs_newton",
)


def main(arguments=None):
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readout", description=__doc__.partition("\n")[0])
    parser.add_argument("--run", metavar="RUN_DIR", help="read out this run's ensemble. Default: synthetic features")
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="for the run's config"
    )
    parser.add_argument("--samples", type=int, default=45_000, help="most training samples")
    parser.add_argument("--encoders", type=int, default=10, help="most encoders")
    parser.add_argument("--C", type=float, nargs="+", default=list(PUBLISHED_C_GRID), help="inverse penalties")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="largest entry of the gradient (default: 1e-4)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS[:5], help="(default: all but Newton's)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of encoder_0, encoder_1, ..., ensemble (default: all)")
    parser.add_argument("-o", "--out", default="readout.json")
    options = parser.parse_args(arguments)
    if options.run:
        embedded, labels = run_embeddings(options.run, options.overrides)
    else:
        embedded, labels = synthetic_embeddings(options.samples, options.encoders)
    chosen = np.sort(np.random.default_rng(0).permutation(len(labels["train"]))[: options.samples])
    embedded["train"], labels["train"] = embedded["train"][chosen], labels["train"][chosen]
    embedded = {key: values[:, : options.encoders] for key, values in embedded.items()}

    def keep(found):
        about = {
            "features": Path(options.run).resolve().name if options.run else "synthetic",
            "shape": list(embedded["train"].shape),
        }
        write_atomically(Path(options.out), json.dumps({**about, **found}, indent=1) + "\n")

    named = features_by_name(embedded)
    if unknown := set(options.only or ()) - set(named):
        parser.error(f"--only: expected some of {', '.join(named)}; found {', '.join(sorted(unknown))}")
    named = {name: named[name] for name in options.only or named}
    print_measured(measure(named, labels, options.C, options.ways, keep, options.tolerance))
    return 0


def measure(features_by_name, labels, C=PUBLISHED_C_GRID, ways=WAYS, keep=None, tolerance=TOLERANCE):
    """Time the readout in several ways, one after the other.

    Args:
        features_by_name: dict name -> dict `train`, `validation`, `test` of float arrays (n, d).
        labels: dict of int arrays (n,), same keys as a set of features.
        C: inverse penalties; 0 stands for no penalty.
        ways: which of `WAYS`, in the order to run.
        keep: function called with the result so far as each set of features ends.
        tolerance: largest entry of the gradient at which a fit has converged.

    Returns:
        dict: `machine`, `tolerance`, `ways.<way>` with `seconds`, `cpu_seconds` in all and per set of features, its `C`, its
        `test` accuracy and every fit's `C`, `validation`, `test`, `iterations`, `gradient` (largest entry); `ratios`.
    """
    found = {"machine": _machine(), "tolerance": tolerance, "C": list(C), "ways": {}, "ratios": {}}
    for way in ways:
        other_work, probes = OtherWork(), {}
        for name, features in features_by_name.items():
            probes[name] = _probe(features, labels, C, tolerance, FITTERS[way])
            found["ways"][way] = {
                "seconds": _sum(probes, "seconds"),
                "cpu_seconds": _sum(probes, "cpu_seconds"),
                "cores_busy_with_other_work": round(other_work.cores(), 2),
                "probes": probes,
            }
            found["ratios"] = _ratios(found["ways"])
            if keep is not None:
                keep(found)
    return found


def _probe(features, labels, C, tolerance, fit):
    """One set of features, read out: z-scored, fitted, the penalty chosen by validation accuracy."""
    began, used = time.perf_counter(), time.process_time()
    scaled = standardise(features)
    models = fit(scaled["train"], labels["train"], C, tolerance)
    accuracies = [
        {key: float((model.probabilities(scaled[key]).argmax(axis=1) == labels[key]).mean()) for key in ("validation", "test")}
        for model in models
    ]
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - used
    gradients = _largest_gradients(scaled["train"], labels["train"], C, models)
    fits = [
        {"C": c, **accuracy, "iterations": model.iterations, "gradient": gradient}
        for c, accuracy, model, gradient in zip(C, accuracies, models, gradients)
    ]
    best = max(fits, key=lambda fit: fit["validation"])  # the first of equals
    times = {"seconds": round(seconds, 3), "cpu_seconds": round(cpu_seconds, 3)}
    return {**times, "C": best["C"], "test": best["test"], "fits": fits}


def _largest_gradients(features, labels, C, models):
    """Of every model, the largest entry of the gradient: by how much it really missed the optimum."""
    problem = Problem(features, labels, C)
    points = {k: np.concatenate([m.weights, m.intercept[None]]).T.astype(np.float64) for k, m in enumerate(models)}
    with ThreadPoolExecutor(1) as cores:
        return [float(np.abs(gradient).max()) for _, gradient in problem.evaluate(points, cores).values()]


def _sklearn_loop(features, labels, C, tolerance, max_iter, solvers):
    """What one would write: scikit-learn, one penalty after the other. Of several solvers, the last goes to the tolerance."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    models = []
    for c in C:
        began = time.perf_counter()
        model = LogisticRegression(C=c or np.inf, max_iter=max_iter, warm_start=True)  # the next solver begins where one ended
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            for solver in solvers:
                reach = tolerance if solver == solvers[-1] else max(tolerance, NEAR)
                model.set_params(solver=solver, tol=reach).fit(features, labels)
        iterations = int(model.n_iter_.max())
        taken = time.perf_counter() - began
        print(f"scikit-learn, {' then '.join(solvers)}, C={c:g}: {iterations} iterations, {taken:.1f} s", flush=True)
        models.append(Fit(model.coef_.T, model.intercept_, iterations, iterations < max_iter, float("nan")))
    return models


def _sklearn(max_iter, *solvers):
    """The function that fits every penalty with these solvers of scikit-learn."""
    return lambda x, y, C, tolerance: _sklearn_loop(x, y, C, tolerance, max_iter, solvers)


FITTERS = {
    "sklearn_published": _sklearn(PROBE_ITERATIONS["published"], "lbfgs"),
    "published": lambda x, y, C, tolerance: fit_penalties(x, y, C, PROBE_ITERATIONS["published"], tolerance),
    "published_float32": lambda x, y, C, tolerance: FITTERS["published"](x.astype(np.float32), y, C, tolerance),
    "converged": lambda x, y, C, tolerance: fit_converged(x, y, C, PROBE_ITERATIONS["converged"], tolerance),
    "sklearn_converged": _sklearn(50_000, "lbfgs"),
    "sklearn_newton": _sklearn(1000, "newton-cholesky"),
    "sklearn_newton_cg": _sklearn(1000, "newton-cg"),
    "sklearn_lbfgs_newton": _sklearn(50_000, "lbfgs", "newton-cholesky"),
}


def _ratios(ways):
    """What the ways have to show against each other, for the pairs that have been measured."""
    ratios = {}
    for name, our_way, their_way in PAIRS:
        if {our_way, their_way} <= set(ways):
            ours, theirs = ways[our_way]["probes"], ways[their_way]["probes"]
            both = [key for key in ours if key in theirs]
            ours, theirs = ({key: probes[key] for key in both} for probes in (ours, theirs))
            pairs = [(ours[key], theirs[key]) for key in both]
            ratios[name] = {
                "times_faster": round(_sum(theirs, "seconds") / _sum(ours, "seconds"), 2),
                "times_less_cpu": round(_sum(theirs, "cpu_seconds") / _sum(ours, "cpu_seconds"), 2),
                "same_C": sum(mine["C"] == other["C"] for mine, other in pairs),
                "probes": len(pairs),
                "largest_accuracy_difference": max(abs(mine["test"] - other["test"]) for mine, other in pairs),
                "largest_accuracy_difference_at_one_C": max(
                    abs(a["test"] - b["test"]) for mine, other in pairs for a, b in zip(mine["fits"], other["fits"])
                ),
            }
    return ratios


def _sum(probes, what):
    return round(sum(probe[what] for probe in probes.values()), 3)


def _machine():
    return {"versions": versions(), "processor": processor()}


def features_by_name(embedded):
    """dict 'encoder_0', ..., 'ensemble' -> features, from a dict of embeddings (n, N, D)."""
    count = embedded["train"].shape[1]
    sets = {f"encoder_{i}": {key: values[:, i] for key, values in embedded.items()} for i in range(count)}
    return {**sets, "ensemble": {key: values.reshape(len(values), -1) for key, values in embedded.items()}}


def run_embeddings(run_dir, overrides=()):
    """(embeddings, labels) of a run's ensemble, as its readout gets them."""
    from closer_tf.common.backend import import_keras
    from closer_tf.readout.features import arranged, embeddings, load_trained
    from closer_tf.training.experiment import load_splits
    from closer_tf.training.runs import RunFolder

    import_keras()
    run = RunFolder(run_dir)
    config = run.load_config(overrides)
    data = load_splits(config).current()
    embedded = embeddings(config.condition, config, data, run.load_masks(), load_trained(run, config, data))
    return embedded, arranged(config, data, lambda split: split.labels)


def synthetic_embeddings(samples, encoders=10, dim=256, classes=10, seed=0):
    """(embeddings, labels): rectified random projections of latents with a steep spectrum; correlated as embeddings are."""
    rng = np.random.default_rng(seed)
    latents = 400
    centres = 0.12 * rng.normal(size=(classes, latents))
    spectrum = np.arange(1, latents + 1) ** -0.8
    projections = rng.normal(size=(encoders, latents, dim)) / np.sqrt(latents)
    counts = {"train": samples, "validation": max(100, samples // 9), "test": max(100, samples // 5)}
    labels = {key: rng.integers(classes, size=count) for key, count in counts.items()}
    embedded = {}
    for key, of_key in labels.items():
        inputs = (centres[of_key] + rng.normal(size=(len(of_key), latents))) * spectrum
        parts = [np.maximum(inputs @ projection + 0.1, 0).astype(np.float32) for projection in projections]
        embedded[key] = np.stack(parts, axis=1)
    return embedded, labels


def print_measured(found):
    """Print seconds and ratios."""
    for way, measured in found["ways"].items():
        if measured["cores_busy_with_other_work"] > 0.1:
            busy = measured["cores_busy_with_other_work"]
            print(f"{way}: other work kept {busy} cores busy: trust CPU seconds more than seconds")
        accuracies = {name: probe["test"] for name, probe in measured["probes"].items()}
        whole = accuracies.pop("ensemble", None)
        parts = [f"single {np.mean(list(accuracies.values())):.4f}"] if accuracies else []
        parts += [] if whole is None else [f"ensemble {whole:.4f}"]
        print(f"{way:>18}: {measured['seconds']:9.1f} s, test accuracy {', '.join(parts)}")
    for name, ratios in found["ratios"].items():
        print(f"{name}: {json.dumps(ratios)}")


if __name__ == "__main__":
    raise SystemExit(main())
