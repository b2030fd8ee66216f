"""Readouts that are not in the paper's protocol: probes of whitened features, and principal components as a baseline."""

import json

import numpy as np
import pytest

from closer_tf import evaluate, plots, report, summary
from closer_tf.config import parse_config
from closer_tf.config.identity import baseline_of, result_of
from closer_tf.readout.features import WHITENING, principal_components, whitened
from closer_tf.readout.probes import linear_probe, standardise
from closer_tf.results import read
from closer_tf.sweeps.points import baseline_config, is_finished
from closer_tf.train import train_run
from closer_tf.training.runs import RunFolder

RNG = np.random.default_rng(0)


def splits(array, sizes=(600, 200, 400)):
    return dict(zip(("train", "validation", "test"), np.split(array, np.cumsum(sizes)[:2])))


def correlated(n=1200, d=8):
    """Samples whose features mostly repeat one loud signal; labels are in what they differ by."""
    labels = RNG.integers(0, 2, n)
    quiet = RNG.standard_normal((n, d)) + 3 * labels[:, None] * np.linspace(-1, 1, d)
    return splits(10 * RNG.standard_normal((n, 1)) + quiet), splits(labels)


def test_whitened_features_are_uncorrelated_and_say_so_by_the_training_samples_alone():
    features, _ = correlated()
    found = whitened(features)
    assert np.corrcoef(features["train"].T).min() > 0.8
    np.testing.assert_allclose(np.cov(found["train"].T), np.eye(8), atol=0.3)  # but for the shrinkage
    changed = {**features, "test": features["test"] * 100}
    np.testing.assert_array_equal(whitened(changed)["train"], found["train"])
    np.testing.assert_allclose(found["train"].mean(axis=0), 0, atol=1e-8)


def test_whitened_by_hand():
    """The inverse root of scikit-learn's own estimate."""
    from sklearn.covariance import LedoitWolf

    features = splits(RNG.standard_normal((30, 4)) @ RNG.standard_normal((4, 4)), (10, 10, 10))
    scaled = standardise(features)
    covariance = LedoitWolf(assume_centered=True).fit(scaled["train"]).covariance_
    root = whitened(features)["validation"] @ covariance @ whitened(features)["validation"].T
    np.testing.assert_allclose(root, scaled["validation"] @ scaled["validation"].T, rtol=1e-6)


def test_a_constant_feature_and_no_other_stay_zero():
    features = splits(np.stack([np.ones(1200), RNG.standard_normal(1200)], axis=1))
    found = whitened(features)
    assert not found["test"][:, 0].any() and found["test"][:, 1].std() == pytest.approx(1, abs=0.1)
    assert not whitened(splits(np.ones((1200, 3))))["test"].any()


def test_it_reaches_small_directions():
    features, labels = correlated()
    assert linear_probe(features, labels, C=[1e-3]).test < 0.7
    assert linear_probe(whitened(features), labels, C=[1e-3]).test > 0.9


def test_principal_components_by_hand():
    values = RNG.standard_normal((300, 5)) * [1, 9, 2, 5, 1]
    features = splits(values, (200, 50, 50))
    found = principal_components(features, 2)
    _, _, axes = np.linalg.svd(features["train"] - features["train"].mean(axis=0), full_matrices=False)
    by_hand = (features["test"] - features["train"].mean(axis=0)) @ axes[:2].T
    np.testing.assert_allclose(np.abs(found["test"]), np.abs(by_hand), atol=1e-8)
    assert principal_components(features, 9)["test"].shape == (50, 5)
    assert principal_components({key: array[:3] for key, array in features.items()}, 9)["test"].shape == (3, 3)
    loud = np.abs(np.corrcoef(principal_components(features, 1, z_scored=True)["test"].ravel(), values[250:, 1])[0, 1])
    assert loud < 0.99  # one feature's variance does not decide


def config_of(**changes):
    content = {
        "condition": "untrained",
        "num_encoders": 3,
        "masks": {"scheme": "gaussian", "fraction": 0.25},
        "encoder": {"type": "mlp", "hidden": [8], "embedding_dim": 4},
        "training": {"epochs": 1, "batch_size": 400},
        "readout": {"C": [0.01], "max_iter": 20, "conditions": ["masked_input", "pca"], "pseudo_likelihood_draws": 1},
    }
    return parse_config({**content, **changes}).resolved()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was first read out without whitening."""
    folder = tmp_path_factory.mktemp("whitened") / "run"
    results = train_run(config_of(), folder)
    return folder, results


def test_off_by_default_and_added_later(run, capsys):
    folder, before = run
    assert list(before["accuracy"]) == ["masked_input", "pca", "untrained"] and "whitening" not in before
    assert not any(name.startswith("whitened") for found in before["accuracy"].values() for name in found)
    assert evaluate.main([str(folder), "--set", "readout.whiten=true"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "new in this: whitened features of masked input, whitened features of PCA, whitened features of untrained" in said
    after = json.loads((folder / "results.json").read_text())
    assert after["whitening"] == WHITENING and after["protocol"] == before["protocol"]
    for condition, found in after["accuracy"].items():
        single, ensemble = found.pop("whitened_single"), found.pop("whitened_ensemble")
        assert len(single["per_encoder"]) == 3 and 0.1 < single["test"] <= ensemble["test"] <= 1
        assert found == before["accuracy"][condition]
    stored = (folder / "results.json").read_bytes()
    assert (
        evaluate.main([str(folder), "--set", "readout.whiten=true"]) == 0 and (folder / "results.json").read_bytes() == stored
    )
    assert "whitened" in capsys.readouterr().out
    report.write_report([folder], folder.parent / "page.html", embeddings="none")
    page = (folder.parent / "page.html").read_text()
    assert "whitened ensemble" in page and "PCA" in page and "#f0e442" in page
    collected = summary.summarise([folder])["accuracy"]
    assert {"single", "whitened_single", "whitened_ensemble"} <= {*collected["pca"]}
    figure = plots.plot_accuracy(
        {name: {key: dict(s) for key, s in found.items()} for name, found in after["accuracy"].items()}
    )
    assert len(figure.axes) == 2
    figure = plots.plot_accuracy(json.loads(stored)["accuracy"])
    assert [axis.get_title() for axis in figure.axes][2:] == ["single encoder, whitened", "ensemble, whitened"]
    config = RunFolder(folder).load_config(["readout.whiten=true"])
    assert is_finished(RunFolder(folder), config)
    results = read(folder / "results.json")
    del results.accuracy["pca"]["whitened_ensemble"]
    (folder / "results.json").write_text(json.dumps(results.to_dict()))
    assert not is_finished(RunFolder(folder), config)


def test_what_principal_components_follow_from():
    config = config_of()
    assert result_of("pca", config) == result_of("pca", config_of(seed=3, condition="closer", optimizer={"learning_rate": 0.1}))
    deeper = config_of(encoder={"type": "mlp", "hidden": [8, 8], "embedding_dim": 4, "dropout": 0.5})
    each = config_of(encoders=[config.encoder.model_dump()] * 3)
    assert result_of("pca", config) == result_of("pca", deeper) == result_of("pca", each)
    assert result_of("pca", config) != result_of("pca", config_of(encoder={"type": "mlp", "embedding_dim": 5}))
    assert result_of("masked_input", config) == result_of(
        "masked_input", config_of(encoder={"type": "mlp", "embedding_dim": 5})
    )
    assert baseline_of(config, "pca") == baseline_of(baseline_config(deeper, "pca"), "pca")
    assert baseline_of(config, "pca")[1] == baseline_of(config, "masked_input")[1]
