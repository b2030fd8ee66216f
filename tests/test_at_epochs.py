"""Accuracy over epochs: weights kept as the training passes, read out once, and shown."""

import json
import os
import shutil
import signal

import keras
import numpy as np
import pytest

from closer_tf import evaluate, plots, report, summary
from closer_tf.analysis import over_epochs
from closer_tf.analysis.published import published_values
from closer_tf.common.command import Interrupted
from closer_tf.config import load_config, parse_config
from closer_tf.errors import CloserWarning, ConfigError, DivergedError, RunError
from closer_tf.fused import train_fused
from closer_tf.results import parse, write
from closer_tf.sweeps.points import baseline_config, is_finished
from closer_tf.train import dry_run, train_run
from closer_tf.training.checkpoints import PATTERN, begin_weights, checkpoint_files, load_checkpoint, load_weights
from closer_tf.training.loop import RunRecord
from closer_tf.training.runs import RunFolder

PUBLISHED = {"name": "published", "max_iter": 100}


def tiny(at_epochs=(), epochs=3, **changes):
    """A config of 4 steps per epoch, whose only checkpoints are those at the end and when it is stopped."""
    content = {
        "num_encoders": 3,
        "augmentation": {"rotation": 0.02, "zoom": 0.1},
        "masks": {"scheme": "gaussian", "fraction": 0.25},
        "encoder": {"type": "mlp", "hidden": [8], "embedding_dim": 4, "dropout": 0.2},
        "training": {"epochs": epochs, "batch_size": 400, "checkpoint_every": 100},
        "readout": {
            "C": [0.01],
            "max_iter": 20,
            "conditions": ["untrained"],
            "at_epochs": list(at_epochs),
            "pseudo_likelihood_draws": 2,
        },
    }
    for key, value in changes.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    return parse_config(content).resolved()


class At(keras.callbacks.Callback):
    """Does something at the first step of an epoch, which is counted from 0."""

    def __init__(self, epoch, work):
        super().__init__()
        self.at, self.work = epoch, work

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == (self.at, 0):
            self.work()


def stop():
    os.kill(os.getpid(), signal.SIGINT)


class Killed(Exception):
    """Stands for a process that ends at once."""


def kill():
    raise Killed


def files(folder):
    return [path.name for path in checkpoint_files(folder)[::-1]]


def accuracies(results):
    return {epoch: found["accuracy"] for epoch, found in results["at_epochs"].items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never stopped, of 3 epochs, read out at 0, 1 and 2: (its folder, results)."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, train_run(tiny([0, 1, 2]), folder)


@pytest.mark.parametrize("condition", ["closer", pytest.param("supervised", marks=pytest.mark.slow)])
def test_kept_weights_are_those_of_a_training_of_so_many_epochs(whole, tmp_path, condition):
    folder, results = whole
    if condition == "supervised":
        folder = tmp_path / "whole"
        results = train_run(tiny([0, 1, 2], condition=condition), folder)
    assert files(folder / "weights") == [PATTERN.format(1, 0), PATTERN.format(2, 0)]
    assert files(folder / "checkpoints") == [PATTERN.format(3, 0)]
    shorter = train_run(tiny(epochs=2, condition=condition), tmp_path / "shorter")
    expected = load_checkpoint(tmp_path / "shorter" / "checkpoints" / PATTERN.format(2, 0)).arrays
    kept = load_checkpoint(folder / "weights" / PATTERN.format(2, 0))
    assert 0 < len(kept.arrays) < len(expected) and kept.epoch == 2
    for one, other in zip(kept.arrays, expected):
        np.testing.assert_array_equal(one, other)
    assert list(results["at_epochs"]) == ["0", "1", "2"] and "not_kept" not in results
    assert accuracies(results)["0"] == results["accuracy"]["untrained"] == shorter["accuracy"]["untrained"]
    assert accuracies(results)["2"] == shorter["accuracy"][condition] != accuracies(results)["1"]
    assert "at_epochs" not in shorter and not (tmp_path / "shorter" / "weights").exists()
    assert tiny([0, 1, 2]).digest() == tiny().digest()


def test_killed_between_weights_and_checkpoint(whole, tmp_path, monkeypatch):
    """What was kept beyond the checkpoint is trained again, and not there until it is."""
    config, folder = tiny([0, 1, 2], training={"checkpoint_every": 1}), tmp_path / "run"
    usual = RunRecord.save
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(
            RunRecord, "save", lambda self, epoch, *rest, **how: kill() if epoch == 2 else usual(self, epoch, *rest, **how)
        )
        train_run(config, folder)
    assert files(folder / "checkpoints") == [PATTERN.format(1, 0)]
    beyond = folder / "weights" / PATTERN.format(2, 0)
    assert beyond.exists()
    beyond.write_bytes((folder / "weights" / PATTERN.format(1, 0)).read_bytes())
    seen = []
    results = train_run(config, folder, callbacks=[At(1, lambda: seen.append(beyond.exists()))])
    assert seen == [False]
    assert beyond.read_bytes() != (folder / "weights" / PATTERN.format(1, 0)).read_bytes()
    assert accuracies(results) == accuracies(whole[1])


def test_an_unfinished_run_is_read_out_as_far_as_it_is_and_each_epoch_once(whole, tmp_path, monkeypatch, capsys):
    config, folder = tiny([0, 1, 2]), tmp_path / "run"
    with pytest.raises(Interrupted):
        train_run(config, folder, callbacks=[At(1, stop)])
    fitted, usual = [], over_epochs.probe
    monkeypatch.setattr(over_epochs, "probe", lambda *given: fitted.append(given[-1]) or usual(*given))
    assert evaluate.main([str(folder)]) == 0
    said = capsys.readouterr().out
    assert "over epochs (chance 0.102)" in said and "readout.at_epochs: 2 not reached yet, after 1 epoch\n" in said
    assert accuracies(RunFolder(folder).read_results()) == {key: accuracies(whole[1])[key] for key in ("0", "1")}
    before = (folder / "results.json").read_bytes()
    evaluate.evaluate_run(folder)
    assert fitted == ["CLoSeR after 1 epoch"] and (folder / "results.json").read_bytes() == before
    results = train_run(config, folder)
    assert fitted == ["CLoSeR after 1 epoch", "CLoSeR after 2 epochs"]
    assert accuracies(results) == accuracies(whole[1]) and results["epochs"] == 3
    evaluate.evaluate_run(folder, overrides=["readout.C=[1.0]"])  # another protocol
    assert fitted[2:] == ["CLoSeR after 1 epoch", "CLoSeR after 2 epochs"]
    evaluate.evaluate_run(folder, overrides=["readout.C=[1.0]", "readout.at_epochs=[3]"])  # its last epoch, which is read out
    assert len(fitted) == 4
    found = RunFolder(folder).read_results()
    assert list(found["at_epochs"]) == ["0", "1", "2", "3"]
    assert found["at_epochs"]["3"]["accuracy"] == found["accuracy"]["closer"]


def test_a_key_that_comes_late(whole, tmp_path, capsys):
    late = {"checkpoint_every": 1, "keep_checkpoints": 1}
    config, folder = tiny([0, 1, 2, 3], training=late), tmp_path / "run"
    with pytest.raises(Killed):
        train_run(tiny(training=late), folder, callbacks=[At(2, kill)])
    assert files(folder / "checkpoints") == [PATTERN.format(2, 0)]
    capsys.readouterr()
    results = train_run(config, folder)
    assert results["not_kept"] == [1] and list(results["at_epochs"]) == ["0", "2", "3"]
    assert accuracies(results)["2"] == accuracies(whole[1])["2"]  # from the checkpoint that was still there
    assert files(folder / "weights") == [PATTERN.format(2, 0), PATTERN.format(3, 0)]
    assert "readout.at_epochs: 1 cannot be read out: trained before readout.at_epochs asked" in capsys.readouterr().out
    run = RunFolder(folder)
    assert is_finished(run, config) and is_finished(run, tiny(training=late))
    write(run.results_file, parse({key: value for key, value in results.items() if key != "at_epochs"}))
    assert not is_finished(run, config) and is_finished(run, tiny(training=late))
    (folder / "weights" / PATTERN.format(1, 0)).write_bytes((whole[0] / "weights" / PATTERN.format(1, 0)).read_bytes())
    again = evaluate.evaluate_run(folder)
    assert "not_kept" not in again and accuracies(again)["1"] == accuracies(whole[1])["1"]


def test_after_a_change_of_the_learning_rate(tmp_path, monkeypatch):
    from closer_tf.data import streams
    from closer_tf.nn import tensorflow

    usual, left = streams.batches, [9]  # the first step of epoch 3; only once

    def with_nan(*given, **options):
        for inputs, labels in usual(*given, **options):
            left[0] -= 1
            yield inputs.astype(np.float32) * (np.nan if left[0] == 0 else 1.0), labels

    monkeypatch.setattr(tensorflow, "training_stream", with_nan)
    every = {"checkpoint_every": 1}
    config, folder = tiny([1, 2], training=every), tmp_path / "run"
    with pytest.raises(DivergedError):
        train_run(config, folder)
    first = evaluate.evaluate_run(folder)
    stale = (folder / "weights" / PATTERN.format(2, 0)).read_bytes()
    (folder / "checkpoints" / PATTERN.format(2, 0)).unlink()  # as if damaged: the run goes back to epoch 1
    lower = _lowered(config)
    results = train_run(lower, folder)
    assert accuracies(results)["1"] == accuracies(first)["1"]
    assert results["at_epochs"]["2"]["weights"] != first["at_epochs"]["2"]["weights"]
    digests = [results["at_epochs"][epoch]["config_digest"] for epoch in ("1", "2")]
    assert digests == [config.digest(), lower.digest()]
    (folder / "weights" / PATTERN.format(2, 0)).write_bytes(stale)
    (folder / "checkpoints" / PATTERN.format(2, 0)).unlink()  # which would serve
    with pytest.warns(CloserWarning, match="not of this training after 2 epochs: of another config or learning rate"):
        assert load_weights(RunFolder(folder), lower, 2) is None


def _lowered(config):
    return config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"learning_rate": 1e-4})})


def test_full_checkpoints_damaged_files_and_strangers(whole, tmp_path):
    folder = shutil.copytree(whole[0], tmp_path / "run")
    run, config = RunFolder(folder), tiny([1, 2])
    two = folder / "weights" / PATTERN.format(2, 0)
    two.write_bytes(two.read_bytes()[:500])
    run.results_file.unlink()
    with pytest.warns(CloserWarning, match="epoch-00002-step-000000.npz: not a readable checkpoint"):
        results = evaluate.evaluate_run(folder, overrides=["readout.at_epochs=[2]"])
    assert results["not_kept"] == [2] and "at_epochs" not in results
    shutil.move(folder / "checkpoints" / PATTERN.format(3, 0), folder / "weights")
    run.ensemble_file.unlink()
    found = evaluate.evaluate_run(folder, overrides=["readout.at_epochs=[3]"])  # a full checkpoint, and no other is there
    assert found["epochs"] == 0 and accuracies(found)["3"] == results["accuracy"]["closer"]
    shutil.copy(folder / "weights" / PATTERN.format(1, 0), two)  # another epoch under this name
    with pytest.warns(CloserWarning, match="not of this training after 2 epochs"):
        assert load_weights(run, config, 2) is None


def test_a_damaged_checkpoint_is_not_kept(whole, tmp_path):
    folder = shutil.copytree(whole[0], tmp_path / "run")
    checkpoint, kept = (folder / name / PATTERN.format(3, 0) for name in ("checkpoints", "weights"))
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[:-100])
    with pytest.warns(
        CloserWarning, match="not a readable checkpoint: .*; its weights, which are to be read out, are not kept"
    ):
        begin_weights(RunFolder(folder), tiny([3]), 3)
    assert not kept.exists()
    checkpoint.write_bytes(content)
    shutil.rmtree(folder / "weights")
    (folder / "weights").write_text("in the way")
    with pytest.raises(RunError, match="weights"):
        begin_weights(RunFolder(folder), tiny([3]), 3)
    (folder / "weights").unlink()
    begin_weights(RunFolder(folder), tiny([3]), 3)
    assert kept.read_bytes() == content


def test_trainings_in_one_keep_each_runs_weights(tmp_path):
    every = {"checkpoint_every": 1, "keep_checkpoints": 9}
    alone = {"epochs": 2, "training": every, "readout": {"after_training": False}}
    configs = [tiny([1] if seed else [2], seed=seed, **alone) for seed in (0, 1)]
    folders = [tmp_path / str(seed) for seed in (0, 1)]
    train_fused(configs, folders)
    for folder, epoch in zip(folders, (2, 1)):
        assert files(folder / "weights") == [PATTERN.format(epoch, 0)]
        kept, whole = (load_checkpoint(folder / name / PATTERN.format(epoch, 0)).arrays for name in ("weights", "checkpoints"))
        for one, other in zip(kept, whole):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("epochs", [[2, 1], [1, 1], [-1], 3, [1.5]])
def test_what_is_no_list_of_epochs(epochs):
    with pytest.raises(ConfigError, match="readout.at_epochs.*: expected"):
        parse_config({"readout": {"at_epochs": epochs}})


def test_epochs_that_the_training_does_not_reach(tmp_path, capsys):
    config = tiny([1, 3, 4, 1000])
    assert config.read_out_at() == [1, 3]
    dry_run(config, tmp_path / "run", timed_steps=1)
    said = capsys.readouterr().out
    assert "accuracy over epochs: after 1, 3 epochs\n" in said and "GB of weights of 2 epochs (readout.at_epochs)" in said
    assert "readout.at_epochs: 4, 1000 left out: past the 3 epochs of the training (training.epochs)" in said
    untrained = tiny([1], condition="untrained")
    assert over_epochs.missing(untrained) == ["readout.at_epochs: 1 left out: condition 'untrained' trains nothing"]
    assert baseline_config(config, "untrained").readout.at_epochs == []


# ------------------------------------------------------------------------------------------------------------- shown


def copied(folder, to, seed, shift):
    """The same run with another seed and its accuracies shifted."""
    shutil.copytree(folder, to)
    content = json.loads((folder / "config.json").read_text()) | {"seed": seed, "seeds": {}}
    config = parse_config(content).resolved()
    (to / "config.json").write_text(config.to_json())
    results = json.loads((folder / "results.json").read_text()) | {"config_digest": config.digest()}
    of_untrained = results["accuracy"]["untrained"]
    for readouts in [of_untrained, *(found["accuracy"] for found in results["at_epochs"].values())]:
        for found in readouts.values():
            found["test"] += shift
    (to / "results.json").write_text(json.dumps(results))
    return to


def test_the_summary_has_means_over_seeds_for_each_epoch(whole, tmp_path, capsys):
    other = copied(whole[0], tmp_path / "other", 1, 0.1)
    assert summary.main([str(whole[0]), str(other), "-o", str(tmp_path / "out" / "all")]) == 0
    found = json.loads((tmp_path / "out" / "all.json").read_text())
    assert list(found["at_epochs"]) == ["0", "1", "2"] and found["published"] == {}
    value = accuracies(whole[1])["2"]["single"]["test"]
    single = found["at_epochs"]["2"]["closer"]["single"]
    assert single["mean"] == pytest.approx(value + 0.05) and single["sd"] == pytest.approx(0.1 / 2**0.5)
    assert f"{single['mean']:.4f} +- {single['sd']:.4f} (sd, 2 seeds)  after 2 epochs" in capsys.readouterr().out
    assert (tmp_path / "out" / "all_accuracy_over_epochs.png").exists()
    summary.read_summary(tmp_path / "out" / "all.json")
    plain = json.loads((other / "results.json").read_text())
    del plain["at_epochs"]
    (other / "results.json").write_text(json.dumps(plain))
    assert not {"at_epochs", "published"} & set(summary.summarise([other]))


def test_the_report_has_a_table_and_a_picture(whole, tmp_path):
    folders = [whole[0], copied(whole[0], tmp_path / "other", 1, 0.1)]
    out = tmp_path / "report.html"
    report.write_report(folders, out, embeddings="none")
    page = out.read_text(encoding="utf-8")
    mean = accuracies(whole[1])["2"]["ensemble"]["test"] + 0.05
    assert "Test accuracy after so many epochs of training" in page and "0 (untrained)" in page
    assert f'data-name="CLoSeR, ensemble, after 2 epochs, mean of 2 seeds" data-v="{mean:.4f}"' in page
    results = json.loads((folders[1] / "results.json").read_text())
    (folders[1] / "results.json").write_text(json.dumps(results | {"not_kept": [2], "at_epochs": {}}))
    report.write_report(folders[1:], out, embeddings="none")
    page = out.read_text(encoding="utf-8")
    assert "not read out after 2 epochs: weights not kept" in page and "Accuracy over epochs" not in page


def test_the_picture(whole):
    assert (whole[0] / "figures" / "accuracy_over_epochs.png").exists()
    curves = {"closer": {"single": {0: [0.3], 20: [0.35], 50: [0.36], 1000: [0.41]}}}
    published = {"closer": {"single": {"mean": 0.4185, "epochs": 1000}}}
    figure = plots.plot_accuracy_over_epochs(curves, 0.1, {"single": 0.305}, published, "CLoSeR")
    axis = figure.axes[0]
    assert axis.get_xscale() == "log" and "epochs" in axis.get_xlabel()
    assert [label.get_text() for label in axis.get_xticklabels()] == ["20", "50", "1000"]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == [
        "CLoSeR, after 1000 epochs: 0.410",
        "published, 1000 epochs: 0.418",
        "untrained, 0 epochs: 0.305",
        "chance: 0.100",
    ]
    np.testing.assert_array_equal(axis.lines[0].get_xdata(), [20, 50, 1000])
    several = {"closer, a=1": {"single": {1: [0.1, 0.2], 2: [0.2, 0.4]}}, "closer, a=2": {"single": {1: [0.2], 2: [0.3]}}}
    axis = plots.plot_accuracy_over_epochs(several).axes[0]
    assert axis.get_xscale() == "linear" and "(mean and sd of 2 seeds)" in axis.get_legend().get_texts()[0].get_text()


def test_the_published_value_of_five_encoders():
    from conftest import REPOSITORY

    config = load_config(REPOSITORY / "run_configs" / "mlp_gaussian.json", ["num_encoders=5"])
    found = published_values(config, "closer", PUBLISHED)
    assert list(found) == ["single"] and found["single"]["mean"] == pytest.approx(0.4185, abs=5e-4)
    for weight, same in ((0, True), (0.1, False)):  # a push of weight 0 is none
        push = f'objective.push={{"graph": {{"family": "star"}}, "weight": {weight}}}'
        config = load_config(REPOSITORY / "run_configs" / "mlp_gaussian.json", ["num_encoders=5", push])
        assert (published_values(config, "closer", PUBLISHED) == found) == same
    assert found["single"]["epochs"] == 1000 and not published_values(config, "closer", {**PUBLISHED, "max_iter": 20})
