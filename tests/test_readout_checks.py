"""What of a readout the data shows to be impossible is said before the training; nothing a user can write ends as our bug."""

import json

import numpy as np
import pytest

from closer_tf import evaluate, fused, plots, train
from closer_tf.config import parse_config
from closer_tf.data import Source, Split, split_source
from closer_tf.errors import CloserWarning, ConfigError
from closer_tf.evaluate import check_readout
from closer_tf.readout import scores
from closer_tf.training.experiment import load_splits
from closer_tf.training.runs import RunFolder

RNG = np.random.default_rng(0)


def data_of(labels, names=("a", "b", "c"), test=(0, 1, 2), validation=None):
    def split(labels):
        return Split(RNG.integers(0, 9, (len(labels), 4, 4, 1)).astype(np.uint8), np.asarray(labels))

    source = Source(split(labels), split(test), names, validation=None if validation is None else split(validation))
    return split_source("arrays", source, 0.1, 0)


def config_of(**readout):
    return parse_config({"num_encoders": 2, "readout": readout}).resolved()


THIRTY = np.arange(30) % 3


@pytest.mark.parametrize(
    "readout, labels, says",
    [
        (dict(knn_neighbours=28), THIRTY, "readout.knn_neighbours: expected at most the probe's 27 training samples, found 28"),
        (dict(knn_neighbours=10**9), THIRTY, "such as --set readout.knn_neighbours=20"),
        (dict(validation_fraction=0.99), THIRTY, "readout.validation_fraction: 0.99 leaves the probe 0 of 30 training samples"),
        (dict(validation_fraction=0.96), THIRTY, "leaves the probe 1 of 30 training samples, class '"),
        (dict(validation_fraction=0.9), [0] * 30, "of 30 training samples, class 'a' alone; expected two classes"),
        (dict(), [0, 1], "leaves the probe 1 of 2 training samples"),
    ],
)
def test_what_cannot_be(readout, labels, says):
    with pytest.raises(ConfigError) as error:
        check_readout(config_of(**readout), data_of(labels))
    assert says in str(error.value)


@pytest.mark.parametrize(
    "readout", [dict(), dict(knn_neighbours=27), dict(validation_fraction=0.5), dict(validation_fraction=0.01)]
)
def test_what_can_be(readout):
    check_readout(config_of(**readout), data_of(THIRTY))
    check_readout(config_of(**readout), data_of(THIRTY, validation=[0, 1, 2]))


def test_a_class_that_the_probe_never_sees_is_warned_of():
    with pytest.warns(CloserWarning, match="the probe's training samples hold none of 'c'"):
        check_readout(config_of(), data_of(np.arange(30) % 2))


@pytest.mark.parametrize("absent", [0, 1, 2])
@pytest.mark.parametrize("protocol", ["published", "converged"])
def test_and_the_probe_gets_by_without_it(absent, protocol):
    from closer_tf.readout.probes import linear_probe

    labels = {"train": THIRTY[THIRTY != absent], "validation": THIRTY[:6], "test": THIRTY[:9]}
    features = {key: RNG.normal(size=(len(values), 4)) for key, values in labels.items()}
    found = linear_probe(features, labels, (0.0, 1.0), 20, protocol)
    assert 0 <= found.test <= 1


def test_time_as_label():
    numbers = data_of(np.linspace(0, 1, 30, dtype=np.float32), (), [0.5, 0.7], [0.1, 0.2])
    check_readout(config_of(), numbers)
    with pytest.raises(ConfigError, match="readout.knn_neighbours: neighbours vote for classes"):
        check_readout(config_of(knn_neighbours=3), numbers)
    for test, validation, says in (([0.5], [0.1, 0.2], "1 test sample"), ([0.5, 0.7], [0.1], "1 validation sample")):
        with pytest.raises(ConfigError, match=f"dataset.label: 'time' is judged by R.2, for which {says} is too few"):
            check_readout(config_of(), data_of(np.linspace(0, 1, 30), (), test, validation))


def test_no_sample_left_to_train_on(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=RNG.integers(0, 9, (10, 4, 4)), y_train=np.arange(10) % 2)
    content = {"dataset": {"name": "arrays", "path": str(tmp_path / "a.npz")}, "training": {"validation_fraction": 0.99}}
    with pytest.raises(ConfigError, match="training.validation_fraction: 0.99 leaves none of the 8 training samples"):
        load_splits(parse_config(content).resolved())


def test_measures_of_two_samples():
    two = RNG.normal(size=(2, 3, 4))
    assert np.isnan(scores.alignment(two)).all() and scores.alignment(two).shape == (3, 3)
    assert scores.agreement(two[:1]).shape == (3, 3)


def test_trajectories_of_one_dimension_or_one_bin():
    for bins, width in ((5, 1), (1, 3)):
        figure = plots.plot_embedding_trajectories({"untrained": {"one": RNG.normal(size=(bins, 2, width))}})
        assert len(figure.axes) == 2


# ----------------------------------------------------------------------------------------------------------- commands


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = RNG.integers(0, 3, 60)
    images = np.clip(RNG.integers(40, 200, (3, 6, 6, 1))[labels] + RNG.normal(0, 30, (60, 6, 6, 1)), 0, 255).astype(np.uint8)
    np.savez("a.npz", x_train=images[:40], y_train=labels[:40], x_test=images[40:], y_test=labels[40:])
    content = {
        "num_encoders": 2,
        "condition": "untrained",
        "dataset": {"name": "arrays", "path": "a.npz"},
        "masks": {"scheme": "gaussian", "fraction": 0.3},
        "encoder": {"type": "mlp", "hidden": [6], "embedding_dim": 3},
        "training": {"epochs": 1, "batch_size": 10},
        "readout": {"C": [0.1], "max_iter": 20, "conditions": ["masked_input"], "pseudo_likelihood_draws": 1},
    }
    (tmp_path / "tiny.json").write_text(json.dumps(content))
    return tmp_path


def test_it_is_said_before_anything_is_trained(folder, capsys):
    for extra in ([], ["--dry-run"], ["--set", "condition=closer"]):
        arguments = ["tiny.json", "--run-dir", "run", "--set", "readout.knn_neighbours=500", *extra]
        assert train.main(arguments) == 2
        said = capsys.readouterr()
        assert "tiny.json: readout.knn_neighbours: expected at most the probe's 36 training samples" in said.err
        assert "epoch" not in said.out and not (folder / "run").exists()
    arguments = ["tiny.json", "--seeds", "0,1", "--set", "condition=closer", "--set", "readout.knn_neighbours=500"]
    assert fused.main(arguments) == 2 and not (folder / "runs").exists()
    later = ["--set", "readout.after_training=false"]
    assert train.main(["tiny.json", "--run-dir", "run", "--set", "readout.knn_neighbours=500", *later]) == 0
    assert evaluate.main(["run"]) == 2
    assert "expected at most the probe's 36 training samples" in capsys.readouterr().err
    assert evaluate.main(["run", "--set", "readout.knn_neighbours=36"]) == 0


def test_neighbours_are_added_to_what_was_read_out(folder, capsys):
    assert train.main(["tiny.json", "--run-dir", "run"]) == 0
    run = RunFolder("run")
    first, picture = run.read_results(), (run.figures / "accuracy.png").stat().st_size
    said = capsys.readouterr().out
    assert "-NN" not in said and "new in this" not in said
    assert evaluate.main(["run", "--set", "readout.knn_neighbours=5"]) == 0
    said, results = capsys.readouterr().out, run.read_results()
    assert "new in this: 5 nearest neighbours of masked input, 5 nearest neighbours of untrained; the rest was read out" in said
    assert "single, 5-NN" in said and "ensemble, 5-NN" in said
    assert f"{results['accuracy']['untrained']['knn_ensemble']['test']:.3f}" in said
    assert results["probes"] == first["probes"] and results["seconds"] == first["seconds"]
    assert results["protocol"] == {**first["protocol"], "knn_neighbours": 5}
    for condition, found in results["accuracy"].items():
        assert {name: values for name, values in found.items() if not name.startswith("knn")} == first["accuracy"][condition]
        assert np.mean(found["knn_single"]["per_encoder"]) == pytest.approx(found["knn_single"]["test"])
    assert (run.figures / "accuracy.png").stat().st_size > picture
    assert evaluate.main(["run", "--set", "readout.knn_neighbours=5"]) == 0
    assert "new in this: nothing; the rest was read out before" in capsys.readouterr().out
    assert evaluate.main(["run", "--set", "readout.knn_neighbours=5", "--redo"]) == 0
    assert run.read_results()["accuracy"] == results["accuracy"]
    assert "new in this" not in capsys.readouterr().out
    assert evaluate.main(["run"]) == 0
    assert run.read_results()["accuracy"] == first["accuracy"] and run.read_results()["protocol"] == first["protocol"]


def test_the_picture_shows_neighbours():
    found = {"untrained": {"single": {"test": 0.5, "per_encoder": [0.4, 0.6]}, "ensemble": {"test": 0.7}}}
    assert len(plots.plot_accuracy(found, 0.1).axes) == 2
    found["closer"] = {
        **found["untrained"],
        "knn_single": {"test": 0.6, "per_encoder": [0.5, 0.7]},
        "knn_ensemble": {"test": 0.8},
    }
    titles = [axis.get_title() for axis in plots.plot_accuracy(found, 0.1).axes]
    assert titles == ["single encoder", "ensemble", "single encoder, kNN", "ensemble, kNN"]


def test_embeddings_that_are_not_finite(folder, capsys):
    images = np.full((60, 6, 6, 1), 3e38, dtype=np.float32) * RNG.uniform(0.5, 1, (60, 6, 6, 1)).astype(np.float32)
    labels = np.arange(60) % 3
    np.savez("a.npz", x_train=images[:40], y_train=labels[:40], x_test=images[40:], y_test=labels[40:])
    arguments = ["tiny.json", "--set", "dataset.input_scale=1", "--set", "readout.conditions=[]", "--set", "masks.fraction=0.9"]
    assert train.main(arguments) == 2
    assert "the embeddings of some stimuli are not finite: their values, up to 3e+38" in capsys.readouterr().err
