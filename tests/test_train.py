"""The commands, as a user meets them."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from closer_tf import evaluate, train
from closer_tf.common.backend import numpy_products
from closer_tf.config import load_config
from closer_tf.errors import BusyError, CloserWarning
from closer_tf.readout.features import load_trained
from closer_tf.training.experiment import load_splits
from closer_tf.training.runs import RunFolder

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def command(tmp_path, tiny_config, capsys, monkeypatch):
    """Run the train command in an empty working folder; returns (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate, "numpy_products", lambda: ("openblas", ""))  # a note that depends on the processor

    def run(*arguments, **changes):
        (tmp_path / "tiny.json").write_text(json.dumps({**tiny_config, **changes}))
        code = train.main(["tiny.json", *arguments])
        return (code, *capsys.readouterr())

    return run


def test_from_config_to_table(command, tmp_path):
    code, output, errors = command()
    assert code == 0 and errors == ""
    run = tmp_path / "runs" / "tiny"
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert {
        "config.json",
        "versions.json",
        "masks.npz",
        "history.csv",
        "ensemble.keras",
        "results.json",
        "figures/receptive_fields.png",
        "figures/training_curves.png",
        "figures/accuracy.png",
        "checkpoints/epoch-00003-step-000000.npz",
    } <= names
    assert re.search(r"epoch 3/3 .*loss \d", output) and "left:" in output
    results = json.loads((run / "results.json").read_text())
    for condition in ("masked_input", "untrained", "closer"):
        for readout in ("single", "ensemble"):
            accuracy = results["accuracy"][condition][readout]["test"]
            assert 0.05 < accuracy <= 1
            assert f"{accuracy:.3f}" in output
        singles = results["accuracy"][condition]["single"]["per_encoder"]
        assert np.mean(singles) == pytest.approx(results["accuracy"][condition]["single"]["test"]) and len(singles) == 3
    assert results["epochs"] == 3 and results["chance"] == pytest.approx(46 / 450)
    assert results["samples"] == {"train": 1212, "validation": 135, "test": 450}
    history = RunFolder(run).read_history()
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert history[0]["loss"] == pytest.approx(history[0]["attraction"] + history[0]["contrast"], rel=1e-4)


def test_the_saved_ensemble_is_the_trained_one(command, tmp_path):
    command()
    import keras

    from closer_tf.nn.ensemble import embed
    from closer_tf.training.experiment import load_splits

    run = RunFolder(tmp_path / "runs" / "tiny")
    config = run.load_config()
    data = load_splits(config)
    model, epochs, step = evaluate.trained_ensemble(run, config, data)
    saved = keras.saving.load_model(run.ensemble_file)
    assert (epochs, step) == (3, 0)
    np.testing.assert_array_equal(embed(saved, data.test.inputs), embed(model, data.test.inputs))


def test_a_second_command_finds_everything_done(command, tmp_path):
    command()
    before = (tmp_path / "runs" / "tiny" / "results.json").read_bytes()
    code, output, _ = command()
    assert code == 0 and "going on after epoch 3" in output and "epoch 3/3" not in output
    assert (tmp_path / "runs" / "tiny" / "results.json").read_bytes() == before


def test_zero_epochs_read_out_what_needs_no_training(command, tmp_path):
    code, output, _ = command("--set", "training.epochs=0")
    results = json.loads((tmp_path / "runs" / "tiny" / "results.json").read_text())
    assert code == 0 and set(results["accuracy"]) == {"masked_input", "untrained"}


@pytest.mark.parametrize("condition", ["supervised", "untrained", "masked_input", "full_input"])
def test_every_condition_is_one_key_away(command, tmp_path, condition):
    code, output, _ = command("--set", f"condition={condition}")
    run = tmp_path / "runs" / "tiny"
    results = json.loads((run / "results.json").read_text())
    assert code == 0 and condition in results["accuracy"]
    assert ("single" in results["accuracy"][condition]) == (condition != "full_input")
    assert (condition in results["measures"]) == (condition in ("supervised", "untrained"))
    assert results["epochs"] == (3 if condition == "supervised" else 0)


def test_conditions_share_masks_and_initialisation(command, tmp_path):
    for condition in ("closer", "supervised"):
        command("--set", f"condition={condition}", "--run-dir", condition)
    closer, supervised = (json.loads((tmp_path / c / "results.json").read_text()) for c in ("closer", "supervised"))
    assert (tmp_path / "closer" / "masks.npz").read_bytes() == (tmp_path / "supervised" / "masks.npz").read_bytes()
    assert closer["accuracy"]["untrained"] == supervised["accuracy"]["untrained"]


def test_the_converged_readout_replaces_the_published_one(command, tmp_path, capsys):
    command("--set", "condition=untrained", "--set", "readout.max_iter=null")
    stored = tmp_path / "runs" / "tiny" / "results.json"
    protocol = json.loads(stored.read_text())["protocol"]
    assert (protocol["name"], protocol["max_iter"]) == ("published", 100)
    assert evaluate.main([str(stored.parent), "--set", "readout.protocol=converged"]) == 0
    assert "converged probe: 0 of" in " ".join(capsys.readouterr().out.split())
    results = json.loads(stored.read_text())
    assert (results["protocol"]["name"], results["protocol"]["max_iter"]) == ("converged", 5000)
    assert all(fit["converged"] for probe in results["probes"]["untrained"].values() for fit in probe["fits"])


def test_readouts_and_measures(command, tmp_path):
    command("--set", "readout.knn_neighbours=5")
    results = json.loads((tmp_path / "runs" / "tiny" / "results.json").read_text())
    found = results["accuracy"]["closer"]
    assert set(found) == {
        *("single", "ensemble", "mean_probability", "max_probability", "mean_log_probability", "majority_vote"),
        *("knn_single", "knn_ensemble"),
    }
    measured = results["measures"]["closer"]
    assert -1 <= measured["alignment"] <= 1 and 0 <= measured["agreement"] <= 1
    matrices = np.array(measured["class_pseudo_likelihood"]["per_encoder"])
    assert matrices.shape == (3, 10, 10) and measured["class_pseudo_likelihood"]["temperature"] == 40
    assert (tmp_path / "runs" / "tiny" / "figures" / "class_pseudo_likelihood.png").stat().st_size > 10_000


def test_evaluate_again(command, tmp_path, capsys):
    command("--set", "readout.after_training=false")
    run = tmp_path / "runs" / "tiny"
    assert not (run / "results.json").exists()
    assert evaluate.main([str(run)]) == 0
    first = json.loads((run / "results.json").read_text())
    assert evaluate.main([str(run), "--redo"]) == 0
    assert json.loads((run / "results.json").read_text())["accuracy"] == first["accuracy"]
    assert "ensemble" in capsys.readouterr().out


def test_dry_run_writes_nothing(command, tmp_path):
    code, output, _ = command("--dry-run")
    assert code == 0 and not (tmp_path / "runs").exists()
    for part in ("3 encoders", "parameters", "16 of 64 pixels", "epochs of 5 steps", "ms per step", "memory", "nothing was"):
        assert part in output


def fresh(arguments, folder, **environment):
    return subprocess.run(
        [sys.executable, "-m", "closer_tf.train", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_fresh_process_is_quiet(tmp_path, tiny_config):
    (tmp_path / "tiny.json").write_text(json.dumps(tiny_config))
    done = fresh(["tiny.json"], tmp_path)
    _, advice = numpy_products()  # said once, on processors that NumPy's OpenBLAS does not know
    assert (done.returncode, done.stderr) == (0, f"note: {advice}\n" if advice else "")
    said = [line for line in done.stdout.splitlines() if not line.startswith("compute: ")]  # that line is ours
    assert len(said) < len(done.stdout.splitlines())
    assert "WARNING" not in done.stdout and "tensorflow" not in "".join(said).lower()


def mistake(command, tmp_path, *arguments, **changes):
    code, output, errors = command(*arguments, **changes)
    assert code == 2, (code, output, errors)
    assert errors.startswith("error: ") and "Traceback" not in errors
    assert not (tmp_path / "runs").exists(), "something was half-written"
    return errors


def test_bad_input(command, tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "broken" / name).mkdir(parents=True)
        for k in range(4):
            Image.new("RGB", (8, 8)).save(tmp_path / "broken" / name / f"{k}.png")
    (tmp_path / "broken" / "dog" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    np.savez(tmp_path / "own.npz", x_train=np.zeros((9, 8, 8)), y_train=np.arange(8))
    np.save(tmp_path / "two.npy", np.ones((2, 8, 8), bool))
    (tmp_path / "graph.json").write_text("[[0, 1], [1, 0]]")
    folder = {"name": "image_folder"}

    def graph(**options):
        return {"objective": {"graph": options}}

    cases = [
        (dict(training={"epoch": 3}), "tiny.json: training.epoch: unknown key 'epoch'. Did you mean 'epochs'?"),
        (dict(num_encoders="3"), 'tiny.json: num_encoders: expected a valid integer, found "3"'),
        (dict(dataset={"name": "mnist"}), "tiny.json: dataset.name: expected one of digits, "),
        (dict(dataset={**folder, "path": "nowhere"}), "tiny.json: dataset.path: "),
        (dict(dataset={**folder, "path": "empty"}), "empty: no images; expected"),
        (dict(dataset={**folder, "path": "broken"}), "2.png: not a readable image"),
        (dict(dataset={"name": "arrays", "path": "own.npz"}), "y_train: expected one label per image (9), found shape (8,)"),
        (dict(training={"batch_size": 5000}), "tiny.json: training.batch_size: expected at most the 1212 training samples"),
        (dict(training={"batch_size": 5000}), "such as --set training.batch_size=256"),
        (dict(dataset={**folder, "path": "own.npz"}), "own.npz: a file; expected a folder of images; --set 'dataset="),
        (
            dict(dataset={"name": "session", "path": "a/session_715093703.npz"}),
            "/a --yes` downloads the mouse's recording",
        ),
        (dict(masks={"scheme": "gaussian", "fraction": 0.01}), "tiny.json: masks.fraction: 0.01 of 64 pixels leaves no"),
        (dict(masks={"scheme": "random_patches", "patch_size": 3}), "tiny.json: masks.patch_size: 3 does not divide the image"),
        (dict(masks={"scheme": "custom", "path": "two.npy"}), "two.npy: expected 3 masks (num_encoders), found 2"),
        (dict(masks={"scheme": "custom", "path": "none.npy"}), "tiny.json: masks.path: "),
        (graph(family="custom", path="graph.json"), "tiny.json: objective.graph.path: "),
        (graph(family="custom", path="none.npz"), "tiny.json: objective.graph.path: "),
    ]
    for changes, message in cases:
        assert message in mistake(command, tmp_path, **changes)
    assert "--set training.epochs: expected key.path=value" in mistake(command, tmp_path, "--set", "training.epochs")


def test_no_config_and_broken_json(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train.main(["none.json"]) == 2
    assert "none.json: no such config file" in capsys.readouterr().err
    np.savez(tmp_path / "images.npz", x_train=np.zeros(3))
    for given, message in (
        ("images.npz", "holds data; expected a run config (JSON)"),
        (str(tmp_path), "a folder; expected a run"),
    ):
        assert train.main([given]) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "broken.json").write_text('{"seed": 1,}')
    assert train.main(["broken.json"]) == 2
    assert "broken.json: not valid JSON" in capsys.readouterr().err


def test_offline(command, tmp_path, monkeypatch):
    import requests

    def no_network(*args, **options):
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "head", no_network)
    errors = mistake(command, tmp_path, dataset={"name": "cifar10", "data_dir": str(tmp_path / "tfds")})
    assert "could not be downloaded" in errors and "dataset.data_dir=DIR" in errors


def test_a_run_folder_of_another_config(command, tmp_path):
    command()
    before = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*.json")}
    code, _, errors = command("--set", "training.epochs=5", "--set", "training.batch_size=100")
    assert code == 2
    assert (
        "holds a run of another config (training.batch_size: there 256, here 100; training.epochs: there 3, here 5)" in errors
    )
    assert "--run-dir" in errors
    assert before == {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*.json")}


def test_the_readout_and_the_datas_place_may_change(command, tmp_path, capsys):
    command()
    run = tmp_path / "runs" / "tiny"
    first = json.loads((run / "results.json").read_text())
    code, output, _ = command("--set", "readout.C=[0.1]")
    second = json.loads((run / "results.json").read_text())
    assert code == 0 and "going on after epoch 3" in output and second["protocol"]["C"] == [0.1]
    assert evaluate.main([str(run), "--set", "readout.C=[0.01, 1.0]"]) == 0
    assert json.loads((run / "results.json").read_text())["accuracy"] == first["accuracy"]
    assert evaluate.main([str(run), "--set", "training.epochs=4"]) == 2
    assert "would make this another run" in capsys.readouterr().err


def test_an_unfinished_start_is_taken_up(command, tmp_path):
    (tmp_path / "runs" / "tiny" / "figures").mkdir(parents=True)
    (tmp_path / "runs" / "tiny" / "masks.npz").write_bytes(b"half")
    assert command()[0] == 0


def test_a_partly_trained_first_epoch_is_read_out_as_such(command, tmp_path):
    """A checkpoint in the middle of an epoch is another state than the one before it."""
    from closer_tf.training.checkpoints import checkpoint_files, load_checkpoint, save_checkpoint
    from closer_tf.training.experiment import load_splits, make_ensemble, make_training_model

    command()
    run = RunFolder(tmp_path / "runs" / "tiny")
    config = run.load_config()
    data = load_splits(config)
    model = make_training_model(config, make_ensemble(config, run.load_masks(), data), 10)
    moment = load_checkpoint(checkpoint_files(run.checkpoints)[0])
    for step in (1, 2):
        later = type(moment)(epoch=3, step=step, history=moment.history, digest=moment.digest, arrays=[])
        save_checkpoint(run.checkpoints, model, later, keep=1)
        results = evaluate.evaluate_run(run.path)
        assert (results["epochs"], results["step"]) == (3, step)
    assert results["accuracy"]["closer"]["single"] == results["accuracy"]["untrained"]["single"]


def test_a_test_set_without_the_last_class(tmp_path, capsys, monkeypatch, tiny_config):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 99, (49, 8, 8)), np.append(np.arange(40) % 4, np.arange(9) % 3)
    np.savez("own.npz", x_train=images[:40], y_train=labels[:40], x_test=images[40:], y_test=labels[40:])
    tiny_config |= {"dataset": {"name": "arrays", "path": "own.npz"}, "training": {"epochs": 1, "batch_size": 10}}
    (tmp_path / "own.json").write_text(json.dumps(tiny_config))
    assert train.main(["own.json"]) == 0, capsys.readouterr().err
    results = json.loads((tmp_path / "runs" / "own" / "results.json").read_text())
    assert "class_pseudo_likelihood" not in results["measures"]["closer"]


@pytest.fixture
def unlabelled(tmp_path):
    """A flat folder of images, and the same as arrays without labels."""
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3)).astype(np.uint8)
    (tmp_path / "flat").mkdir()
    for k, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "flat" / f"{k:02}.png")
    np.savez(tmp_path / "own.npz", x_train=images)
    options = {"training": {"epochs": 1, "batch_size": 8}}
    return [
        options | {"dataset": dataset}
        for dataset in ({"name": "image_folder", "path": "flat", "image_size": 8}, {"name": "arrays", "path": "own.npz"})
    ]


def test_images_without_labels_are_trained_and_not_read_out(command, tmp_path, unlabelled):
    for changes in unlabelled:
        name = changes["dataset"]["name"]
        code, output, errors = command("--run-dir", name, **changes)
        assert (code, errors) == (0, "")
        assert "test samples of shape (8, 8, 3), no labels" in output and f"no readout: {name} has no labels here" in output
        assert (tmp_path / name / "ensemble.keras").exists() and not (tmp_path / name / "results.json").exists()
        assert evaluate.main([name]) == 0
        code, output, errors = command("--run-dir", "supervised", condition="supervised", **changes)
        assert code == 2 and "condition: 'supervised' needs labels" in errors and not (tmp_path / "supervised").exists()


def test_the_tensorboard_and_the_report_of_a_run_without_labels(command, tmp_path, unlabelled):
    from closer_tf import report

    pytest.importorskip("tensorboard")
    assert command("--tensorboard", **unlabelled[1])[0] == 0
    assert set((tmp_path / "runs/tiny/tensorboard/labels.tsv").read_text().split("\n")) == {"no label", ""}
    assert report.main(["runs/tiny", "-o", "report.html", "--embeddings", "pca"]) == 0
    assert "no label" in (tmp_path / "report.html").read_text()


def test_unscaled_floats_are_said(command, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", x_train=rng.integers(0, 256, (30, 8, 8)).astype(np.float32), y_train=np.arange(30) % 2)
    options = {"training": {"epochs": 1, "batch_size": 8}, "readout": {"after_training": False}}
    with warnings.catch_warnings(record=True) as caught:  # a new NumPy has TensorFlow warn too
        warnings.simplefilter("always")
        command(**options, dataset={"name": "arrays", "path": "own.npz"})
    said = [str(warning.message) for warning in caught if warning.category is CloserWarning]
    pattern = "x_train: values reach 255 and are multiplied by 1; .* dataset.input_scale=0.0039"
    assert len(said) == 1 and re.match(pattern, said[0])
    for scale in (1, 1 / 255):
        code, _, errors = command(
            "--run-dir", str(scale), **options, dataset={"name": "arrays", "path": "own.npz", "input_scale": scale}
        )
        assert (code, errors) == (0, "")


def test_a_runs_masks_serve_another_run(command, tmp_path):
    command("--set", "readout.after_training=false")
    masks = {"scheme": "custom", "path": "runs/tiny/masks.npz"}
    code, _, errors = command("--set", "readout.after_training=false", "--run-dir", "again", masks=masks, seed=5)
    assert code == 0, errors
    assert (tmp_path / "again" / "masks.npz").read_bytes() == (tmp_path / "runs" / "tiny" / "masks.npz").read_bytes()


def test_a_run_keeps_the_graph_of_a_file(command, tmp_path):
    (tmp_path / "graph.json").write_text("[[0, 1, 0], [0, 0, 3], [1, 0, 0]]")
    graph = {"objective": {"stop_gradient": True, "graph": {"family": "custom", "path": "graph.json"}}}
    assert command(**graph)[0] == 0
    (tmp_path / "graph.json").unlink()
    stored = RunFolder(tmp_path / "runs" / "tiny").load_config().objective.graph
    assert stored.edges == [[0, 1], [1, 2], [2, 0]] and stored.weights == pytest.approx([0.2, 0.6, 0.2])
    assert evaluate.main([str(tmp_path / "runs" / "tiny"), "--redo"]) == 0


def test_nothing_is_trained_and_said_so(command):
    code, output, _ = command("--dry-run", "--set", "condition=untrained")
    assert code == 0 and "nothing is trained" in output and "ms per step" not in output


def test_a_folder_that_is_no_run(command, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("...")
    code, _, errors = command("--run-dir", "mine")
    assert code == 2 and "not empty and not a run folder" in errors
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_evaluate_without_a_run(tmp_path, capsys):
    assert evaluate.main([str(tmp_path)]) == 2
    assert "no run here" in capsys.readouterr().err


def test_one_writer_per_folder(command, tmp_path):
    command("--set", "readout.after_training=false")
    run = RunFolder(tmp_path / "runs" / "tiny")
    code = (
        f"from closer_tf.training import runs as r\nimport time\n"
        f"with r.RunFolder({str(run.path)!r}).locked():\n print('held', flush=True)\n time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match=f"in use by process {other.pid}"):
            with run.locked():
                pass
        assert command()[0] == 4 and evaluate.main([str(run.path)]) == 4
        other.kill()
    with run.locked():
        pass


def test_ctrl_c_and_the_same_command_again(tmp_path, tiny_config):
    tiny_config["training"] = {"epochs": 2000, "batch_size": 256}
    (tmp_path / "tiny.json").write_text(json.dumps(tiny_config))
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "closer_tf.train", "tiny.json"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if line.startswith("epoch"):
                process.send_signal(2)
                break
        output = process.stdout.read()
    assert process.returncode == 130 and "state saved in runs/tiny" in output
    begun = (tmp_path / "runs" / "tiny" / "history.csv").read_text().splitlines()
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "closer_tf.train", "tiny.json"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if line.startswith("epoch"):
                process.send_signal(15)
                break
        output = process.stdout.read()
    assert process.returncode == 143 and "SIGTERM: state saved" in output
    continued = (tmp_path / "runs" / "tiny" / "history.csv").read_text().splitlines()
    assert continued[: len(begun)] == begun and len(continued) > len(begun)


@pytest.mark.parametrize("module", ["train", "evaluate"])
def test_help_is_quick_and_has_examples(module):
    code = f"import sys, closer_tf.{module} as m\ntry: m.main(['--help'])\nfinally: assert 'tensorflow' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "example" in done.stdout


def test_a_loss_that_is_not_finite_and_the_same_command_with_smaller_steps(command, tmp_path, monkeypatch):
    from closer_tf.data.streams import batches
    from closer_tf.nn import tensorflow

    usual, left = batches, [7]  # the 7th batch: epoch 2, step 2 of 5

    def with_nan(*args, **options):
        for inputs, labels in usual(*args, **options):
            left[0] -= 1
            yield inputs.astype(np.float32) * (np.nan if left[0] == 0 else 1.0), labels

    monkeypatch.setattr(tensorflow, "training_stream", with_nan)
    code, _, errors = command()
    assert code == 3 and "epoch 2, step 2 of 5: not finite any more: " in errors and "Traceback" not in errors
    code, output, _ = command("--set", "optimizer.learning_rate=0.0003")
    assert code == 0 and "optimizer.learning_rate: 0.0003 in place of 0.001 after epoch 1; noted" in output
    run = RunFolder(tmp_path / "runs" / "tiny")
    assert [row["epoch"] for row in run.read_history()] == [1, 2, 3]
    assert run.read_results()["changes"] == run.changes() and len(run.changes()) == 2
    assert evaluate.main([str(run.path), "--redo"]) == 0
    code, _, errors = command()  # the done run keeps its record
    assert code == 2 and "optimizer.learning_rate: there 0.0003, here 0.001" in errors


def test_a_readout_that_is_interrupted_says_that_the_training_is_saved(tmp_path, tiny_config, monkeypatch, capsys):
    from closer_tf import evaluate

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "readout", interrupted)
    (tmp_path / "tiny.json").write_text(json.dumps(tiny_config))
    assert train.main([str(tmp_path / "tiny.json"), "--run-dir", str(tmp_path / "run")]) == 130
    said = capsys.readouterr().err
    assert f"the training is done and saved in {tmp_path / 'run'}; the same command goes on with the readout" in said
    run, config = RunFolder(tmp_path / "run"), load_config(tmp_path / "tiny.json").resolved()
    data = load_splits(config)
    trained = load_trained(run, config, data)
    with pytest.raises(KeyboardInterrupt):
        train._finish(run, config, data, dataclasses.replace(trained, epochs=1))  # of three
    said = capsys.readouterr().err
    assert f"the training was stopped early and saved in {tmp_path / 'run'}; the same command goes on with it" in said
    monkeypatch.undo()
    assert train.main([str(tmp_path / "tiny.json"), "--run-dir", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize(
    "objective, line",
    [
        ({}, "interactions: all_to_all, 6 of 6 edges, without stop-gradient\n"),
        (
            {"graph": {"family": "custom", "edges": [[0, 1], [1, 0]]}, "stop_gradient": True},
            "interactions: custom, 2 of 6 edges, with stop-gradient; 1 encoder is pulled by none\n",
        ),
        (
            {"graph": {"family": "star"}},
            "interactions: star, 4 of 6 edges, without stop-gradient (the paper trains sparse graphs with it: "
            "objective.stop_gradient)\n",
        ),
    ],
)
def test_the_interactions_are_said_before_a_training(tmp_path, tiny_config, capsys, objective, line):
    (tmp_path / "tiny.json").write_text(json.dumps({**tiny_config, "objective": objective}))
    assert train.main([str(tmp_path / "tiny.json"), "--dry-run"]) == 0
    assert line in capsys.readouterr().out
