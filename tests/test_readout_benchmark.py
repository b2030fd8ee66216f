import json
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def test_it_reads_the_ensemble_of_a_run(tiny_config, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY))
    from benchmarks import readout
    from closer_tf.config import parse_config
    from closer_tf.train import train_run

    tiny_config["training"]["epochs"] = 1
    train_run(parse_config(tiny_config), tmp_path / "run")
    embedded, labels = readout.run_embeddings(tmp_path / "run")
    assert {key: len(values) for key, values in embedded.items()} == {key: len(values) for key, values in labels.items()}
    assert embedded["test"].shape == (450, 3, 4)


def test_it_measures_every_way_and_says_how_they_compare(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY))
    from benchmarks import readout

    embedded, labels = readout.synthetic_embeddings(400, encoders=2, dim=12)
    kept = []
    found = readout.measure(
        readout.features_by_name(embedded), labels, (1e-3, 0.1), keep=lambda now: kept.append(json.dumps(now))
    )
    assert list(found["ways"]) == list(readout.WAYS) and len(kept) == 8 * 3  # after each of two encoders and the ensemble
    theirs, ours = found["ways"]["sklearn_published"]["probes"], found["ways"]["published"]["probes"]
    assert set(ours) == {"encoder_0", "encoder_1", "ensemble"}
    for name, probe in ours.items():
        assert probe["C"] == theirs[name]["C"] and probe["test"] == pytest.approx(theirs[name]["test"])
        assert [fit["iterations"] for fit in probe["fits"]] == [fit["iterations"] for fit in theirs[name]["fits"]]
    for way in ("converged", "sklearn_converged", "sklearn_newton", "sklearn_newton_cg", "sklearn_lbfgs_newton"):
        assert all(fit["gradient"] <= 1.01e-4 for probe in found["ways"][way]["probes"].values() for fit in probe["fits"])
    assert (
        set(found["ratios"]) == {"published", "float32", "converged", "newton", "newton_cg", "lbfgs_newton"}
        and found["ratios"]["published"]["same_C"] == 3
    )
