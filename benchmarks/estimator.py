"""The example of docs/estimator.md beside what it has to beat: `python -m benchmarks.estimator results/estimator.json`.

Test accuracy on digits of a logistic regression on the embeddings of a trained transformer, on those of one that is not
trained, and on the pixels, all else equal.
"""

import argparse
import json

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from closer_tf import CLoSeRTransformer
from closer_tf.common.backend import versions
from closer_tf.common.files import given_path, write_atomically

SETTINGS = {"image_shape": (8, 8), "input_scale": 1 / 16, "temperature": 128, "learning_rate": 2e-3, "batch_size": 64}
EPOCHS, SEEDS, C = 100, (0, 1, 2), 0.01


def main(arguments=None):
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimator", description=__doc__.partition("\n")[0])
    parser.add_argument("out", help="the .json file to write")
    options = parser.parse_args(arguments)
    write_atomically(given_path(options.out), json.dumps(measure(), indent=1) + "\n")
    return 0


def measure(epochs=EPOCHS, seeds=SEEDS):
    """The content of the file: test accuracies by seed of `trained` and `untrained`, and that of `pixels`."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=450, stratify=y, random_state=0)

    def accuracy(*steps):
        classifier = LogisticRegression(C=C, max_iter=1000)
        return make_pipeline(*steps, StandardScaler(), classifier).fit(X_train, y_train).score(X_test, y_test)

    def of_seeds(count):
        return {seed: accuracy(CLoSeRTransformer(**SETTINGS, epochs=count, random_state=seed)) for seed in seeds}

    found = {"pixels": accuracy(), "untrained": of_seeds(0), "trained": of_seeds(epochs)}
    about = {"settings": SETTINGS, "epochs": epochs, "C": C, "test_samples": len(y_test), "versions": versions()}
    return {**found, **about}


if __name__ == "__main__":
    raise SystemExit(main())
