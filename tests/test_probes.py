import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from closer_tf.config import parse_config
from closer_tf.errors import DataError
from closer_tf.readout import probes
from closer_tf.readout.probes import COMBINATIONS, combine, knn_probe, linear_probe, probe_all, standardise
from closer_tf.train import train_run


def blobs(seed=0, classes=3, noise=1.5, dim=6):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, dim))
    labels = {key: rng.integers(classes, size=n) for key, n in (("train", 200), ("validation", 60), ("test", 80))}
    features = {key: (centres[y] + noise * rng.normal(size=(len(y), dim))).astype(np.float32) for key, y in labels.items()}
    return features, labels


def test_standardise_uses_the_training_samples():
    features = {"train": np.array([[1.0, 5], [3, 5], [8, 5]]), "test": np.array([[4.0, 6]])}
    scaled = standardise(features)
    sd = np.std([1, 3, 8], ddof=1)
    np.testing.assert_allclose(scaled["train"][:, 0], (np.array([1, 3, 8]) - 4) / sd, rtol=1e-6)
    np.testing.assert_array_equal(scaled["train"][:, 1], 0)
    np.testing.assert_array_equal(scaled["test"], [[0, 0]])


def test_constant_features_whose_mean_rounds_are_zero():
    features = {"train": np.full((49, 1), 0.1), "test": np.array([[0.7]])}
    scaled = standardise(features)
    assert not scaled["train"].any() and not scaled["test"].any()


def test_the_probe_is_scikit_learns_loop():
    features, labels = blobs()
    mean, sd = features["train"].mean(0, dtype=float), features["train"].std(0, ddof=1, dtype=float)
    z = {key: (x - mean) / sd for key, x in features.items()}
    best = None
    for C in (0.0, 1e-5, 1e-2, 10.0):
        model = LogisticRegression(C=np.inf if C == 0 else C, max_iter=100).fit(z["train"], labels["train"])
        score = model.score(z["validation"], labels["validation"])
        if best is None or score > best[0]:
            best = (score, C, model.score(z["test"], labels["test"]))
    found = linear_probe(features, labels, C=(0.0, 1e-5, 1e-2, 10.0))
    assert (found.validation, found.C, found.test) == pytest.approx(best)
    assert len(found.fits) == 4


def test_ties_go_to_the_first():
    features, labels = blobs(noise=0.01)
    assert linear_probe(features, labels, C=(10.0, 1.0, 0.0)).C == 10.0
    assert linear_probe(features, labels, C=(1.0, 10.0)).C == 1.0


def test_unconverged_fits_are_told_apart():
    features, labels = blobs()
    few, many = (linear_probe(features, labels, C=(0.0, 1.0), max_iter=limit) for limit in (3, 100))
    assert [fit["converged"] for fit in few.fits] == [False, False] and few.fits[0]["iterations"] == 3
    assert [fit["converged"] for fit in many.fits] == [True, True] and 3 < many.iterations < 100


def test_many_probes_equal_single_ones_and_report_progress():
    features, labels = blobs()
    narrow = {key: x[:, :2] for key, x in features.items()}
    ticks = []
    both = probe_all({"narrow": narrow, "wide": features}, labels, (0.1, 1.0), progress=lambda: ticks.append(1))
    assert both["wide"] == linear_probe(features, labels, (0.1, 1.0))
    assert both["narrow"] == linear_probe(narrow, labels, (0.1, 1.0))
    assert len(ticks) == 4


def test_probabilities_are_those_of_the_chosen_fit():
    features, labels = blobs()
    results, probabilities = probe_all({"a": features}, labels, (0.1, 1.0), return_probabilities=True)
    assert (probabilities["a"].argmax(axis=1) == labels["test"]).mean() == pytest.approx(results["a"].test)
    np.testing.assert_allclose(probabilities["a"].sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("absent", [0, 1, 2])
def test_a_label_without_training_samples_is_no_class_of_the_probe(absent):
    features, labels = blobs()
    seen = labels["train"] != absent
    some = {**features, "train": features["train"][seen]}
    results, probabilities = probe_all(
        {"a": some}, {**labels, "train": labels["train"][seen]}, (1e-3, 1.0), return_probabilities=True
    )
    scaled = standardise(some)
    for fit in results["a"].fits:
        theirs = LogisticRegression(C=fit["C"], max_iter=100).fit(scaled["train"], labels["train"][seen])
        assert fit["iterations"] == theirs.n_iter_[0]
        assert fit["validation"] == pytest.approx(theirs.score(scaled["validation"], labels["validation"]))
    assert (probabilities["a"].argmax(axis=1) == labels["test"]).mean() == pytest.approx(results["a"].test)
    assert probabilities["a"].shape[1] == labels["train"][seen].max() + 1 and not probabilities["a"][:, absent:][:, :1].any()


@pytest.mark.parametrize("protocol", ["published", "converged"])
def test_one_class_is_nothing_to_tell_apart(protocol):
    features = {name: np.zeros((6, 2)) for name in ("train", "validation", "test")}
    labels = {"train": ["a"] * 6, "validation": ["a", "b"] * 3, "test": ["a", "b"] * 3}
    with pytest.raises(DataError, match="labels of the training samples: expected two classes at least, found one"):
        linear_probe(features, labels, protocol=protocol)


def test_combinations_by_hand():
    said = np.array([[[0.6, 0.4, 0.0]], [[0.6, 0.3, 0.1]], [[0.0, 0.9, 0.1]]])  # three probes, one sample
    assert combine(said, "majority_vote") == [0]
    assert combine(said, "mean_probability") == [1]
    assert combine(said, "max_probability") == [1]
    assert combine(said, "mean_log_probability") == [1]
    assert combine(said[:2], "majority_vote") == [0]
    assert combine(np.array([[[0.9, 0.1]], [[0.1, 0.9]]]), "majority_vote") == [0]
    assert len(COMBINATIONS) == 4
    with pytest.raises(ValueError, match="expected one of mean_probability"):
        combine(said, "median")


def test_knn_by_hand():
    features = {"train": np.array([[0.0], [1], [2], [10], [11]]), "test": np.array([[1.5], [8]])}
    labels = {"train": np.array([0, 0, 0, 1, 1]), "test": np.array([0, 0])}
    assert knn_probe(features, labels, 1) == 0.5


def test_the_converged_protocol_is_another_fit_of_the_same_probe():
    features, labels = blobs()
    few, converged = (
        linear_probe(features, labels, C=(10.0,), max_iter=n, protocol=p) for n, p in ((3, "published"), (None, "converged"))
    )
    assert not few.converged and converged.converged
    assert converged.test == pytest.approx(linear_probe(features, labels, C=(10.0,), max_iter=5000).test, abs=0.02)
    with pytest.raises(ValueError, match="expected one of published, converged, found 'exact'"):
        linear_probe(features, labels, protocol="exact")


def test_labels_as_other_programs_hand_them_over():
    rng = np.random.default_rng(0)
    y = {key: rng.permutation(np.arange(60) % 3) for key in ("train", "validation", "test")}
    features = {key: rng.standard_normal((60, 4)) + values[:, None] for key, values in y.items()}
    expected = linear_probe(features, y, C=[1.0])
    assert expected.test > 0.4
    for change in (
        lambda v: v[:, None],
        lambda v: v.astype(float),
        lambda v: v.tolist(),
        lambda v: 10 * v - 7,
        lambda v: np.array(["cat", "dog", "owl"])[v],
        lambda v: np.array([b"cat", b"dog", b"owl"], dtype=object)[v],
    ):
        assert linear_probe(features, {key: change(values) for key, values in y.items()}, C=[1.0]) == expected
    with pytest.raises(DataError, match=r"labels\['test'\]: 59 labels for 60 samples"):
        linear_probe(features, {**y, "test": y["test"][1:]}, C=[1.0])
    with pytest.raises(DataError, match=r"labels\['train'\]: holds values that are not finite"):
        linear_probe(features, {**y, "train": np.full(60, np.nan)}, C=[1.0])


def test_float32_products_give_the_same_fit_as_long_as_rounding_has_not_grown(monkeypatch):
    features, labels = blobs()
    fit, found = probes.fit_penalties, {}

    def seen(x, *given, **options):
        found[x.dtype.name] = fit(x, *given, **options)
        return found[x.dtype.name]

    monkeypatch.setattr(probes, "fit_penalties", seen)
    for precision in ("float64", "float32"):
        linear_probe(features, labels, C=(0.0, 1e-3, 1.0), max_iter=5, precision=precision)
    assert list(found) == ["float64", "float32"]
    for exact, rough in zip(*found.values()):
        assert rough.iterations == exact.iterations and (rough.weights != exact.weights).any()
        np.testing.assert_allclose(rough.weights, exact.weights, atol=1e-4)


def test_a_config_chooses_the_precision(tiny_config, tmp_path, monkeypatch):
    tiny_config |= {"training": {"epochs": 1, "batch_size": 256}}
    tiny_config["readout"] |= {"precision": "float32", "conditions": []}
    fit, dtypes = probes.fit_penalties, set()
    monkeypatch.setattr(probes, "fit_penalties", lambda x, *a, **k: dtypes.add(x.dtype.name) or fit(x, *a, **k))
    results = train_run(parse_config(tiny_config), tmp_path / "run")
    assert dtypes == {"float32"} and results["compute"]["readout_precision"] == "float32"


def test_precision_is_for_the_published_protocol():
    features, labels = blobs()
    with pytest.raises(ValueError, match="precision: expected float64 for protocol 'converged', found 'float32'"):
        linear_probe(features, labels, protocol="converged", precision="float32")
    with pytest.raises(ValueError, match="precision: expected float64 or float32"):
        linear_probe(features, labels, precision="float16")
