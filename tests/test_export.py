"""What leaves a run folder does what the run does, wherever it goes."""

import hashlib
import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from closer_tf import build_ensemble, export, export_ensemble, export_run, mlp
from closer_tf.config import parse_config
from closer_tf.errors import ExportError, RunError
from closer_tf.masks import gaussian_masks
from closer_tf.model_card import describe_stimuli
from closer_tf.train import train_run
from closer_tf.training.runs import RunFolder

VIT = {
    "masks": {"scheme": "contiguous_patches", "patch_size": 2, "fraction": 0.25},
    "encoder": {"type": "vit_lite", "embedding_dim": 8, "blocks": 1, "heads": 2, "key_dim": 4, "mlp_dim": 8},
}
DISTILLED = {"condition": "distilled", "objective": {"momentum": 0.9}, "training": {"epochs": 1, "batch_size": 256}}
NEURONAL = {
    "condition": "tcloser",
    "dataset": {"name": "simulated", "standardise": True},
    "augmentation": {},
    "masks": {"scheme": "areas"},
}

ALONE = """
import sys
sys.modules["closer_tf"] = sys.modules["keras"] = None  # not to be had
import numpy as np
import tensorflow as tf

for folder in sys.argv[1:]:
    stored = np.load(folder + "/check.npz")
    x, expected = stored["x"], stored["expected"]
    model = tf.saved_model.load(folder + "/out/saved_model")
    largest = np.abs(expected).max()
    batch = model.ensemble(x).numpy()
    n, d = expected.shape[1:]
    assert {"ensemble", "embed", "serving_default", *(f"encoder_{i}" for i in range(n))} == set(model.signatures)
    assert np.abs(batch - expected).max() <= 1e-6 * largest, "same batch size"
    assert np.array_equal(batch, model.ensemble(x).numpy()), "two calls"
    single = np.concatenate([model.ensemble(one[None]).numpy() for one in x[:20]])
    assert np.abs(single - expected[:20]).max() <= 1e-5 * largest, "batch size 1"
    assert np.array_equal(model.embed(x).numpy(), batch.reshape(len(x), n * d))
    by_signature = model.signatures["encoder_1"](tf.constant(x))["output_0"].numpy()
    assert np.abs(by_signature - expected[:, 1]).max() <= 1e-6 * largest, "encoder_1"
    assert sys.modules["closer_tf"] is None and sys.modules["keras"] is None
    print("agreed")
"""


def make_run(folder, config, **changes):
    """A finished tiny run, quick to read out."""
    quick = {"training": {"epochs": 1, "batch_size": 256}, "readout": {"C": [1.0], "max_iter": 3, "conditions": []}}
    train_run(parse_config({**config, **quick, **changes}).resolved(), folder)
    return folder


@pytest.fixture
def run(tmp_path, tiny_config):
    """A finished tiny run; changes to the config as keywords."""
    return lambda **changes: make_run(tmp_path / "run", tiny_config, **changes)


has_onnx = not export.missing_for_onnx()


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """MLPs, a ViT and a neuronal run, exported to `name`/out, with stimuli and what `predict` says of them in check.npz."""
    tiny = {"num_encoders": 3, "encoder": {"type": "mlp", "hidden": [8], "embedding_dim": 4}}
    tiny["masks"] = {"scheme": "gaussian", "fraction": 0.25}
    folders = {}
    for name, changes in {"mlp": {}, "vit": VIT, "neuronal": NEURONAL, "distilled": DISTILLED}.items():
        folders[name] = folder = tmp_path_factory.mktemp(name)
        run_dir = make_run(folder / "run", tiny, **{"training": {"epochs": 0}, "readout": {"after_training": False}, **changes})
        export_run(run_dir, folder / "out", onnx=has_onnx)
        ensemble = keras.saving.load_model(run_dir / "ensemble.keras")
        x = np.random.default_rng(0).uniform(0, 16, (1000, *ensemble.input_shape[1:])).astype("float32")
        np.savez(folder / "check.npz", x=x, expected=ensemble.predict(x, batch_size=1000, verbose=0))
    return folders


def test_tensorflow_alone_runs_it(exports, tmp_path):
    folders = [str(folder) for folder in exports.values()]
    command = [sys.executable, "-c", ALONE, *folders]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.split() == ["agreed"] * 4, done.stderr[-2000:]


def test_predictors_and_averages_stay_behind(exports):
    import tensorflow as tf

    run_dir, out = (exports["distilled"] / name for name in ("run", "out"))
    of_run, of_export = (keras.saving.load_model(folder / "ensemble.keras").weights for folder in (run_dir, out))
    stored = [shape for _, shape in tf.train.list_variables(str(out / "saved_model" / "variables" / "variables")) if shape]
    assert sorted(stored) == sorted(list(v.shape) for v in of_export) == sorted(list(v.shape) for v in of_run)
    assert len(stored) == 3 * 2 * 2  # encoders, layers, kernel and bias
    with open(out / "model_card.json") as card:
        assert json.load(card)["config"]["condition"] == "distilled"


@pytest.mark.skipif(not has_onnx, reason="pip install 'closer_tf[onnx]'")
@pytest.mark.parametrize("kind", ["mlp", "vit", "neuronal", "distilled"])
def test_onnx(exports, kind):
    import onnxruntime

    out = exports[kind] / "out"
    session = onnxruntime.InferenceSession(str(out / "ensemble.onnx"), providers=["CPUExecutionProvider"])
    with np.load(exports[kind] / "check.npz") as stored:
        x, expected = stored["x"], stored["expected"]
    for batch in (x, x[:1]):
        embeddings, joined = session.run(["ensemble", "embed"], {"stimulus": batch})
        assert np.abs(embeddings - expected[: len(batch)]).max() <= 1e-4 * np.abs(expected).max()
        np.testing.assert_array_equal(joined, embeddings.reshape(len(batch), -1))
    found = json.loads((out / "model_card.json").read_text())["parity"]["differences"]["onnx ensemble"]
    assert found["found"] <= found["allowed"] == 1e-4


def test_the_card_and_the_keras_file(run, tmp_path, capsys):
    run_dir = run()
    assert export.main([str(run_dir), "--to", str(tmp_path / "to" / "out")]) == 0
    output = capsys.readouterr().out
    assert "450 test stimuli of digits" in output and "saved_model one by one" in output
    out = tmp_path / "to" / "out"
    card = json.loads((out / "model_card.json").read_text())
    results = RunFolder(run_dir).read_results()
    assert card["readout"]["accuracy"] == results["accuracy"] and card["trained_epochs"] == 1
    assert card["config"]["encoder"]["hidden"] == [8] and card["model"]["signatures"]["embed"] == ["batch", 12]
    trained_on = {"samples": 1212, "shape": [8, 8, 1], "dtype": "uint8", "min": 0.0, "max": 16.0, "whole_numbers": True}
    assert card["training_inputs"] == trained_on
    assert describe_stimuli(np.zeros((2, 3)), 4095.0)["white_level"] == 4095
    assert set(card["loading"]) == {"saved_model", "ensemble.keras"}
    on_disk = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert set(card["files"]) == on_disk - {"model_card.json"}
    for name, about in card["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == about["sha256"]
    assert str(tmp_path) not in (out / "model_card.json").read_text()
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["out"]
    again = keras.saving.load_model(out / "ensemble.keras")
    before = keras.saving.load_model(run_dir / "ensemble.keras")
    for a, b in zip(again.get_weights(), before.get_weights()):
        np.testing.assert_array_equal(a, b)
    assert (out / "ensemble.keras").stat().st_size < (run_dir / "ensemble.keras").stat().st_size


def test_the_keras_file_loads_as_the_card_says(exports, tmp_path):
    out = exports["mlp"] / "out"
    card = json.loads((out / "model_card.json").read_text())
    code = card["loading"]["ensemble.keras"] + "; print(ensemble.output_shape)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=out)
    assert done.returncode == 0 and done.stdout.strip() == "(None, 3, 4)", done.stderr[-500:]


def test_random_layers_stay_out(tmp_path):
    ensemble = build_ensemble(
        input_shape=(8, 8, 1),
        receptive_fields=gaussian_masks((8, 8), 2, 0.25),
        make_encoder=lambda i, shape: mlp(shape, hidden=[4], embedding_dim=3, dropout=0.5, init_seed=i),
        augmentation=keras.Sequential([keras.layers.RandomRotation(0.3), keras.layers.GaussianNoise(1.0)]),
    )
    stimuli = np.random.default_rng(0).random((30, 8, 8, 1))
    card = export.export_ensemble(ensemble, tmp_path / "out", stimuli)
    assert card["parity"]["differences"]["saved_model called twice"]["found"] == 0


def test_without_the_data_random_stimuli_are_compared(run, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", x_train=rng.integers(0, 9, (400, 8, 8)), y_train=np.arange(400) % 4)
    run_dir = run(dataset={"name": "arrays", "path": str(tmp_path / "own.npz")}, training={"epochs": 0})
    (tmp_path / "own.npz").unlink()
    card = export_run(run_dir, tmp_path / "out")
    assert card["training_inputs"] is None
    assert card["parity"]["stimuli"].startswith("random stimuli") and card["config"]["dataset"]["path"] == "own.npz"


def test_a_mismatch_is_not_shipped(run, tmp_path, monkeypatch, capsys):
    run_dir = run(training={"epochs": 0})
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(export, "_inference", lambda model: lambda stimulus: model(stimulus, training=False) * 1.00001)
    assert export.main([str(run_dir), "--to", str(tmp_path / "out")]) == 2
    assert "saved_model ensemble: differs from predict by 1.0e-05" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_mistakes(run, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("...")
    with pytest.raises(ExportError, match="full: is there already"):
        export_run(tmp_path, tmp_path / "full")
    with pytest.raises(RunError, match="no run here"):
        export_run(tmp_path / "none", tmp_path / "out")
    (tmp_path / "a_file").write_text("")
    with pytest.raises(RunError, match="a_file: a file; expected a run folder"):
        export_run(tmp_path / "a_file", tmp_path / "out")
    run_dir = run(training={"epochs": 0}, readout={"after_training": False})
    (run_dir / "ensemble.keras").write_bytes(b"half")
    with pytest.raises(RunError, match="ensemble.keras: cannot be loaded"):
        export_run(run_dir, tmp_path / "out")
    (run_dir / "ensemble.keras").unlink()
    with pytest.raises(RunError, match="no trained ensemble here yet"):
        export_run(run_dir, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_stimuli_as_rows_and_those_of_another_shape(run, tmp_path):
    ensemble = RunFolder(run()).load_ensemble()
    shape = ensemble.input_shape[1:]
    rows = np.random.default_rng(0).random((5, int(np.prod(shape)))).astype(np.float32)
    export_ensemble(ensemble, tmp_path / "rows", rows)  # compares the export with `predict`
    assert (tmp_path / "rows" / "saved_model").is_dir()
    for wrong in (rows[:, 1:], rows[:0], rows[0]):
        with pytest.raises(ExportError, match="stimuli: expected one or more of shape"):
            export_ensemble(ensemble, tmp_path / "wrong", wrong)
    assert not (tmp_path / "wrong").exists()


def test_onnx_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r"onnx, tf2onnx, onnxruntime: pip install 'closer_tf\[onnx\]'"):
        export.export_ensemble(None, tmp_path / "out", np.zeros((2, 3)), onnx=True)
