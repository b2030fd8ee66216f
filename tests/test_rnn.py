"""Recurrent encoders: over the bins of a recording, over the cells of a receptive field; from the layer to the run folder."""

import json
import os
import signal
import time

import keras
import numpy as np
import pytest
from trainers import Trainers

from closer_tf import build_ensemble, embed, evaluate, export, mlp, rnn, train, with_previous
from closer_tf.config import load_config, parse_config
from closer_tf.data import load_data
from closer_tf.data.neuro.sessions import Session
from closer_tf.errors import ConfigError, DataError
from closer_tf.fused import check_alike
from closer_tf.masks import ReceptiveFields, area_masks
from closer_tf.nn.distilled import DistilledLoss
from closer_tf.nn.ensemble import receptive_fields_of
from closer_tf.nn.temporal import TemporalLoss, temporal_terms
from closer_tf.training import experiment
from closer_tf.training.checkpoints import checkpoint_files, load_checkpoint
from closer_tf.training.runs import RunFolder

WINDOW = 4
AREAS = ("LP", "LP", "VISp", "VISp", "VISp", "grey")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def states_by_hand(cell, x, weights):
    """The states (B, T, width) of a recurrent layer on x (B, T, inputs), step by step in float64."""
    kernel, recurrent, bias = (weight.astype(np.float64) for weight in weights)
    state, states = np.zeros((len(x), recurrent.shape[0])), []
    for t in range(x.shape[1]):
        if cell == "simple":
            state = np.tanh(x[:, t] @ kernel + state @ recurrent + bias)
        else:
            of_input = np.split(x[:, t] @ kernel + bias[0], 3, axis=1)
            of_state = np.split(state @ recurrent + bias[1], 3, axis=1)
            update, reset = sigmoid(of_input[0] + of_state[0]), sigmoid(of_input[1] + of_state[1])
            state = update * state + (1 - update) * np.tanh(of_input[2] + reset * of_state[2])
        states.append(state)
    return np.stack(states, axis=1)


@pytest.mark.jax
@pytest.mark.parametrize("cell", ["gru", "simple"])
def test_the_encoder_by_hand(cell):
    rng = np.random.default_rng(0)
    counts = rng.normal(size=(3, 5, WINDOW)).astype(np.float32)  # (B, units, bins)
    over_bins = rnn((5, WINDOW), cell, (6, 4), 3, init_seed=2, over_bins=True)
    over_cells = rnn((WINDOW, 5), cell, (6, 4), 3, init_seed=2)
    for encoder in (over_bins, over_cells):
        for weight in encoder.trainable_variables:
            weight.assign(np.random.default_rng(weight.shape[0]).normal(size=weight.shape))
    first, second, last = (over_bins.get_layer(name).get_weights() for name in ("recurrent_0", "recurrent_1", "embedding"))
    first, second = first[:3], second[:3]
    states = states_by_hand(cell, states_by_hand(cell, counts.transpose(0, 2, 1), first), second)
    expected = states @ last[0] + last[1]
    found = np.asarray(over_bins(counts))
    assert found.shape == (3, 2, 3)
    np.testing.assert_allclose(found, expected[:, -2:], atol=1e-5)
    np.testing.assert_allclose(np.asarray(over_cells(counts.transpose(0, 2, 1))), expected[:, -1], atol=1e-5)
    one = rnn((5, 1), cell, (6, 4), 3, over_bins=True)
    assert one.output_shape == (None, 1, 3)


def test_seeds_dropout_and_penalties():
    x = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)

    def made(**settings):
        return rnn((5, 3), **{"units": (6,), "embedding_dim": 4, "init_seed": 1, "dropout_seed": 2, "dropout": 0.5} | settings)

    one, same, other = made(), made(), made(init_seed=3)
    np.testing.assert_array_equal(one(x), same(x))
    assert np.abs(one(x) - other(x)).max() > 1e-3
    dropped = np.asarray(one(x, training=True))
    np.testing.assert_array_equal(dropped, same(x, training=True))
    assert np.abs(dropped - one(x)).max() > 1e-3
    assert np.abs(dropped - made(dropout_seed=5)(x, training=True)).max() > 1e-3
    assert not one.losses
    kernels = [weight for weight in one.trainable_variables if "kernel" in weight.name]
    assert len(kernels) == 3
    penalties = made(l1=0.1, l2=0.2)
    for ours, theirs in zip(penalties.trainable_variables, one.trainable_variables):
        ours.assign(theirs)
    expected = sum(0.1 * np.abs(np.asarray(k)).sum() + 0.2 * (np.asarray(k) ** 2).sum() for k in kernels)
    assert float(sum(penalties.losses)) == pytest.approx(expected, rel=1e-5)
    for settings, message in (({"units": 3}, "units: expected a sequence"), ({"cell": "lstm"}, "'gru' or 'simple'")):
        with pytest.raises(ValueError, match=message):
            made(**settings)


def recurrent_ensemble(window=WINDOW):
    fields = area_masks(AREAS, ["VISp", "LP"])

    def encoder(i, shape):
        return rnn(shape, units=(6,), embedding_dim=3, init_seed=i, dropout=0.0, over_bins=True)

    return build_ensemble((window, 6), fields, encoder)


@pytest.mark.jax
def test_both_bins_come_from_one_pass():
    windows = np.random.default_rng(1).poisson(1, (8, WINDOW, 6)).astype(np.float32)
    ensemble = recurrent_ensemble()
    both = with_previous(ensemble)
    embeddings = np.asarray(both(windows))
    assert embeddings.shape == (8, 2, 2, 3)
    np.testing.assert_array_equal(embeddings[:, 1], ensemble(windows))
    shorter = recurrent_ensemble(WINDOW - 1)  # the same pass, ended one bin earlier
    shorter.set_weights(ensemble.get_weights())
    np.testing.assert_allclose(embeddings[:, 0], shorter(windows[:, :-1]), atol=1e-6)
    loss = TemporalLoss()
    terms = loss.terms(embeddings)
    expected = temporal_terms(embeddings[:, 1], np.asarray(shorter(windows[:, :-1])), None, loss.term_names)
    for name, value in expected.items():
        assert float(terms[name]) == pytest.approx(float(value), rel=1e-4)
    both.compile(loss=loss)
    before = ensemble.get_weights()[0]
    both.fit(windows, verbose=0)
    assert (before != ensemble.get_weights()[0]).any()
    with pytest.raises(ValueError, match="two bins at least"):
        with_previous(recurrent_ensemble(1))


def test_patches_are_read_in_raster_order():
    image = np.random.default_rng(0).normal(size=(2, 4, 4, 1)).astype(np.float32)
    fields = ReceptiveFields(([0, 1, 3], [1, 2]), (2, 2), 2)
    encoders = []

    def encoder(i, shape):
        encoders.append(rnn(shape, units=(5,), embedding_dim=3, init_seed=i))
        return encoders[-1]

    ensemble = build_ensemble((4, 4, 1), fields, encoder)
    sequence = np.stack([image[:, r : r + 2, c : c + 2].reshape(2, 4) for r, c in ((0, 0), (0, 2), (2, 2))], axis=1)
    np.testing.assert_allclose(ensemble(image)[:, 0], encoders[0](sequence), atol=1e-6)


def session(path, bins=(12, 20)):
    rng = np.random.default_rng(0)
    stimuli = {f"movie_{k}": rng.poisson(1 + k, (5, n, len(AREAS))).astype(np.uint8) for k, n in enumerate(bins)}
    Session("small", np.arange(len(AREAS)), np.array(AREAS), 0.033, stimuli).save(path)
    return str(path)


@pytest.mark.parametrize("full_range", [False, True])
def test_windows_stay_in_their_trial_and_bins_without_a_whole_one_are_left_out(tmp_path, full_range):
    data = load_data("session", path=session(tmp_path / "s.npz"), window=WINDOW, full_range=full_range)
    stored = Session.load(tmp_path / "s.npz")
    for split in (data.train, data.validation, data.test):
        for k, (stimulus, trial, frame) in enumerate(zip(*(split.about[key] for key in ("stimulus", "trial", "frame")))):
            counts = stored.counts(f"movie_{stimulus}")[trial]
            assert frame >= WINDOW - 1
            np.testing.assert_array_equal(split.inputs[k], counts[frame - WINDOW + 1 : frame + 1])
    first, last = (WINDOW - 1, 11) if full_range else (WINDOW, 10)
    frames = data.test.about["frame"][data.test.about["stimulus"] == 0]
    assert frames.tolist() == list(range(first, last + 1))
    sequences = data.as_sequences()
    assert sequences.input_shape == (WINDOW, 6) and sequences.current() is sequences and not sequences.windowed
    np.testing.assert_array_equal(sequences.now(sequences.test), data.current().test.inputs)
    np.testing.assert_array_equal(data.recent(2).test.inputs, data.test.inputs[:, -2:])
    with pytest.raises(DataError, match="too few for windows of 13"):
        load_data("session", path=str(tmp_path / "s.npz"), window=13)


def content(path, **changes):
    return {
        "condition": "tcloser",
        "num_encoders": 2,
        "dataset": {"name": "session", "path": path, "window": WINDOW, "standardise": True},
        "masks": {"scheme": "areas"},
        "encoder": {"type": "rnn", "units": [6], "embedding_dim": 4, "dropout": 0.3, "l2": 1e-5},
        "training": {"epochs": 2, "batch_size": 16},
        "readout": {"C": [0.01, 1.0], "max_iter": 20, "pseudo_likelihood_draws": 2},
        **changes,
    }


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = session(tmp_path / "small.npz")

    def command(*arguments, **changes):
        (tmp_path / "mouse.json").write_text(json.dumps(content(path, **changes)))
        assert train.main(["mouse.json", *arguments]) == 0, capsys.readouterr().err
        return json.loads((tmp_path / "runs" / "mouse" / "results.json").read_text())

    return command


@pytest.mark.tensorflow
def test_a_run_on_a_recording(run, tmp_path):
    """Trained, read out, resumed, exported, embedded; the masked input is the current bin's counts, whatever the window."""
    results = run("--set", "training.epochs=1")
    folder = tmp_path / "runs" / "mouse"
    assert set(results["accuracy"]) == {"masked_input", "untrained", "tcloser"}
    assert json.loads((folder / "data.json").read_text())["train"]["shape"] == [WINDOW, 6]
    ensemble = RunFolder(folder).load_ensemble()
    assert ensemble.input_shape == (None, WINDOW, 6) and ensemble.output_shape == (None, 2, 4)
    embed.embed_run(folder, tmp_path / "own.npz", splits=["test"])
    stored = np.load(tmp_path / "own.npz")
    windows = experiment.load_splits(RunFolder(folder).load_config()).test.inputs
    np.testing.assert_allclose(stored["embeddings"], ensemble.predict(windows, verbose=0), atol=1e-5)
    embed.embed_run(folder, tmp_path / "other.npz", data=tmp_path / "small.npz")
    every = np.load(tmp_path / "other.npz")
    assert every["frames"].min() == WINDOW - 1 and len(every["frames"]) == 5 * (12 - WINDOW + 1 + 20 - WINDOW + 1)
    same = (every["trials"] == 3) & (every["labels"] == 1) & (every["frames"] == 7)
    own = (stored["trials"] == 3) & (stored["labels"] == 1) & (stored["frames"] == 7)
    np.testing.assert_allclose(every["embeddings"][same], stored["embeddings"][own], atol=1e-5)
    again = evaluate.evaluate_run(folder, redo=True)
    assert again["accuracy"] == results["accuracy"]
    mlp = {"type": "mlp", "hidden": [4], "embedding_dim": 4}
    beside = run("--run-dir", "runs/mouse_mlp", "--set", "training.epochs=1", encoder=mlp)
    del beside
    found = json.loads((tmp_path / "runs" / "mouse_mlp" / "results.json").read_text())
    assert found["accuracy"]["masked_input"] == results["accuracy"]["masked_input"]
    card = export.export_run(folder, tmp_path / "exported")
    assert card["model"]["input"]["shape"] == ["batch", WINDOW, 6]
    assert {"keras", "saved_model ensemble", "saved_model encoder_i"} <= set(card["parity"]["differences"])


@pytest.mark.parametrize(
    "condition", ["closer", "notcloser", pytest.param("lpl", marks=pytest.mark.jax), "supervised", "untrained"]
)
def test_every_condition(run, condition):
    results = run("--set", f"condition={condition}", "--set", "encoder.cell=simple")
    assert set(results["accuracy"]) == {"masked_input", "untrained", condition}


@pytest.mark.tensorflow
def test_a_run_on_images(tmp_path, tiny_config, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny_config["masks"] = {"scheme": "random_patches", "fraction": 0.25, "patch_size": 2}
    tiny_config["encoder"] = {"type": "rnn", "units": [6, 5], "embedding_dim": 4}
    tiny_config["training"]["epochs"] = 1
    (tmp_path / "images.json").write_text(json.dumps(tiny_config))
    assert train.main(["images.json", "--run-dir", "run"]) == 0, capsys.readouterr().err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(results["accuracy"]["closer"]) >= {"single", "ensemble"}
    assert load_config("images.json").objective.temperature == 40
    card = export.export_run("run", tmp_path / "exported")
    assert "saved_model ensemble" in card["parity"]["differences"]


def test_the_estimator_takes_a_recurrent_encoder():
    from closer_tf import CLoSeRTransformer
    from closer_tf.masks import random_patch_masks

    data = load_data("digits")
    fields = random_patch_masks((8, 8), 3, 0.25, 2, seed=0)

    def encoder(i, shape):
        return rnn(shape, units=(8,), embedding_dim=4, init_seed=i, dropout_seed=i)

    ours = CLoSeRTransformer(receptive_fields=fields, make_encoder=encoder, epochs=1, random_state=0, input_scale=1 / 16)
    images = data.train.inputs[:200]
    assert ours.fit(images).transform(images[:7]).shape == (7, 12)


def test_what_cannot_be(tmp_path):
    path = session(tmp_path / "s.npz")
    one_bin = parse_config(content(path, dataset={"name": "session", "path": path, "window": 1})).resolved()
    with pytest.raises(ConfigError, match="dataset.window: condition 'tcloser' looks at the bin before; expected 2 at least"):
        experiment.load_splits(one_bin)
    mlp = {"type": "mlp", "embedding_dim": 4}
    with pytest.raises(ConfigError, match="encoders: of recordings, all encoders run over windows or none"):
        parse_config(content(path, encoders=[content(path)["encoder"], mlp]))
    config = parse_config(content(path)).resolved()
    with pytest.raises(ConfigError, match="encoder.type: recurrent encoders are not computed side by side"):
        check_alike([config, config])
    with pytest.raises(ConfigError, match="dataset.window: expected"):
        parse_config(content(path, dataset={"name": "session", "path": path, "window": 0}))
    single = load_data("session", path=path).current()
    with pytest.raises(ConfigError, match="encoder.type: 'rnn' runs over consecutive bins; dataset 'session' has none"):
        experiment.for_encoders(parse_config(content(path, condition="closer")).resolved(), single)


@pytest.mark.parametrize("momentum", [None, 0.9])
def test_self_distillation_over_windows(momentum):
    ensemble = build_ensemble(
        (4, 6), area_masks(list("aaabbb"), ["a", "b"]), lambda i, shape: rnn(shape, units=[3], over_bins=True)
    )
    loss = DistilledLoss(momentum=momentum)
    outputs = loss.training_model(ensemble, seed=0)(np.ones((5, 4, 6), dtype="float32"))
    assert {value.shape[:2] for value in outputs.values()} == {(5, 2)} and np.isfinite(loss.terms(outputs)["loss"])


def test_old_windows_are_what_they_were(tmp_path):
    """Without recurrent encoders a longer window changes which samples there are, not what is seen of them."""
    path = session(tmp_path / "s.npz")
    mlp = {"type": "mlp", "hidden": [4], "embedding_dim": 4}
    dataset = {"name": "session", "path": path}
    short = experiment.load_splits(parse_config(content(path, dataset=dataset, encoder=mlp)).resolved())
    longer = experiment.load_splits(parse_config(content(path, dataset=dataset | {"window": 5}, encoder=mlp)).resolved())
    assert short.windowed and short.train.inputs.shape[1:] == longer.train.inputs.shape[1:] == (2, 6)
    kept = short.test.about["frame"] >= 5
    np.testing.assert_array_equal(short.test.inputs[kept], longer.test.inputs)


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru", "simple"])
def test_killed_runs_go_on_to_the_bit(tmp_path, cell):
    """With dropout, from a checkpoint in the middle of an epoch."""
    training = {"epochs": 20, "batch_size": 16, "checkpoint_minutes": 0.0002, "keep_checkpoints": 3}
    encoder = {"type": "rnn", "cell": cell, "units": [6, 5], "embedding_dim": 4, "dropout": 0.3}
    config = content(session(tmp_path / "s.npz"), training=training, encoder=encoder)
    config["readout"]["after_training"] = False
    (tmp_path / "mouse.json").write_text(json.dumps(config))
    folder, killed_inside = tmp_path / "run" / "checkpoints", 0
    with Trainers() as trainers:
        assert trainers.run(tmp_path, "mouse.json", "--run-dir", "whole") == 0, (tmp_path / "log.txt").read_text()
        for epochs in (1, 6):
            pid, deadline = trainers.start(tmp_path, "mouse.json", "--run-dir", "run"), time.monotonic() + 200
            while not any(path.name >= f"epoch-{epochs:05}" for path in checkpoint_files(folder)):
                assert time.monotonic() < deadline, (tmp_path / "log.txt").read_text()
                time.sleep(0.01)
            os.kill(pid, signal.SIGKILL)
            trainers.wait(pid)
            killed_inside += load_checkpoint(checkpoint_files(folder)[0]).epoch < 20
        assert trainers.run(tmp_path, "mouse.json", "--run-dir", "run") == 0, (tmp_path / "log.txt").read_text()
    assert killed_inside
    one, other = (load_checkpoint(checkpoint_files(tmp_path / name / "checkpoints")[0]) for name in ("whole", "run"))
    assert one.epoch == other.epoch == 20 and len(one.arrays) == len(other.arrays)
    for a, b in zip(one.arrays, other.arrays):
        np.testing.assert_array_equal(a, b)


@pytest.mark.jax
def test_saved_and_loaded(tmp_path):
    windows = np.random.default_rng(1).poisson(1, (8, WINDOW, 6)).astype(np.float32)
    ensemble = recurrent_ensemble()
    ensemble.save(tmp_path / "ensemble.keras")
    again = keras.saving.load_model(tmp_path / "ensemble.keras")
    np.testing.assert_array_equal(again.predict(windows, verbose=0), ensemble.predict(windows, verbose=0))
    both = with_previous(again)
    both.save(tmp_path / "both.keras")
    assert keras.saving.load_model(tmp_path / "both.keras").output_shape == (None, 2, 2, 3)


def test_encoders_of_different_kinds_keep_their_order():
    """Keras sorts layers by depth, and an encoder over bins has more behind it."""
    fields = ReceptiveFields((np.array([2, 7]), np.array([0, 1]), np.array([1, 10])), (1, 12), 1)

    def make(i, shape):
        if i == 1:
            return rnn(shape, units=[4], embedding_dim=4, over_bins=True, init_seed=i)
        return mlp(shape, hidden=[4], embedding_dim=4, init_seed=i, dropout_seed=i)

    ensemble = build_ensemble((3, 12), fields, make)
    assert [encoder.name for encoder in ensemble.encoders] == ["encoder_0", "encoder_1", "encoder_2"]
    for ours, given in zip(receptive_fields_of(ensemble).indices, fields.indices, strict=True):
        np.testing.assert_array_equal(ours, given)
    found = DistilledLoss(momentum=0.9).training_model(ensemble)(np.random.default_rng(0).normal(size=(6, 3, 12)))
    np.testing.assert_allclose(found["targets"], found["embeddings"], atol=1e-6)  # the average of nothing else yet
