"""What is said of trainings that went wrong without failing, and descriptions that no longer fit."""

import json

import pytest

from closer_tf import evaluate, report, train
from closer_tf.config import load_config, parse_config
from closer_tf.evaluate import advice
from closer_tf.results import parse, write
from closer_tf.training.runs import RunFolder


def parsed(accuracy):
    return parse({"epochs": 5, "accuracy": accuracy, "chance": 0.1, "protocol": {}})


def results_of(trained, untrained, condition="closer"):
    def readouts(values):
        return {name: {"test": value} for name, value in zip(("single", "ensemble"), values)}

    return parsed({condition: readouts(trained), "untrained": readouts(untrained)})


def config_of(**content):
    return parse_config(content).resolved()


def test_below_untrained():
    [note] = advice(results_of((0.5, 0.6), (0.4, 0.7)), config_of(), [])
    assert note.startswith("CLoSeR is below untrained after 5 epochs (ensemble 0.600 against 0.700).")
    assert "--set training.epochs=200, now 100: the run goes on" in note and "--set objective.temperature=640, now 2560" in note
    [note] = advice(results_of((0.3, 0.6), (0.4, 0.7)), config_of(), [])
    assert "(single 0.300 against 0.400, ensemble 0.600 against 0.700)" in note
    for fine in (results_of((0.5, 0.8), (0.4, 0.7)), results_of((0.4, 0.7), (0.402, 0.704)), parsed({})):
        assert advice(fine, config_of(), [{"effective_rank": 3.0}]) == []
    assert advice(results_of((0.1, 0.1), (0.4, 0.7), "untrained"), config_of(condition="untrained"), []) == []


def test_below_untrained_where_there_is_no_temperature():
    for condition, name in (("lpl", "LPL"), ("supervised", "supervised")):
        [note] = advice(results_of((0.1, 0.1), (0.4, 0.7), condition), config_of(condition=condition), [])
        assert note.startswith(f"{name} is below untrained") and "temperature" not in note and "training.epochs=200" in note


def test_below_untrained_past_the_best_epoch():
    """To train longer is no advice then."""
    history = [{"epoch": k, "val_loss": abs(k - 5.0)} for k in range(1, 31)]
    results = results_of((0.3, 0.6), (0.4, 0.7))
    passed, below = advice(results, config_of(training={"epochs": 30}), history)
    assert passed.startswith("val_loss has not improved since epoch 5: 0 there, 25 after epoch 30: in a new folder, keep the")
    assert "(--set training.keep=best), or train for fewer (--set training.epochs=5)" in passed
    assert below.endswith("ensemble 0.600 against 0.700), past its best epoch")
    passed, below = advice(results, config_of(training={"epochs": 30, "keep": "best"}), history)
    assert "what is kept and read out is the best epoch" in passed and "closer_tf diagnose" in below
    assert "training.epochs=60" not in below
    [below] = advice(results, config_of(training={"epochs": 30}), history[:5])
    assert "train longer (--set training.epochs=60, now 30: the run goes on)" in below


def test_an_effective_rank_near_one():
    [note] = advice(results_of((0.5, 0.8), (0.4, 0.7)), config_of(), [{"effective_rank": 3.0}, {"effective_rank": 1.04}])
    assert note.startswith("the effective rank of the embeddings is 1.04 after 2 epochs") and "temperature" in note
    assert advice(results_of((0.5, 0.8), (0.4, 0.7)), config_of(), [{"effective_rank": 1.3}]) == []
    assert advice(results_of((0.5, 0.8), (0.4, 0.7)), config_of(), [{"loss": 1.0}]) == []


def test_notes_are_said_kept_and_reported(tmp_path, tiny_config, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny_config |= {"training": {"epochs": 1, "batch_size": 256}}
    tiny_config["readout"] |= {"conditions": ["untrained"], "pseudo_likelihood_draws": 1}
    (tmp_path / "tiny.json").write_text(json.dumps(tiny_config))
    assert train.main(["tiny.json", "--run-dir", "run"]) == 0
    run = RunFolder("run")
    results = run.read_results()
    results["accuracy"]["untrained"]["ensemble"]["test"] = 1.0
    results.pop("notes", None)
    write(run.results_file, parse(results))
    capsys.readouterr()
    assert evaluate.main(["run"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "note: CLoSeR is below untrained after 1 epoch" in said and "against 1.000" in said
    [note] = [note for note in run.read_results()["notes"] if "below untrained" in note]
    report.write_report(["run"], "page.html", embeddings="none")
    assert "CLoSeR is below untrained after 1 epoch" in (tmp_path / "page.html").read_text()
    stored = run.results_file.read_bytes()
    assert evaluate.main(["run"]) == 0 and run.results_file.read_bytes() == stored
    assert evaluate.main(["run", "--redo"]) == 0
    assert "against 1.000" not in json.dumps(run.read_results().get("notes", []))


@pytest.mark.parametrize(
    "overrides, expected",
    [
        ([], "Figure 2b: published .432"),
        (
            ["seed=3", "readout.knn_neighbours=5", "dataset.data_dir=x", "training.keep_checkpoints=3"],
            "Figure 2b: published .432",
        ),
        (["training.epochs=20", "seed=1"], "Figure 2b: published .432 [f.json with other training.epochs]"),
        (['dataset={"name": "digits"}', "training.epochs=20"], "f.json with other dataset, training.epochs"),
        (["dataset.test_fraction=0.5"], "f.json with other dataset.test_fraction"),
        (["condition=supervised"], "f.json with other condition"),
        (["condition=supervised", "description=mine"], "mine"),
    ],
)
def test_a_description_that_no_longer_fits(tmp_path, overrides, expected):
    (tmp_path / "f.json").write_text(json.dumps({"description": "Figure 2b: published .432", "dataset": {"name": "cifar10"}}))
    if "dataset.test_fraction=0.5" in overrides:
        (tmp_path / "f.json").write_text(
            json.dumps({"description": "Figure 2b: published .432", "dataset": {"name": "digits"}})
        )
    assert load_config(tmp_path / "f.json", overrides).description == expected
    (tmp_path / "f.json").write_text(json.dumps({"dataset": {"name": "digits"}}))
    without = [over for over in overrides if not over.startswith(("description", "dataset.data_dir"))]
    assert load_config(tmp_path / "f.json", without).description == ""
