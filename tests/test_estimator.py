"""CLoSeR where scikit-learn is spoken."""

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
from closer_tf.experiment import load_splits, make_ensemble, make_receptive_fields, make_training_model
from closer_tf.graphs import bidirectional_ring
from closer_tf.loop import batches, steps_per_epoch
from closer_tf.probes import linear_probe

TINY = {"num_encoders": 3, "embedding_dim": 4, "hidden": (8,), "epochs": 1, "random_state": 0}


@pytest.mark.slow
def test_scikit_learns_own_checks():
    """All pass; there are no expected failures to list."""
    results = check_estimator(CLoSeRTransformer(**{**TINY, "num_encoders": 2}), on_fail=None, on_skip=None)
    assert [(r["check_name"], r["exception"]) for r in results if r["status"] != "passed"] == []
    assert len(results) > 40


def test_trains_what_a_run_config_trains(tiny_config):
    """The same data, settings and seed give the same weights."""
    tiny_config["training"] = {"epochs": 2, "batch_size": 256, "validation_fraction": 0}
    config = parse_config({**tiny_config, "seed": 3}).resolved()
    data = load_splits(config)
    ensemble = make_ensemble(config, make_receptive_fields(config, data), data)
    model = make_training_model(config, ensemble, 10)
    stream = batches(data.train, 256, config.seeds.data_order)
    model.fit(stream, epochs=2, steps_per_epoch=steps_per_epoch(data.train, 256), shuffle=False, verbose=0)
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
        ({"num_encoders": 1}, np.zeros((9, 4)), "num_encoders: expected at least 2"),
        ({"groups": ["a", "b"]}, np.zeros((9, 4)), r"groups: expected one group for each of the features \(4,\)"),
        ({"groups": ["a"] * 4}, np.zeros((9, 4)), "at least two different groups"),
        ({"image_shape": (3, 3)}, np.zeros((9, 4)), r"image_shape: \(3, 3\) does not fit rows of 4"),
        ({"graph": bidirectional_ring(5)}, np.zeros((9, 4)), "graph: is one of 5 encoders, there are 3"),
        ({}, np.zeros((9, 4, 4, 1, 1)), "expected features"),
    ],
)
def test_mistakes(settings, X, message):
    with pytest.raises(ValueError, match=message):
        CLoSeRTransformer(**{**TINY, **settings}).fit(X)


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
