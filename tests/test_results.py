"""results.json: what is read of it, what is said of damage, and that it is written as it was."""

import json
from pathlib import Path

import pytest

import closer_tf
from closer_tf import results
from closer_tf.errors import RunError
from closer_tf.summary import read_summary, summarise

REPOSITORY = Path(__file__).resolve().parents[1]
SUMMARIES = [path for path in sorted((REPOSITORY / "results").glob("*.json")) if "runs" in json.loads(path.read_text())]

WHOLE = {
    "config_digest": "ab12",
    "changes": [{"event": "epochs", "epoch": 1, "step": 0, "from": 1, "to": 2}],
    "epochs": 2,
    "step": 3,
    "protocol": {
        "name": "published",
        "probe": "multinomial logistic regression",
        "C": [0, 1.0],
        "max_iter": 100,
        "validation_fraction": 0.1,
        "knn_neighbours": None,
        "seed": 7,
    },
    "dataset": "digits",
    "simulated": False,
    "chance": 0.1,
    "samples": {"train": 8, "validation": 2, "test": 5},
    "data": None,
    "versions": {"python": "3.11.7"},
    "compute": {"backend": "tensorflow", "precision": "float32", "device": "processor"},
    "accuracy": {
        "full_input": {"ensemble": {"test": 1.0, "validation": 0.5}},
        "closer": {
            "single": {"test": 0.3, "validation": 0.25, "per_encoder": [0.2, 0.4]},
            "ensemble": {"test": 0.6, "validation": 0.5},
            "majority_vote": {"test": 0.4},
        },
    },
    "probes": {
        "closer": {
            "ensemble": {
                "C": 1.0,
                "validation": 0.5,
                "test": 0.6,
                "iterations": 9,
                "converged": True,
                "fits": [{"C": 0, "validation": 0.4, "iterations": 100, "converged": False}],
            }
        }
    },
    "measures": {
        "closer": {
            "alignment": 0.1,
            "agreement": None,
            "class_pseudo_likelihood": {"temperature": 16, "draws": 2, "per_encoder": [[[0.5, 0.5], [0.25, 0.75]]] * 2},
        }
    },
    "seconds": {"closer": 0.2},
    "peak_memory_gb": 1.25,
    "at_epochs": {
        "2": {"accuracy": {"single": {"test": 0.2}}, "probes": {}, "seconds": 0.1, "config_digest": "ab12", "weights": "x"},
        "10": {"accuracy": {"ensemble": {"test": 0.3}}, "probes": {}, "seconds": 0.1, "config_digest": "ab12", "weights": "y"},
    },
    "not_kept": [1],
    "areas": ["VISp", "LGd"],
    "notes": ["a note"],
}
OLDEST = {  # from before measures, steps and data sets were noted
    "config_digest": "ab12",
    "epochs": 2,
    "protocol": {"probe": "multinomial logistic regression", "C": [0.0], "max_iter": 100},
    "chance": 0.1,
    "samples": {"train": 8, "validation": 2, "test": 5},
    "versions": {},
    "accuracy": {"closer": {"single": {"test": 0.3, "per_encoder": [0.2, 0.4]}}},
    "probes": {},
    "seconds": {"closer": 0.2},
}


@pytest.mark.parametrize("content", [WHOLE, OLDEST, OLDEST | {"of_a_later_version": {"a": [1, 2.5]}}])
def test_what_is_read_is_written_again_to_the_byte(tmp_path, content):
    file = tmp_path / "results.json"
    file.write_text(json.dumps(content, indent=2) + "\n")
    stored = file.read_bytes()
    results.write(file, results.read(file))
    assert file.read_bytes() == stored


def test_what_a_file_says():
    found = results.parse(WHOLE)
    assert found.score == "accuracy" and found.chance_level == 0.1 and list(found.over_epochs()) == [2, 10]
    assert found.accuracy["closer"]["single"].per_encoder == [0.2, 0.4]
    assert results.each_encoder(found.accuracy["closer"]) == [0.2, 0.4]
    assert results.each_encoder(found.accuracy["full_input"]) == []
    assert found.measures["closer"].class_pseudo_likelihood.draws == 2
    by_number = results.parse(WHOLE | {"protocol": {"probe": "ridge regression on z-scored features, judged by R^2"}})
    assert by_number.score == "R^2" and by_number.chance_level is None
    oldest = results.parse(OLDEST)
    assert (oldest.step, oldest.measures, oldest.notes, oldest.data) == (0, {}, [], None)


def test_keys_that_are_taken_out_are_not_written():
    found = results.parse(WHOLE)
    found.absent("at_epochs", "notes")
    assert found.to_dict() == {key: value for key, value in WHOLE.items() if key not in ("at_epochs", "notes")}
    found.notes = ["another"]
    assert found.to_dict()["notes"] == ["another"] and list(found.to_dict())[-1] == "notes"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"accuracy": 3}, "accuracy: expected an object of keys and values, found 3"),
        ({"chance": None}, "chance: expected a finite number, found null"),
        ({"chance": float("inf")}, "chance: expected a finite number, found Infinity"),
        ({"epochs": "2"}, 'epochs: expected a valid integer, found "2"'),
        (
            {"accuracy": {"closer": {"single": {"validation": 0.1}}}},
            "accuracy.closer.single.test: this key is required",
        ),
        (
            {"accuracy": {"closer": {"single": {"test": 0.1, "per_encoder": [0.1, True]}}}},
            "accuracy.closer.single.per_encoder.1: expected a finite number, found true",
        ),
        ({"at_epochs": {"three": {"accuracy": {}}}}, "at_epochs.three: expected String should match pattern"),
    ],
)
def test_damage_is_named(tmp_path, change, message):
    file = tmp_path / "results.json"
    file.write_text(json.dumps(WHOLE | change))
    with pytest.raises(RunError) as caught:
        results.read(file)
    assert str(caught.value).startswith(f"{file}: damaged: {message}")
    assert str(caught.value).endswith("; remove it and read out again")


@pytest.mark.parametrize("text", ["", "[3]", "3", "{", "[" * 100_000])
def test_a_file_that_is_no_object(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(RunError, match="results.json: damaged: .*remove it and read out again"):
        results.read(tmp_path / "results.json")
    assert results.peak_so_far(tmp_path / "results.json") == 0.0
    assert results.read(tmp_path / "none.json") is None and results.peak_so_far(tmp_path / "none.json") == 0.0


@pytest.mark.parametrize("path", SUMMARIES, ids=lambda path: path.stem)
def test_committed_results_are_read(path):
    summary = json.loads(path.read_text())
    found = read_summary(path)
    assert set(found) == set(summary["runs"])
    for name, (_, of_run) in found.items():
        assert of_run.chance == summary["chance"] and of_run.epochs == summary["runs"][name]["epochs"]
        assert of_run.protocol.to_dict() == summary["runs"][name]["protocol"]
        assert of_run.versions == summary["runs"][name]["versions"]
    values = {value for readouts in summary["accuracy"].values() for of in readouts.values() for value in of["test"]}
    shown = [of_run.accuracy.values() for _, of_run in found.values()]
    assert {score.test for conditions in shown for readouts in conditions for score in readouts.values()} == values


@pytest.mark.parametrize("path", SUMMARIES, ids=lambda path: path.stem)
def test_a_committed_summary_stands_for_its_runs(path):
    stored = json.loads(path.read_text())
    older = {"score": "accuracy", "simulated": False}  # what files of earlier versions do not say
    assert json.loads(json.dumps(summarise([path]))) == {**older, **{k: value for k, value in stored.items() if k != "title"}}


def test_nobody_else_interprets_the_file():
    folder = Path(closer_tf.__file__).parent
    told = [path for path in folder.rglob("*.py") if 'startswith("ridge")' in path.read_text()]
    assert told == [folder / "results.py"]
