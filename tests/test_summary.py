import json

import pytest

from closer_tf import summary, train


@pytest.fixture
def runs(tmp_path, tiny_config, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny_config["training"]["epochs"] = 1
    (tmp_path / "tiny.json").write_text(json.dumps(tiny_config))
    for seed in (0, 1):
        for condition in ("closer", "supervised"):
            arguments = ["--set", f"seed={seed}", "--set", f"condition={condition}", "--run-dir", f"runs/{condition}_{seed}"]
            assert train.main(["tiny.json", *arguments]) == 0
    capsys.readouterr()
    return sorted(str(path) for path in (tmp_path / "runs").iterdir())


def test_seeds_side_by_side(runs, tmp_path, capsys):
    assert summary.main([*runs, "-o", "results/all"]) == 0
    found = json.loads((tmp_path / "results" / "all.json").read_text())
    assert (tmp_path / "results" / "all.png").exists()
    assert set(found["accuracy"]) == {"masked_input", "untrained", "closer", "supervised"}
    stored = [json.loads((tmp_path / "runs" / f"closer_{k}" / "results.json").read_text()) for k in (0, 1)]
    values = [results["accuracy"]["closer"]["single"]["test"] for results in stored]
    single = found["accuracy"]["closer"]["single"]
    assert single["test"] == values and single["mean"] == pytest.approx(sum(values) / 2) and single["seeds"] == [0, 1]
    assert single["sd"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert len(found["accuracy"]["untrained"]["single"]["test"]) == 2 and len(found["runs"]) == 4
    assert "closer" in capsys.readouterr().out


def test_a_run_without_readout_or_with_another_answer(runs, tmp_path, capsys):
    results = json.loads((tmp_path / "runs" / "closer_0" / "results.json").read_text())
    results["accuracy"]["untrained"]["single"]["test"] += 0.1
    (tmp_path / "runs" / "closer_0" / "results.json").write_text(json.dumps(results))
    assert summary.main([*runs, "-o", "x"]) == 2
    assert "another run says" in capsys.readouterr().err
    (tmp_path / "runs" / "closer_0" / "results.json").unlink()
    assert summary.main([*runs, "-o", "x"]) == 2
    assert "not read out yet" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()
