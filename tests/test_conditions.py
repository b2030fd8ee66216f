"""The table of conditions: a new one is a row and a function, and nothing else knows the names."""

import ast
import inspect
import json
from pathlib import Path

import pytest

from closer_tf import plots, report, summary
from closer_tf.config import CONDITIONS, conditions, json_schema, parse_config
from closer_tf.config.conditions import Condition, function_of
from closer_tf.config.objective import TermWeights
from closer_tf.errors import ConfigError
from closer_tf.report.accuracy import accuracy_rows
from closer_tf.report.reading import group_runs, read_run
from closer_tf.sweeps.config import parse_sweep
from closer_tf.sweeps.points import is_finished, sweep_points
from closer_tf.train import train_run
from closer_tf.training.runs import RunFolder

PACKAGE = Path(conditions.__file__).parents[1]


def scaled_loss(compute, temperature):
    """CLoSeR's loss over all pairs, as a condition of another name that has a temperature alone."""
    from closer_tf.nn.objectives import CLoSeRLoss

    return CLoSeRLoss(temperature, max_memory_mb=compute.loss_memory_mb)


def row(**changes):
    usual = {"title": "Scaled", "colour": "#123456", "reads": "encoders", "learns_from": ("encoders",)}
    return Condition(**{**usual, "objective": ("temperature",), "loss": f"{__name__}:scaled_loss", **changes})


def test_a_new_condition_is_a_row_and_a_function(tmp_path, tiny_config, monkeypatch, capsys):
    monkeypatch.setitem(CONDITIONS, "scaled", row())
    assert "scaled" in json_schema()["$defs"]["RunConfig"]["properties"]["condition"]["enum"]
    tiny_config |= {"condition": "scaled"}
    tiny_config["training"]["epochs"] = 1
    tiny_config["readout"] |= {"pseudo_likelihood_draws": 1, "conditions": ["untrained"]}
    folders = [tmp_path / name for name in ("warm", "cold")]
    for folder, temperature in zip(folders, (40.0, 10.0)):
        results = train_run(parse_config(tiny_config | {"objective": {"temperature": temperature}}), folder)
        assert set(results["accuracy"]) == {"scaled", "untrained"}
        assert (folder / "figures" / "accuracy.png").exists()
        assert not (folder / "figures" / "interaction_graph.png").exists()  # it has none
    assert "Scaled" in capsys.readouterr().out
    # runs that differ in what the condition has are no seeds of each other; what it has not makes no difference
    names = {"untrained", "scaled, objective.temperature=40.0", "scaled, objective.temperature=10.0"}
    assert set(summary.summarise(folders)["accuracy"]) == names
    assert summary.main([*map(str, folders), "-o", str(tmp_path / "both")]) == 0 and (tmp_path / "both.png").exists()
    page = tmp_path / "page.html"
    assert report.main([*map(str, folders), "-o", str(page), "--details", "0"]) == 0
    assert "Scaled" in page.read_text() and "#123456" in page.read_text()
    rows = accuracy_rows(group_runs([read_run(folder) for folder in folders]))
    assert [found["name"] for found in rows] == ["untrained", "Scaled"] * 2
    points = sweep_points(parse_sweep({"base": tiny_config, "baselines": ["untrained"]}))
    assert [point.config.condition for point in points] == ["scaled", "untrained"] and points[0].trained
    assert is_finished(RunFolder(folders[0]), RunFolder(folders[0]).load_config())


@pytest.mark.parametrize(
    "mistake",
    [
        {"objective": ()},  # its loss needs a temperature
        {"objective": ("temperature", "stop_gradient")},  # and nothing else
        {"loss": f"{__name__}:not_there"},
    ],
)
def test_what_is_forgotten_fails_before_training(tmp_path, tiny_config, monkeypatch, mistake):
    monkeypatch.setitem(CONDITIONS, "scaled", row(**mistake))
    with pytest.raises((TypeError, AttributeError)):
        train_run(parse_config(tiny_config | {"condition": "scaled"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "mistake, says",
    [
        ({"reads": "embeddings"}, "reads: expected 'encoders', 'masked input', 'principal components' or 'input'"),
        ({"learns_from": ("encoder",)}, "learns_from: expected some of"),
        ({"learns_from": ()}, "learns_from, loss: expected both"),
        ({"loss": None}, "learns_from, loss: expected both"),
        ({"reads": "input"}, "reads: expected 'encoders' of what is trained"),
        ({"objective": ("weights",)}, "weights: expected the paper's where"),
        ({"weights": {"var": 1.0}}, "weights: expected the paper's where"),
    ],
)
def test_a_row_that_cannot_be(mistake, says):
    with pytest.raises(ValueError, match=says):
        row(**mistake)


def test_every_row_has_what_its_loss_takes():
    for name, condition in CONDITIONS.items():
        given = [key for key in condition.objective if key != "local"]  # the loss is put at every layer afterwards
        if condition.trained:
            inspect.signature(function_of(condition.loss)).bind(None, **dict.fromkeys(given))
        assert set(condition.weights) <= set(TermWeights.model_fields), name


def test_nobody_else_lists_conditions():
    """Names of conditions stand in the table alone; elsewhere one is a default, or the name of a model."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in CONDITIONS:
                found.add((str(path.relative_to(PACKAGE)), node.value))
    assert {(file, name) for file, name in found if file != "config/conditions.py"} == {
        ("config/run_config.py", "closer"),  # defaults
        ("config/readout.py", "masked_input"),
        ("sweeps/config.py", "masked_input"),
        ("nn/temporal.py", "tcloser"),
        ("training/experiment.py", "closer"),  # what a model that is not trained is compiled with
        ("nn/ensemble.py", "closer"),  # names of models
        ("nn/objectives.py", "supervised"),
        ("estimator.py", "closer"),
        ("report/__init__.py", "pca"),  # how embeddings are drawn
        ("report/embeddings.py", "pca"),
        ("report/drawing.py", "untrained"),  # a class of the page's style sheet
        ("report/__init__.py", "pca"),  # a way to draw embeddings
        ("report/embeddings.py", "pca"),
    }


def test_conditions_of_another_version_are_drawn_and_refused_where_they_are_compared(tmp_path):
    values = {"single": {"test": 0.5, "per_encoder": [0.4, 0.6]}, "ensemble": {"test": 0.6}}
    accuracy = {"later": values, "closer": values}
    figure = plots.plot_accuracy(accuracy)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["CLoSeR", "later"]
    plots.plot_encoder_accuracy(accuracy, ["a", "b"])
    plots.plot_violins({name: {"single": [0.5, 0.6]} for name in ("later, seed=3", "closer")})
    config = parse_config({}).resolved()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(config.to_json())
    results = {"accuracy": accuracy, "protocol": {"probe": "logistic"}, "chance": 0.1, "measures": {}, "epochs": 1}
    results |= {"samples": {"train": 9, "validation": 1, "test": 5}, "seconds": {}, "versions": {}}
    (tmp_path / "run" / "results.json").write_text(json.dumps(results))
    with pytest.raises(ConfigError, match="condition 'later': expected one of masked_input, full_input, .*another version"):
        summary.summarise([tmp_path / "run"])
