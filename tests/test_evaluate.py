"""What the readout notes beside accuracies."""

import json
import re

import pytest

from closer_tf import evaluate, memory, train


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


def test_peak_memory_grows_with_what_is_held():
    before = memory.peak_memory_gb()
    held = bytearray(b"x") * int((before + 0.2) * 2**30)
    assert memory.peak_memory_gb() >= before + 0.19
    del held


def test_draws_are_those_asked_for(run):
    likelihood = json.loads((run / "results.json").read_text())["measures"]["untrained"]["class_pseudo_likelihood"]
    assert likelihood["draws"] == 100
    again = evaluate.evaluate_run(run, overrides=["readout.pseudo_likelihood_draws=2"])
    assert again["measures"]["untrained"]["class_pseudo_likelihood"]["draws"] == 2
    assert again["measures"]["untrained"]["class_pseudo_likelihood"]["per_encoder"] != likelihood["per_encoder"]


def test_areas_are_printed_as_they_are_called(capsys):
    values = {"single": {"test": 0.5, "per_encoder": [0.25, 0.75]}, "ensemble": {"test": 0.8}}
    evaluate.print_areas({"areas": ["[/bold]LP", "\x1b[31mV1"], "accuracy": {"closer": values, "full_input": {}}})
    shown = capsys.readouterr().out
    assert re.search(r"│ \[/bold\]LP +│ +0\.250 │", shown) and re.search(r"│ \\x1b\[31mV1 +│ +0\.750 │", shown)
    evaluate.print_areas({"accuracy": {"closer": values}})  # images have no areas
    assert capsys.readouterr().out == ""
