"""Which temperature made figure 2a: `python -m benchmarks.temperatures RUN_DIR -o FILE`.

The class mean pseudo-likelihoods of a supervised run on CIFAR-10 and of the same ensemble untrained, at several temperatures,
each beside the published matrix: smallest and largest entry, standard deviation over entries, and correlation. The published
are of another seed, so that ranges are given over all encoders too.
"""

import argparse
import json

import numpy as np

from closer_tf.common.backend import versions
from closer_tf.common.files import given_path, write_atomically
from closer_tf.readout.features import embeddings_of, load_trained
from closer_tf.readout.scores import class_pseudo_likelihood
from closer_tf.reproduction.matrices import correlation, in_published_order
from closer_tf.training.runs import RunFolder

PER_DIMENSION = (1.0, 0.5, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
DRAWS = 10  # of other encoders than the first


def main(arguments=None):
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.temperatures", description=__doc__.partition("\n")[0])
    parser.add_argument("run_dir", help="a run of mlp_gaussian_supervised")
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="for the run's config"
    )
    parser.add_argument("-o", "--out", required=True)
    options = parser.parse_args(arguments)
    write_atomically(
        given_path(options.out), json.dumps(measure(RunFolder(options.run_dir), options.overrides), indent=1) + "\n"
    )
    return 0


def measure(run, overrides=()):
    """The content of the file.

    Args:
        run: `RunFolder`.
        overrides: strings 'key.path=value' for the run's config, such as where the data lies.

    Returns:
        dict with `conditions.<untrained or supervised>`: epochs, the published matrix's numbers, and those of each temperature.
    """
    from closer_tf.training.experiment import load_splits, make_ensemble

    config = run.load_config(overrides)
    data = load_splits(config)
    trained = load_trained(run, config, data)
    models = {"untrained": (make_ensemble(config, run.load_masks(), data), 0), "supervised": (trained.ensemble, trained.epochs)}
    found = {}
    for condition, (model, epochs) in models.items():
        embedded = embeddings_of(model, config, data)["test"]
        published = _published(condition)
        rows = [_at(factor, embedded, data.test.labels, published, config.seeds.readout) for factor in PER_DIMENSION]
        found[condition] = {"epochs": epochs, "published": _range(published), "temperatures": rows}
    about = {"config": run.config_file.name, "seed": config.seed, "embedding_dim": int(embedded.shape[2])}
    return {"what": __doc__.partition("\n")[0], **about, "versions": versions(), "conditions": found}


def _published(condition):
    from closer_tf.analysis.published import reference

    entries = reference()["class_pseudo_likelihood"]
    return np.array(next(entry["matrix_rows_given_class"] for entry in entries if entry["condition"] == condition))


def _at(factor, embedded, labels, published, seed):
    temperature = factor * embedded.shape[2]
    first = in_published_order(class_pseudo_likelihood(embedded[:, 0], labels, temperature, seed=seed))
    others = [
        class_pseudo_likelihood(of_encoder, labels, temperature, draws=DRAWS, seed=seed)
        for of_encoder in np.moveaxis(embedded, 1, 0)[1:]
    ]
    return {
        "temperature_per_dimension": factor,
        **_range(first),
        "correlation": round(correlation(first, published), 3),
        "smallest_of_encoders": [round(float(matrix.min()), 5) for matrix in (first, *others)],
        "largest_of_encoders": [round(float(matrix.max()), 5) for matrix in (first, *others)],
        "sd_of_encoders": [round(float(matrix.std()), 6) for matrix in (first, *others)],
        "matrix": np.round(first, 7).tolist(),
    }


def _range(matrix):
    return {
        "smallest": round(float(matrix.min()), 5),
        "largest": round(float(matrix.max()), 5),
        "sd": round(float(matrix.std()), 6),
    }


if __name__ == "__main__":
    raise SystemExit(main())
