"""CLoSeR where scikit-learn is spoken."""

import subprocess
import sys
from unittest import SkipTest

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from closer_tf import CLoSeRTransformer
from closer_tf.config import parse_config
from closer_tf.data.splits import steps_per_epoch
from closer_tf.data.streams import batches
from closer_tf.errors import CloserWarning, DivergedError
from closer_tf.graphs import bidirectional_ring
from closer_tf.readout.probes import linear_probe
from closer_tf.training.experiment import load_splits, make_ensemble, make_receptive_fields, make_training_model

TINY = {"num_encoders": 3, "embedding_dim": 4, "hidden": (8,), "epochs": 1, "random_state": 0}


@pytest.mark.slow
@pytest.mark.parametrize("random_state", [None, np.random.RandomState(3), 5])
def test_the_seed_of_a_fit_is_kept_and_makes_it_again(random_state):
    X = np.random.default_rng(0).normal(size=(40, 6)).astype("float32")
    once = CLoSeRTransformer(**{**TINY, "random_state": random_state}).fit(X)
    again = CLoSeRTransformer(**{**TINY, "random_state": once.seed_}).fit(X)
    np.testing.assert_array_equal(again.transform(X), once.transform(X))
    assert random_state != 5 or once.seed_ == 5


@pytest.mark.slow
def test_scikit_learns_own_checks():
    """All pass; there are no expected failures to list. From 1.9 on, scikit-learn skips its check of arrays of other libraries
    unless SciPy was told of them before it was imported."""
    results = check_estimator(CLoSeRTransformer(**{**TINY, "num_encoders": 2}), on_fail=None, on_skip=None)
    others = [(r["check_name"], r["exception"]) for r in results if r["status"] != "passed"]
    assert [(name, why) for name, why in others if name != "check_array_api_input" or not isinstance(why, SkipTest)] == []
    assert len(results) - len(others) > 40


@pytest.mark.tensorflow
def test_many_small_fits_are_quiet():
    """In a process of its own: TensorFlow counts traces over all that a process does, and warns twice at most."""
    code = """
import numpy as np
from closer_tf import CLoSeRTransformer
X = np.random.default_rng(0).standard_normal((12, 5)).astype("float32")
for k in range(8):
    CLoSeRTransformer(num_encoders=2, hidden=(2,), embedding_dim=2, epochs=1, random_state=k).fit(X).transform(X[: 2 + k])
print("done")
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_trains_what_a_run_config_trains(tiny_config):
    """The same data, settings and seed give the same weights."""
    tiny_config["training"] = {"epochs": 2, "batch_size": 256, "validation_fraction": 0}
    config = parse_config({**tiny_config, "seed": 3}).resolved()
    data = load_splits(config)
    ensemble = make_ensemble(config, make_receptive_fields(config, data), data)
    model = make_training_model(config, ensemble, 10)
    stream = batches(data.train, 256, config.seeds.data_order)
    model.fit(stream, epochs=2, steps_per_epoch=steps_per_epoch(len(data.train), 256), shuffle=False, verbose=0)
    estimator = CLoSeRTransformer(
        num_encoders=3,
        embedding_dim=4,
        hidden=[8],
        dropout=0.2,
        fraction=0.25,
        image_shape=(8, 8),
        input_scale=1 / 16,
        augmentation={"rotation": 0.02, "zoom": 0.1},
        epochs=2,
        batch_size=256,
        random_state=3,
    ).fit(data.train.inputs.reshape(-1, 64))
    for ours, theirs in zip(estimator.ensemble_.get_weights(), ensemble.get_weights()):
        np.testing.assert_array_equal(ours, theirs)
    embedded = estimator.transform(data.test.inputs.reshape(-1, 64))
    np.testing.assert_array_equal(embedded, ensemble.predict(data.test.inputs, verbose=0).reshape(-1, 12))
    assert len(estimator.history_["loss"]) == 2
    assert list(estimator.get_feature_names_out()[:2]) == ["closertransformer0", "closertransformer1"]


def test_one_encoder_per_group():
    areas = ["V1", "LM", "V1", "AL", "LM", "V1"]
    counts = np.random.default_rng(0).poisson(2, (60, 6))
    settings = {**TINY, "epochs": 0}
    fitted = CLoSeRTransformer(**settings).fit(counts, groups=areas)
    assert fitted.receptive_fields_.labels == ("V1", "LM", "AL")
    assert [cells.tolist() for cells in fitted.receptive_fields_.indices] == [[0, 2, 5], [1, 4], [3]]
    embedded = fitted.transform(counts)
    changed = counts.copy()
    changed[:, 3] += 5  # the unit of AL alone
    differs = (fitted.transform(changed) != embedded).any(axis=0)
    assert embedded.shape == (60, 12) and not differs[:8].any() and differs[8:].any()
    same = clone(CLoSeRTransformer(**settings, groups=np.array(areas))).fit(counts)
    np.testing.assert_array_equal(same.transform(counts), embedded)


def test_images_and_own_settings():
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 3)).astype(np.uint8)
    graph = bidirectional_ring(3)
    fitted = CLoSeRTransformer(**TINY, graph=graph, stop_gradient=True, fraction=0.3).fit(images)
    assert fitted.transform(images).shape == (40, 12)
    assert [len(cells) for cells in fitted.receptive_fields_.indices] == [10, 10, 10]
    assert float(fitted.ensemble_.get_layer("input_scale").scale) == pytest.approx(1 / 255)
    again = CLoSeRTransformer(**{**TINY, "epochs": 0}, receptive_fields=fitted.receptive_fields_).fit(images)
    assert again.receptive_fields_ is fitted.receptive_fields_


def test_in_a_pipeline_and_a_search():
    X, y = load_digits(return_X_y=True)
    X, y = X[:150], y[:150]
    closer = CLoSeRTransformer(**{**TINY, "epochs": 0}, image_shape=(8, 8), input_scale=1 / 16)
    pipeline = make_pipeline(closer, StandardScaler(), LogisticRegression())
    assert cross_val_score(pipeline, X, y, cv=2).min() > 0.2
    search = GridSearchCV(pipeline, {"closertransformer__fraction": [0.5]}, cv=2).fit(X, y)
    assert search.best_params_ and search.best_estimator_[0].ensemble_ is not closer


@pytest.mark.parametrize(
    ("settings", "X", "message"),
    [
        ({"num_encoders": 1}, np.zeros((9, 4)), "num_encoders: expected a whole number of at least 2"),
        ({"groups": ["a", "b"]}, np.zeros((9, 4)), r"groups: expected one group for each of the features \(4,\)"),
        ({"groups": ["a"] * 4}, np.zeros((9, 4)), "at least two different groups"),
        ({"image_shape": (3, 3)}, np.zeros((9, 4)), r"image_shape: \(3, 3\) does not fit rows of 4"),
        ({"graph": bidirectional_ring(5)}, np.zeros((9, 4)), "graph: is one of 5 encoders, there are 3"),
        ({}, np.zeros((9, 4, 4, 1, 1)), "expected features"),
        ({"batch_size": 1}, np.zeros((9, 4)), "batch_size: expected a whole number of at least 2, found 1"),
        ({"batch_size": 32.0}, np.zeros((9, 4)), "batch_size: expected a whole number"),
        ({"epochs": -1}, np.zeros((9, 4)), "epochs: expected a whole number of at least 0, found -1"),
        ({"fraction": 0}, np.zeros((9, 4)), "fraction: expected a number above 0 and of at most 1, found 0"),
        ({"fraction": 1.5}, np.zeros((9, 4)), "fraction: expected .* found 1.5"),
        ({"fraction": 1.5}, np.zeros((9, 4, 4)), "fraction: expected .* found 1.5"),
        ({"sigma": 0}, np.zeros((9, 4, 4)), "sigma: expected"),
        ({"dropout": 1.0}, np.zeros((9, 4)), "dropout: expected"),
        ({"hidden": 8}, np.zeros((9, 4)), r"hidden: expected a sequence of widths, such as \(8,\)"),
        ({"embedding_dim": 0}, np.zeros((9, 4)), "embedding_dim: expected"),
        ({"temperature": 0}, np.zeros((9, 4)), "temperature: expected a number above 0"),
        ({"learning_rate": -1.0}, np.zeros((9, 4)), "learning_rate: expected a number above 0"),
        ({"learning_rate": np.nan}, np.zeros((9, 4)), "learning_rate: expected a number above 0"),
        ({"input_scale": -1.0}, np.zeros((9, 4)), "input_scale: expected a number above 0"),
        ({"augmentation": {"zoom": 1.5}}, np.zeros((9, 4, 4)), "zoom: expected"),
        ({"augmentation": {"zoom": 0.1}}, np.zeros((9, 4)), "augmentation: only images"),
        ({"image_shape": (3, 3)}, np.zeros((9, 4, 4)), r"image_shape: \(3, 3\) does not fit images of shape \(4, 4, 1\)"),
        ({"groups": ["a", "b", None, ""]}, np.zeros((9, 4, 4)), "groups: expected one group for each of the features"),
        ({"groups": ["a", "a", None, "nan"]}, np.zeros((9, 4)), r"at least two different groups, found \['a'\]"),
        ({"groups": [1.5, 1, 2, 2]}, np.zeros((9, 4)), r"groups: expected 4 strings, .*\(unit 0: 1.5\)"),
        ({}, np.zeros((1, 4)), "minimum of 2 is required"),
        ({}, np.full((9, 4), np.inf), "infinity"),
        ({}, np.full((9, 4), 1e300), "too large"),
        ({}, np.array([["a", "b"]] * 9), "dtype='numeric' is not compatible"),
    ],
)
def test_mistakes(settings, X, message):
    with pytest.raises(ValueError, match=message):
        CLoSeRTransformer(**{**TINY, **settings}).fit(X)


def scale_of_inputs(fitted):
    return float(fitted.ensemble_.get_layer("input_scale").scale)


UNTRAINED = {**TINY, "epochs": 0}
BYTES = np.random.default_rng(0).integers(0, 256, (40, 16), dtype=np.uint8)


@pytest.mark.parametrize(
    "handed",
    [
        pytest.param(lambda X, pandas: X, id="array"),
        pytest.param(lambda X, pandas: list(X), id="list of arrays"),
        pytest.param(lambda X, pandas: pandas.DataFrame(X), id="frame"),
        pytest.param(lambda X, pandas: pandas.DataFrame(X).astype("UInt8"), id="nullable frame"),
    ],
)
def test_eight_bits_are_scaled_however_they_are_handed_over(handed):
    X = handed(BYTES, pytest.importorskip("pandas"))
    assert scale_of_inputs(CLoSeRTransformer(**UNTRAINED).fit(X)) == pytest.approx(1 / 255)


@pytest.mark.parametrize("kind", ["int64", "uint16", "float32", "longdouble", "longlong", ">f8", "bool"])
def test_what_is_not_eight_bit_is_not_scaled(kind):
    X = BYTES.astype(kind)
    fitted = CLoSeRTransformer(**UNTRAINED).fit(X)
    assert scale_of_inputs(fitted) == 1
    np.testing.assert_array_equal(fitted.transform(X), fitted.transform(X.astype(np.float32)))
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(BYTES).astype({0: "int64"})  # one column of another kind: no image
    assert scale_of_inputs(CLoSeRTransformer(**UNTRAINED).fit(frame)) == 1


def test_eight_bit_spike_counts_are_no_pixels():
    areas = ["V1"] * 8 + ["LM"] * 8
    assert scale_of_inputs(CLoSeRTransformer(**UNTRAINED, groups=areas).fit(BYTES)) == 1
    assert scale_of_inputs(CLoSeRTransformer(**UNTRAINED).fit(BYTES, groups=areas)) == 1
    assert scale_of_inputs(CLoSeRTransformer(**UNTRAINED, groups=areas, input_scale=0.1).fit(BYTES)) == pytest.approx(0.1)


IMAGES = BYTES.reshape(40, 4, 4)
RATES = np.random.default_rng(0).gamma(0.3, 20, (40, 16))


@pytest.mark.parametrize(
    "fitted, given",
    [
        (BYTES, BYTES / 255),
        (BYTES / 255, BYTES),
        (BYTES.astype(np.int64), (BYTES / 255).astype(np.float32)),
        (BYTES.astype(float), BYTES[:2] / 255),
        (BYTES / 255, BYTES.astype(float)),
        (IMAGES, IMAGES / 255),
        (IMAGES / 255, IMAGES),
        (IMAGES / 127.5 - 1, IMAGES / 255),
    ],
)
def test_stimuli_on_another_scale_than_those_of_fit_are_refused(fitted, given):
    closer = CLoSeRTransformer(**UNTRAINED).fit(fitted)
    with pytest.raises(ValueError, match="^X: .* from .* to .*, but X in fit: .*prepare both in the same way"):
        closer.transform(given)


@pytest.mark.parametrize(
    "fitted, given",
    [
        (BYTES, BYTES[:1] // 100),
        (BYTES, BYTES.astype(np.int64)),
        (IMAGES, IMAGES[:1] * 0),
        (RATES, RATES[RATES.max(axis=1).argmin()][None] / 50),
        (RATES, np.zeros((1, 16))),
        (np.round(RATES), np.eye(16)),
        (np.round(RATES).astype(np.int64), np.eye(16)),
        (RATES - 20, RATES),
        (RATES / RATES.max(), RATES / RATES.max() - 0.2),
    ],
)
def test_quiet_rows_and_other_samples_are_taken(fitted, given):
    assert CLoSeRTransformer(**UNTRAINED).fit(fitted).transform(given).shape == (len(given), 12)


def test_a_fit_that_diverges_is_an_error():
    X = np.random.default_rng(0).standard_normal((40, 16))
    X[7] = 1e25
    with pytest.raises(DivergedError, match="not finite any more; look for fill values in X.*learning_rate below 0.001"):
        CLoSeRTransformer(**TINY).fit(X)
    closer = CLoSeRTransformer(**UNTRAINED, input_scale=100).fit(X[:7])
    too_large = X[:7].copy()
    too_large[3] = 2e37
    closer._trained_on = closer._trained_on._replace(high=1e37)  # past the check of scales
    with pytest.raises(ValueError, match="X: the embedding of sample 3 is not finite; its values reach 2e"):
        closer.transform(too_large)


def test_features_without_a_group_are_seen_by_no_encoder():
    counts = np.random.default_rng(0).poisson(2, (20, 6))
    for missing in (None, np.nan, "", "nan", "unknown", b"None"):
        areas = np.array(["V1", missing, "V1", "LM", missing, "LM"], dtype=object)
        with pytest.warns(CloserWarning, match="groups: 2 of 6 features have no group"):
            fitted = CLoSeRTransformer(**UNTRAINED, groups=areas).fit(counts)
        assert fitted.receptive_fields_.labels == ("V1", "LM")
        assert [cells.tolist() for cells in fitted.receptive_fields_.indices] == [[0, 2], [3, 5]]
    numbered = CLoSeRTransformer(**UNTRAINED, groups=[7, 7, 7, 3, 3, 3]).fit(counts)
    assert numbered.receptive_fields_.labels == ("7", "3")
    with pytest.raises(ValueError, match="groups: receptive_fields are given too"):
        CLoSeRTransformer(**UNTRAINED, receptive_fields=fitted.receptive_fields_, groups=areas).fit(counts)


def test_any_y_is_ignored_and_columns_are_held_to():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(RATES, columns=[f"unit_{k}" for k in range(16)])
    first = CLoSeRTransformer(**UNTRAINED).fit(X).transform(X)
    for y in (np.zeros(40), np.zeros((40, 1)), np.zeros((40, 3)), X, ["a"] * 40, [None] * 40):
        np.testing.assert_array_equal(CLoSeRTransformer(**UNTRAINED).fit_transform(X, y), first)
    closer = CLoSeRTransformer(**UNTRAINED).fit(X)
    assert closer.feature_names_in_.tolist() == X.columns.tolist() and closer.n_features_in_ == 16
    for wrong in (X[X.columns[::-1]], X.rename(columns={"unit_3": "unit_33"})):
        with pytest.raises(ValueError, match="feature names"):
            closer.transform(wrong)
    with pytest.raises(ValueError, match="X has 15 features|feature names"):
        closer.transform(X[X.columns[:15]])
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        closer.transform(X[:0])
    with pytest.raises(ValueError, match="could not convert string to float"):
        closer.transform(X.assign(unit_3="a"))
    with pytest.raises(ValueError, match=r"expected stimuli of shape \(4, 4, 1\)"):
        CLoSeRTransformer(**UNTRAINED).fit(IMAGES).transform(IMAGES[:, :, :3])


@pytest.mark.slow
def test_a_pipeline_reads_out_what_the_command_line_does():
    """Reduced: 30 of the quickstart's 250 epochs, one penalty; the whole measurement is in docs/estimator.md."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, stratify=y, random_state=0)
    closer = CLoSeRTransformer(
        num_encoders=10,
        fraction=0.15,
        image_shape=(8, 8),
        input_scale=1 / 16,
        temperature=128,
        learning_rate=0.002,
        epochs=30,
        batch_size=64,
        random_state=0,
    )
    pipeline = make_pipeline(closer, StandardScaler(), LogisticRegression(C=0.01, max_iter=100)).fit(X_train, y_train)
    embedded = {"train": closer.transform(X_train), "test": closer.transform(X_test)}
    embedded["validation"] = embedded["test"]
    labels = {"train": y_train, "test": y_test, "validation": y_test}
    probe = linear_probe(embedded, labels, C=[0.01])
    assert abs(pipeline.score(X_test, y_test) - probe.test) <= 0.01 and probe.test > 0.9


# --------------------------------------------------------------------------------------------------------------- time


@pytest.mark.parametrize("objective", ["tcloser", "lpl"])
def test_temporal_objectives_train_what_a_run_config_trains(tmp_path, objective):
    """Pairs of rows within trials are the windows of a run on all bins."""
    from closer_tf.data.neuro.sessions import Session

    counts = np.random.default_rng(0).poisson(1.5, (5, 12, 6)).astype(np.uint8)
    areas = ["V1", "V1", "V1", "LM", "LM", "LM"]
    Session("s", np.arange(6), areas, 0.05, {"movie": counts}).save(tmp_path / "s.npz")
    dataset = {"name": "session", "path": str(tmp_path / "s.npz"), "label": "time", "full_range": True, "lag": 2}
    content = {
        "condition": objective,
        "num_encoders": 2,
        "dataset": dataset,
        "masks": {"scheme": "areas", "areas": ["V1", "LM"]},
        "encoder": {"type": "mlp", "hidden": [6], "embedding_dim": 4, "dropout": 0.1},
        "training": {"epochs": 2, "batch_size": 8},
        "seed": 3,
    }
    config = parse_config(content).resolved()
    data = load_splits(config)
    ensemble = make_ensemble(config, make_receptive_fields(config, data), data)
    model = make_training_model(config, ensemble, 0)
    steps = steps_per_epoch(len(data.train), 8)
    model.fit(batches(data.train, 8, config.seeds.data_order), epochs=2, steps_per_epoch=steps, shuffle=False, verbose=0)
    rows = counts[[0, 2, 4]].reshape(-1, 6)
    settings = {"hidden": [6], "embedding_dim": 4, "dropout": 0.1, "epochs": 2, "batch_size": 8, "random_state": 3, "lag": 2}
    estimator = CLoSeRTransformer(groups=areas, objective=objective, **settings)
    estimator.fit(rows, trials=np.repeat(["a", "b", "a"], 12))
    for ours, theirs in zip(estimator.ensemble_.get_weights(), ensemble.get_weights()):
        np.testing.assert_array_equal(ours, theirs)
    assert estimator.transform(rows).shape == (36, 8)
    whole = CLoSeRTransformer(groups=areas, objective=objective, **settings).fit(rows)
    assert any((a != b).any() for a, b in zip(whole.ensemble_.get_weights(), ensemble.get_weights()))


def test_pairs_do_not_reach_over_a_border():
    rows = np.arange(10, dtype=np.float32)[:, None]
    pairs = CLoSeRTransformer(lag=2)._pairs(rows, ["a"] * 4 + ["b"] * 3 + ["a"] * 3)[..., 0]
    assert pairs.tolist() == [[0, 2], [1, 3], [4, 6], [7, 9]]
    assert len(CLoSeRTransformer()._pairs(rows, None)) == 9


@pytest.mark.parametrize(
    "settings, fit, message",
    [
        ({"objective": "tclosr"}, {}, "objective: expected 'closer' or one of lpl, notcloser, tcloser, found 'tclosr'"),
        ({"term_weights": {"tpull": 1.0}}, {}, "term_weights: go with the objectives lpl, notcloser, tcloser, not with"),
        ({"objective": "tcloser", "term_weights": {"pul": 1.0}}, {}, r"weights: unknown terms \['pul'\]"),
        ({"objective": "tcloser", "lag": 0}, {}, "lag: expected a whole number of at least 1"),
        (
            {"objective": "tcloser"},
            {"trials": [1, 2]},
            r"trials: expected one for each of the 20 rows of X, found shape \(2,\)",
        ),
        ({"objective": "tcloser"}, {"trials": np.arange(20)}, "trials: expected at least two rows with one 1 before it in the"),
    ],
)
def test_mistakes_in_time(settings, fit, message):
    with pytest.raises(ValueError, match=message):
        CLoSeRTransformer(groups=list("aabb"), epochs=1, **settings).fit(np.random.default_rng(0).random((20, 4)), **fit)
