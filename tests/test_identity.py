"""A run knows its data, and goes on to more epochs: the commands, as a user meets them."""

import json
import shlex

import numpy as np
import pytest

from closer_tf import evaluate, fused, report, summary, sweep, train
from closer_tf.results import parse
from closer_tf.results import write as write_results
from closer_tf.training.checkpoints import checkpoint_files, load_checkpoint
from closer_tf.training.runs import RunFolder

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 60)
IMAGES = np.clip(RNG.integers(40, 200, (3, 6, 6, 1))[LABELS] + RNG.normal(0, 30, (60, 6, 6, 1)), 0, 255).astype(np.uint8)


def write(path, images=IMAGES, labels=LABELS, **more):
    np.savez(path, x_train=images[:40], y_train=labels[:40], x_test=images[40:], y_test=labels[40:], **more)


def config_of(path="a.npz", **changes):
    return {
        "num_encoders": 2,
        "dataset": {"name": "arrays", "path": path},
        "masks": {"scheme": "gaussian", "fraction": 0.3},
        "encoder": {"type": "mlp", "hidden": [6], "embedding_dim": 3, "dropout": 0.2},
        "training": {"epochs": 1, "batch_size": 10},
        "readout": {"C": [0.1], "max_iter": 20, "conditions": [], "pseudo_likelihood_draws": 1},
        **changes,
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("a.npz")
    (tmp_path / "tiny.json").write_text(json.dumps(config_of()))
    return tmp_path


@pytest.fixture
def run(folder, capsys):
    assert train.main(["tiny.json", "--run-dir", "run"]) == 0
    capsys.readouterr()
    return RunFolder(folder / "run")


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def negative(images=IMAGES):
    return 255 - images


def test_changed_data_is_refused_everywhere(run, folder, capsys):
    before = content(run.path)
    write("b.npz", negative())
    write("a.npz", negative())
    commands = [
        lambda: train.main(["tiny.json", "--run-dir", "run"]),
        lambda: train.main(["tiny.json", "--run-dir", "run", "--dry-run"]),
        lambda: train.main(["tiny.json", "--run-dir", "run", "--set", "dataset.path=b.npz"]),
        lambda: train.main(["tiny.json", "--run-dir", "run", "--set", "training.epochs=2"]),
        lambda: evaluate.main(["run"]),
        lambda: evaluate.main(["run", "--redo"]),
        lambda: evaluate.main(["run", "--set", "dataset.path=b.npz"]),
    ]
    for command in commands:
        assert command() == 2
        said = capsys.readouterr().err
        assert "is not what this run was trained on: training set: inputs differ, in value or order; test set" in said, said
        assert "--run-dir" in said and "data.json" in said and "Traceback" not in said
        assert content(run.path) == before
    assert report.main(["run", "-o", "page.html"]) == 0
    assert "is not what this run was trained on" in (folder / "page.html").read_text()


def test_labels_samples_and_names_are_part_of_the_data(run, capsys):
    labels = np.append(LABELS[:-1], (LABELS[-1] + 1) % 3)
    cases = [
        (dict(labels=labels), "test set: labels differ"),
        (dict(images=IMAGES[:59], labels=LABELS[:59]), "test set: samples 20 then, 19 now"),
        (dict(label_names=np.array(["a", "b", "c"])), "label names: number 0 '0' then, 'a' now"),
        (dict(images=IMAGES[..., [0, 0]]), "training set: shape [6, 6, 1] then, [6, 6, 2] now"),
    ]
    for changes, says in cases:
        write("a.npz", **changes)
        assert evaluate.main(["run"]) == 2
        assert says in capsys.readouterr().err


def test_moved_data_is_the_same_data(run, folder, capsys):
    (folder / "elsewhere").mkdir()
    (folder / "a.npz").rename(folder / "elsewhere" / "b.npz")
    first = run.read_results()
    assert evaluate.main(["run", "--set", "dataset.path=elsewhere/b.npz"]) == 0
    assert run.read_results() == first
    assert train.main(["tiny.json", "--run-dir", "run", "--set", "dataset.path=elsewhere/b.npz"]) == 0
    assert run.load_config().dataset.path == str(folder / "elsewhere" / "b.npz") and run.read_results() == first


def test_a_run_from_before_is_taken_with_a_note(run, capsys):
    known = json.loads(run.data_file.read_text())
    assert run.read_results()["data"] == known["fingerprint"]
    run.data_file.unlink()
    write("a.npz", negative())
    assert evaluate.main(["run"]) == 0
    assert "note: run has no fingerprint of its data" in capsys.readouterr().out
    assert run.read_results()["data"] != known["fingerprint"]  # read out anew
    assert not run.data_file.exists()
    assert train.main(["tiny.json", "--run-dir", "run", "--set", "training.epochs=2"]) == 0
    assert json.loads(run.data_file.read_text())["fingerprint"] == run.read_results()["data"]


def test_results_from_before_are_kept(run):
    results = run.read_results()
    del results["data"]
    run.data_file.unlink()
    write_results(run.results_file, parse(results))
    before = run.results_file.read_bytes()
    evaluate.evaluate_run(run.path)
    assert run.results_file.read_bytes() == before


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"fingerprint": 1, "train": []}'])
def test_a_damaged_record(run, damage, capsys):
    run.data_file.write_text(damage)
    assert evaluate.main(["run"]) == 2
    assert "data.json: damaged" in capsys.readouterr().err


def test_runs_on_different_data_are_not_averaged(run, folder, capsys):
    for seed, images in ((1, IMAGES), (2, negative())):
        write("a.npz", images)
        assert train.main(["tiny.json", "--run-dir", f"run_{seed}", "--set", f"seed={seed}"]) == 0
    capsys.readouterr()
    assert summary.main(["run", "run_1", "-o", "fine"]) == 0
    assert json.loads((folder / "fine.json").read_text())["runs"]["run"]["data"] == run.read_results()["data"]
    assert summary.main(["run", "run_2", "-o", "mixed"]) == 2
    assert "run_2: read out on other data than run" in capsys.readouterr().err
    assert not (folder / "mixed.json").exists()
    assert report.write_report(["run", "run_1", "run_2"], "page.html", embeddings="none")["groups"] == 2
    page = (folder / "page.html").read_text()
    assert "whose data has another content" in page and RunFolder("run_2").read_data()["fingerprint"][:12] in page
    RunFolder("run_2").data_file.unlink()
    assert report.write_report(["run", "run_1", "run_2"], "page.html", embeddings="none")["groups"] == 1


def test_a_sweep_refuses_finished_points_of_other_data(folder, capsys):
    from closer_tf.sweeps.config import load_sweep
    from closer_tf.sweeps.engine import Sweep
    from closer_tf.sweeps.points import mixed_data, sweep_points

    content = {"base": "tiny.json", "set": {"condition": "untrained"}, "seeds": [0, 1], "baselines": []}
    (folder / "sweep.json").write_text(json.dumps(content))
    points = sweep_points(load_sweep("sweep.json"), "sweep.json")
    train.train_run(points[0].config, folder / "runs" / points[0].name)
    states = [outcome.state for outcome in Sweep("sweep", points, folder / "runs").outcomes]
    assert states == ["done", "new"]
    write("a.npz", negative())
    outcomes = Sweep("sweep", points, folder / "runs").outcomes
    assert [outcome.state for outcome in outcomes] == ["failed", "new"]
    assert "is not what this run was trained on" in outcomes[0].error
    capsys.readouterr()
    assert sweep.main(["sweep.json", "--dry-run"]) == 0
    assert "cannot run: " in capsys.readouterr().out
    assert mixed_data(points, folder / "runs") is None
    train.train_run(points[1].config, folder / "runs" / points[1].name)
    assert "were trained on different content under one name" in mixed_data(points, folder / "runs")
    (folder / "a.npz").unlink()  # nothing to compare with: what is done is done
    assert [outcome.state for outcome in Sweep("sweep", points, folder / "runs").outcomes] == ["done", "done"]


def test_trainings_in_one_refuse_changed_data(run, folder, capsys):
    (folder / "both").mkdir()
    run.path.rename(folder / "both" / "seed_0")
    write("a.npz", negative())
    assert fused.main(["tiny.json", "--seeds", "0,1", "--runs-dir", "both", "--set", "training.epochs=2"]) == 2
    assert "is not what this run was trained on" in capsys.readouterr().err
    assert not (folder / "both" / "seed_1").exists()


# ------------------------------------------------------------------------------------------------------ more epochs


def weights_of(run):
    return load_checkpoint(checkpoint_files(run.checkpoints)[0]).arrays


def test_more_epochs_are_those_of_a_run_that_never_ended(folder, capsys):
    assert train.main(["tiny.json", "--run-dir", "straight", "--set", "training.epochs=6"]) == 0
    assert train.main(["tiny.json", "--run-dir", "run", "--set", "training.epochs=3"]) == 0
    run, straight = RunFolder("run"), RunFolder("straight")
    first = run.results_file.read_bytes()
    run.results_before.write_bytes(first)  # as where a readout that began anew was stopped
    half = json.loads(first)
    half["accuracy"].popitem()
    run.results_file.write_text(json.dumps(half))
    capsys.readouterr()
    assert train.main(["tiny.json", "--run-dir", "run", "--set", "training.epochs=6"]) == 0
    said = capsys.readouterr().out
    assert "training.epochs: 6 in place of 3 after epoch 3; noted in changes.json" in said
    assert "going on after epoch 3" in said and "epoch 4/6" in said and "epoch 3/6" not in said
    for a, b in zip(weights_of(run), weights_of(straight), strict=True):
        np.testing.assert_array_equal(a, b)
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in r.read_history()] for r in (run, straight)]
    assert rows[0] == rows[1] and len(rows[0]) == 6
    results = run.read_results()
    assert results["epochs"] == 6 and results["accuracy"] == straight.read_results()["accuracy"]
    assert results["config_digest"] == straight.read_results()["config_digest"] == run.load_config().digest()
    assert (run.path / "results_after_3_epochs.json").read_bytes() == first and not run.results_before.exists()
    assert (run.path / "ensemble_after_3_epochs.keras").exists() and run.ensemble_file.exists()
    [change] = run.changes()
    assert (change["event"], change["epoch"], change["from"], change["to"]) == ("epochs", 3, 3, 6)
    assert train.main(["tiny.json", "--run-dir", "run", "--set", "training.epochs=6"]) == 0  # nothing left to do
    assert len(run.changes()) == 1
    assert report.write_report(["run", "straight"], "page.html", embeddings="none")["groups"] == 1
    assert "6 epochs in place of 3, decided after epoch 3" in (folder / "page.html").read_text()


def test_fewer_epochs_than_done_are_refused(run, capsys):
    assert train.main(["tiny.json", "--run-dir", "run", "--set", "training.epochs=2"]) == 0
    before = content(run.path)
    assert train.main(["tiny.json", "--run-dir", "run"]) == 2
    assert "training.epochs=1: the run has done 2 epochs already; expected at least that many" in capsys.readouterr().err
    assert content(run.path) == before
    assert train.main(["tiny.json", "--run-dir", "run", "--set", "training.epochs=3", "--set", "seed=5"]) == 2
    assert "holds a run of another config" in capsys.readouterr().err


def test_until_the_new_end_the_old_readout_is_not_passed_off(run, folder, monkeypatch, capsys):
    from closer_tf.common.command import Interrupted
    from closer_tf.export import export_run
    from closer_tf.training import loop

    def stopped(*arguments, **options):
        raise Interrupted(2)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "run_training", stopped)
        assert train.main(["tiny.json", "--run-dir", "run", "--set", "training.epochs=4"]) == 130
    assert run.load_config().training.epochs == 4 and run.read_results()["epochs"] == 1
    assert summary.main(["run", "-o", "x"]) == 2
    assert "run: read out after 1 epochs, before its config was changed" in capsys.readouterr().err
    with pytest.raises(Exception, match="no trained ensemble here yet"):
        export_run("run", "exported")
    assert report.write_report(["run"], "page.html", embeddings="none")["runs"] == 1
    page = (folder / "page.html").read_text()
    assert "unfinished: 1 of 4 epochs" in page and "read out under another config" in page
    assert evaluate.main(["run"]) == 0 and run.read_results()["epochs"] == 1
    assert train.main(["tiny.json", "--run-dir", "run", "--set", "training.epochs=2"]) == 0  # fewer again, not yet passed
    assert run.read_results()["epochs"] == 2 and [change["to"] for change in run.changes()] == [4, 2]


def test_without_checkpoints_nothing_is_trained_over(run, capsys):
    for path in checkpoint_files(run.checkpoints):
        path.unlink()
    before = content(run.path)
    for epochs, says in ((2, "has no checkpoint left to go on from"), (1, "no checkpoint to go on from")):
        assert train.main(["tiny.json", "--run-dir", "run", "--set", f"training.epochs={epochs}"]) == 2
        assert says in capsys.readouterr().err
        assert {path: text for path, text in content(run.path).items() if path in before} == before


def test_more_epochs_in_one(folder, capsys):
    arguments = ["tiny.json", "--seeds", "0,1", "--runs-dir", "both"]
    assert fused.main(arguments) == 0
    assert fused.main([*arguments, "--set", "training.epochs=2"]) == 0
    assert "2 trainings in one, after epoch 1" in capsys.readouterr().out
    for seed in (0, 1):
        run = RunFolder(folder / "both" / f"seed_{seed}")
        assert run.read_results()["epochs"] == 2 and (run.path / "results_after_1_epochs.json").exists()
    assert fused.main(arguments) == 2
    assert "has done 2 epochs already" in capsys.readouterr().err


# ------------------------------------------------------------------------------------- what else a config names by its path


def test_a_run_goes_on_where_its_file_of_masks_was_moved(folder, capsys):
    np.save("m.npy", RNG.random((2, 6, 6)) < 0.4)
    arguments = ["tiny.json", "--run-dir", "run", "--set", "condition=untrained", "--set"]
    assert train.main([*arguments, 'masks={"scheme": "custom", "path": "m.npy"}']) == 0
    (folder / "m.npy").rename(folder / "moved.npy")
    moved = [*arguments, 'masks={"scheme": "custom", "path": "moved.npy"}']
    assert train.main(moved) == 2
    said = capsys.readouterr().err
    assert "masks were moved: it keeps them and goes on with --set masks.path=" in said
    assert train.main([*moved, *shlex.split(said.strip().rpartition(" with ")[2])]) == 0


def test_a_changed_file_of_masks_is_refused(folder, capsys):
    masks = RNG.random((2, 6, 6)) < 0.4
    np.save("m.npy", masks)
    arguments = ["tiny.json", "--run-dir", "run", "--set", 'masks={"scheme": "custom", "path": "m.npy"}']
    assert train.main([*arguments, "--set", "condition=untrained"]) == 0
    assert train.main([*arguments, "--set", "condition=untrained"]) == 0
    np.save("m.npy", ~masks)
    before = content(folder / "run")
    assert train.main([*arguments, "--set", "condition=untrained"]) == 2
    assert "m.npy: no longer holds the masks that" in capsys.readouterr().err
    assert content(folder / "run") == before
    (folder / "m.npy").unlink()
    assert train.main([*arguments, "--set", "condition=untrained"]) == 0


def test_panels_note_results_of_different_data(folder):
    from closer_tf.config import parse_config
    from closer_tf.reproduction.results import Found, note_of_mixed_data

    def found(data, run, path="a.npz"):
        return Found(parse_config(config_of(path)), {}, 1, run, None, {"data": data})

    assert note_of_mixed_data([found("1", "a"), found("1", "b"), found(None, "c"), found("2", "d", "b.npz")]) == ""
    assert "a, b were read out on different content" in note_of_mixed_data([found("1", "a"), found("2", "b", "x/a.npz")])


def test_images_of_another_size_without_a_record(run, folder, capsys):
    """As for runs from before: nothing but the masks tells that the data is another."""
    run.data_file.unlink()
    write("a.npz", RNG.integers(0, 255, (60, 5, 7, 1)).astype(np.uint8))
    for command in (lambda: evaluate.main(["run"]), lambda: train.main(["tiny.json", "--run-dir", "run"])):
        assert command() == 2
        assert (
            "the run's receptive fields are for images of 6 x 6 pixels, found stimuli of shape (5, 7, 1)"
            in capsys.readouterr().err
        )


def test_an_export_of_a_run_whose_data_has_changed_says_so(run, folder):
    from closer_tf.export import export_run

    write("a.npz", RNG.integers(0, 255, (60, 5, 7, 1)).astype(np.uint8))
    card = export_run("run", "exported")
    assert card["parity"]["stimuli"].startswith("random stimuli, since the run's are not to be had: run: the data (")


def test_epochs_read_out_on_the_way_stay(folder, capsys):
    asked = ["tiny.json", "--run-dir", "run", "--set", "readout.at_epochs=[1,2,3]"]
    assert train.main(asked) == 0
    run = RunFolder("run")
    first = run.read_results()["at_epochs"]
    assert set(first) == {"1"}
    assert train.main([*asked, "--set", "training.epochs=3"]) == 0
    found = run.read_results()
    assert list(found["at_epochs"]) == ["1", "2", "3"] and found["at_epochs"]["1"] == first["1"] and "not_kept" not in found
    assert evaluate.main(["run", "--set", "readout.knn_neighbours=3"]) == 0
    again = run.read_results()["at_epochs"]
    assert {epoch: it["probes"] for epoch, it in again.items()} == {
        epoch: it["probes"] for epoch, it in found["at_epochs"].items()
    }
    assert all("knn_ensemble" in it["accuracy"] for it in again.values())
