"""Shared by all tests: where the optional real data is, and a tiny ensemble."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest

import closer_tf  # noqa: F401  chooses Keras's backend

REPOSITORY = Path(__file__).resolve().parents[1]
OF_JAX = "contract evaluate losses nwb recipes temporal".split()
OF_THE_STACK = """
augmentation binning contract converged_regression data dropout encoders ensemble estimator evaluate export graphs import loop
losses masks measures optimizers probes recordings run_configs softmax_regression speed_paths temporal train
""".split()
MEDIUM = set((REPOSITORY / "tests" / "medium.txt").read_text().split())


def pytest_collection_modifyitems(items):
    """Mark the tests that take a while, those of the modules that lie directly on TensorFlow, Keras, NumPy and scikit-learn,
    and those that run under JAX; skip what is about TensorFlow under another backend."""
    for item in items:
        if f"{item.path.name}::{item.originalname}" in MEDIUM:
            item.add_marker("medium")
        module = item.path.stem.removeprefix("test_")
        if module in OF_THE_STACK:
            item.add_marker("stack")
        if module in OF_JAX:
            item.add_marker("jax")
        if item.get_closest_marker("tensorflow") and os.environ.get("KERAS_BACKEND") not in (None, "", "tensorflow"):
            item.add_marker(pytest.mark.skip(reason="about TensorFlow alone"))


@pytest.fixture(scope="session")
def shared():
    """The folder with real data: $CLOSER_TF_SHARED, by default the folder `shared` beside the repository."""
    folder = Path(os.environ.get("CLOSER_TF_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("real data is not here; set CLOSER_TF_SHARED to its folder")
    return folder


@pytest.fixture
def wide():
    """JAX, too, computes in float64 what it is given in float64."""
    import keras

    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture
def double(wide):
    """Keras computes in float64."""
    import keras

    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def tiny_config():
    """A config, as plain data, that trains in about a second."""
    return {
        "num_encoders": 3,
        "dataset": {"name": "digits"},
        "augmentation": {"rotation": 0.02, "zoom": 0.1},
        "masks": {"scheme": "gaussian", "fraction": 0.25},
        "encoder": {"type": "mlp", "hidden": [8], "embedding_dim": 4, "dropout": 0.2},
        "training": {"epochs": 3, "batch_size": 256},
        "readout": {"C": [0.01, 1.0], "max_iter": 20, "pseudo_likelihood_draws": 2},
    }
