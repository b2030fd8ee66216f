"""What the readout notes beside accuracies."""

import json
import re
import shutil
from pathlib import Path

import pytest

from closer_tf import evaluate, train
from closer_tf.common.backend import peak_memory_gb
from closer_tf.config import parse_config
from closer_tf.errors import RunError
from closer_tf.evaluate import print_areas
from closer_tf.results import parse
from closer_tf.training import experiment
from closer_tf.training.runs import RunFolder


@pytest.fixture
def run(tmp_path, tiny_config, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny_config |= {"condition": "untrained"}
    (tmp_path / "tiny.json").write_text(json.dumps(tiny_config))
    assert train.main(["tiny.json"]) == 0
    return tmp_path / "runs" / "tiny"


def test_peak_memory_is_the_largest_so_far(run, monkeypatch):
    first = json.loads((run / "results.json").read_text())["peak_memory_gb"]
    assert 0.05 < first < 1000 and first == round(first, 2)
    monkeypatch.setattr(evaluate, "peak_memory_gb", lambda: 0.01)
    assert evaluate.evaluate_run(run, redo=True)["peak_memory_gb"] == first
    monkeypatch.setattr(evaluate, "peak_memory_gb", lambda: 2000.0)
    assert evaluate.evaluate_run(run, redo=True)["peak_memory_gb"] == 2000.0


def test_a_readout_that_is_stopped_leaves_the_one_before(run, monkeypatch):
    before, features, calls = (run / "results.json").read_bytes(), evaluate.features, []

    def stopping(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return features(*arguments)

    monkeypatch.setattr(evaluate, "features", stopping)
    for _ in range(2):  # stopped again, from the start again
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            evaluate.evaluate_run(run, redo=True)
        assert (run / "results_before.json").read_bytes() == before != (run / "results.json").read_bytes()
    monkeypatch.setattr(evaluate, "features", features)
    assert evaluate.evaluate_run(run)["accuracy"] == json.loads(before)["accuracy"]
    assert not (run / "results_before.json").exists()


def test_peak_memory_grows_with_what_is_held():
    before = peak_memory_gb()
    held = bytearray(b"x") * int((before + 0.2) * 2**30)
    assert peak_memory_gb() >= before + 0.19
    del held


def test_draws_are_those_asked_for(run):
    likelihood = json.loads((run / "results.json").read_text())["measures"]["untrained"]["class_pseudo_likelihood"]
    assert likelihood["draws"] == 2 and parse_config({}).readout.pseudo_likelihood_draws == 100
    again = evaluate.evaluate_run(run, overrides=["readout.pseudo_likelihood_draws=3"])
    assert again["measures"]["untrained"]["class_pseudo_likelihood"]["draws"] == 3
    assert again["measures"]["untrained"]["class_pseudo_likelihood"]["per_encoder"] != likelihood["per_encoder"]


TINY = {
    "num_encoders": 3,
    "dataset": {"name": "digits"},
    "masks": {"scheme": "gaussian", "fraction": 0.25},
    "encoder": {"type": "mlp", "hidden": [8], "embedding_dim": 4, "dropout": 0.2},
    "training": {"epochs": 2, "batch_size": 256},
    "readout": {"C": [0.01], "max_iter": 20, "conditions": [], "pseudo_likelihood_draws": 1},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Trained run folders by condition."""
    folder = tmp_path_factory.mktemp("trained")
    for condition in ("closer", "supervised"):
        train.train_run(parse_config({**TINY, "condition": condition}).resolved(), folder / condition)
    return folder


@pytest.fixture
def brought_back(trained, tmp_path):
    """Makes a trained run folder without checkpoints and figures, as it comes from elsewhere; returns it and its results."""

    def make(condition="closer"):
        run = RunFolder(tmp_path / condition)
        shutil.copytree(trained / condition, run.path)
        results = run.read_results()
        shutil.rmtree(run.checkpoints)
        shutil.rmtree(run.figures)
        run.results_file.unlink()
        return run, results

    return make


@pytest.mark.parametrize("condition", ["closer", "supervised"])
def test_an_ensemble_without_a_checkpoint_is_read_out(condition, brought_back, capsys):
    run, results = brought_back(condition)
    again = evaluate.evaluate_run(run.path)
    assert (again["epochs"], again["step"]) == (2, 0) and again["accuracy"] == results["accuracy"]
    sure = "history.csv and its optimizer say" if condition == "closer" else "history.csv says"
    assert f"trained for 2 epochs, as {sure}" in capsys.readouterr().out


def test_a_checkpoint_goes_before_the_ensemble(trained, tmp_path):
    shutil.copytree(trained / "closer", tmp_path / "run")
    (tmp_path / "run" / "ensemble.keras").write_bytes(b"another")
    expected = RunFolder(trained / "closer").read_results()
    assert evaluate.evaluate_run(tmp_path / "run", redo=True)["accuracy"] == expected["accuracy"]


def test_a_run_with_neither_is_untrained(brought_back):
    run, _ = brought_back()
    run.ensemble_file.unlink()
    results = evaluate.evaluate_run(run.path)
    assert results["epochs"] == 0 and "closer" not in results["accuracy"]


def save_untrained(path, steps=10, **changes):
    """The ensemble of a changed config as a run saves it, with an optimizer that claims to have taken some steps."""
    config = parse_config({**TINY, **changes}).resolved()
    data = experiment.load_splits(config)
    ensemble = experiment.make_ensemble(config, experiment.make_receptive_fields(config, data), data)
    experiment.make_training_model(config, ensemble, 10).optimizer.iterations.assign(steps)
    ensemble.save(path)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"encoder": {**TINY["encoder"], "hidden": [9]}}, r"first of another shape: expected \(16, 8\), found \(16, 9\)"),
        ({"num_encoders": 4}, r"expected 12 weights, embeddings \(3, 4\); found 16 weights, embeddings \(4, 4\)"),
        ({"seed": 1}, "with the masks of masks.npz .* other embeddings than the file itself"),
        ({"dataset": {"name": "digits", "input_scale": 1.0}}, "other embeddings than the file itself"),
        ({"steps": 20}, "history.csv says 2 epochs of 5 steps, the optimizer in ensemble.keras counts 20 steps"),
    ],
)
def test_an_ensemble_of_another_run_is_refused(changes, message, brought_back):
    run, _ = brought_back()
    save_untrained(run.ensemble_file, **changes)
    with pytest.raises(RunError, match=f"ensemble.keras: .*{message}"):
        evaluate.evaluate_run(run.path)


def test_damaged_files_of_what_was_brought_back(brought_back):
    run, _ = brought_back("supervised")
    run.history_file.write_text("loss\n1.0\n")
    with pytest.raises(RunError, match="history.csv: damaged: its last row has no epoch"):
        evaluate.evaluate_run(run.path)
    run.history_file.unlink()
    with pytest.raises(RunError, match="trained for how long.* history.csv is not there, there is no optimizer"):
        evaluate.evaluate_run(run.path)
    whole = run.ensemble_file.read_bytes()
    run.ensemble_file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match="ensemble.keras: cannot be loaded"):
        evaluate.evaluate_run(run.path)


def test_training_does_not_replace_it(brought_back):
    run, _ = brought_back()
    before = {path: path.read_bytes() for path in (run.ensemble_file, run.history_file, run.masks_file)}
    with pytest.raises(RunError, match="no checkpoint to go on from; training anew would replace it"):
        train.train_run(run.load_config(), run.path)
    assert before == {path: path.read_bytes() for path in before}


OTHERS = Path(__file__).parent / "trained_elsewhere"  # digits, trained under each backend, and what was read out there


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_ensembles_that_were_trained_under_either_backend(backend, tmp_path):
    shutil.copytree(OTHERS / backend, tmp_path / "run")
    there = json.loads((tmp_path / "run" / "accuracy.json").read_text())
    here = evaluate.evaluate_run(tmp_path / "run")
    assert here["epochs"] == 3
    for name, expected in there.items():
        assert here["accuracy"]["closer"][name]["test"] == pytest.approx(expected["test"], abs=0.01)


def test_areas_are_printed_as_they_are_called(capsys):
    values = {"single": {"test": 0.5, "per_encoder": [0.25, 0.75]}, "ensemble": {"test": 0.8}}
    about = {"epochs": 1, "chance": 0.1, "protocol": {}}
    areas = ["[/bold]LP", "\x1b[31mV1"]
    print_areas(parse({**about, "areas": areas, "accuracy": {"closer": values, "full_input": {}}}))
    shown = capsys.readouterr().out
    assert re.search(r"│ \[/bold\]LP +│ +0\.250 │", shown) and re.search(r"│ \\x1b\[31mV1 +│ +0\.750 │", shown)
    print_areas(parse({**about, "accuracy": {"closer": values}}))  # images have no areas
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("condition, steps_per_execution", [("closer", 1), ("closer", 2), ("supervised", 2)])
def test_what_was_just_trained_is_read_out_as_it_is(condition, steps_per_execution, tmp_path, monkeypatch):
    loaded, usual = [], evaluate.load_trained
    monkeypatch.setattr(evaluate, "load_trained", lambda *given: loaded.append(given) or usual(*given))
    compute = {"steps_per_execution": steps_per_execution}
    readout = {**TINY["readout"], "at_epochs": [1, 2]}
    config = parse_config({**TINY, "condition": condition, "compute": compute, "readout": readout}).resolved()
    in_hand = train.train_run(config, tmp_path / "run")
    assert not loaded
    from_disk = evaluate.evaluate_run(tmp_path / "run", redo=True)
    assert len(loaded) == 1
    for key in ("epochs", "step", "accuracy", "probes", "measures"):
        assert in_hand[key] == from_disk[key]
    for epoch, found in in_hand["at_epochs"].items():
        assert found["accuracy"] == from_disk["at_epochs"][epoch]["accuracy"]
