"""Recordings through the same commands as images."""

import json
import re

import numpy as np
import pytest

from closer_tf import train
from closer_tf.data import load_data
from closer_tf.data.neuro.sessions import Session
from closer_tf.errors import DataError


def small_session(path, bins=(12, 20), areas=("LP", "LP", "VISp", "VISp", "VISp", "grey")):
    rng = np.random.default_rng(0)
    stimuli = {f"movie_{k}": rng.poisson(1 + k, (5, n, len(areas))).astype(np.uint8) for k, n in enumerate(bins)}
    Session("small", np.arange(len(areas)), np.array(areas), 0.033, stimuli).save(path)
    return str(path)


def config(path, **changes):
    return {
        "condition": "tcloser",
        "num_encoders": 2,
        "dataset": {"name": "session", "path": path},
        "masks": {"scheme": "areas"},
        "encoder": {"type": "mlp", "hidden": [6], "embedding_dim": 4, "l1": 5e-6, "l2": 5e-6},
        "training": {"epochs": 2, "batch_size": 16},
        "readout": {"C": [0.01, 1.0], "max_iter": 20, "pseudo_likelihood_draws": 2},
        **changes,
    }


@pytest.fixture
def command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = small_session(tmp_path / "small.npz")

    def run(*arguments, **changes):
        (tmp_path / "mouse.json").write_text(json.dumps(config(path, **changes)))
        code = train.main(["mouse.json", *arguments])
        results = tmp_path / "runs" / "mouse" / "results.json"
        return code, *capsys.readouterr(), json.loads(results.read_text()) if results.exists() else None

    return run


def test_a_session_as_a_source(tmp_path):
    data = load_data("session", path=small_session(tmp_path / "s.npz"))
    assert data.windowed and data.fixed_validation and data.input_shape == (6,)
    assert (len(data.train), len(data.validation), len(data.test)) == (3 * 26, 26, 26)
    assert data.label_names == ("movie_0", "movie_1") and data.chance == pytest.approx(17 / 26)
    assert data.stimuli == data.current().stimuli == ("movie_0", "movie_1") and data.bin_width == data.current().bin_width
    again = load_data("session", path=str(tmp_path / "s.npz"), stimuli=["movie_1", "movie_0"])
    assert again.stimuli == again.label_names == ("movie_1", "movie_0")
    now = data.current()
    np.testing.assert_array_equal(now.test.inputs, data.test.inputs[:, -1])
    assert now.input_shape == (6,) and not now.windowed and now.current() is now
    stored = Session.load(tmp_path / "s.npz").counts("movie_1")
    one = data.test[np.flatnonzero((data.test.about["stimulus"] == 1) & (data.test.about["frame"] == 7))]
    np.testing.assert_array_equal(one.inputs[0], stored[3, 6:8])


@pytest.mark.parametrize("condition", ["tcloser", "notcloser", "lpl", "closer", "supervised", "untrained", "masked_input"])
def test_every_condition(command, tmp_path, condition):
    code, output, errors, results = command("--set", f"condition={condition}")
    assert code == 0, errors
    assert set(results["accuracy"]) == {"masked_input", "untrained", condition}
    assert results["samples"] == {"train": 78, "validation": 26, "test": 26}
    assert results["epochs"] == (0 if condition in ("untrained", "masked_input") else 2)
    assert (tmp_path / "runs" / "mouse" / "figures" / "raster.png").exists()
    assert "by area: VISp, LP" in output
    assert (
        results["areas"] == ["VISp", "LP"] and (tmp_path / "runs" / "mouse" / "figures" / "accuracy_per_encoder.png").exists()
    )
    table = output[output.index("single encoders, by area") :]
    for i, area in enumerate(results["areas"]):
        shown = [f"{found['single']['per_encoder'][i]:.3f}" for found in results["accuracy"].values()]
        assert re.search(rf"{area} +│ +{' +│ +'.join(shown)} ", table)


def test_masked_input_is_the_probe_on_the_areas_counts(command, tmp_path):
    from closer_tf.readout.probes import linear_probe

    _, _, _, results = command("--set", "condition=masked_input")
    data = load_data("session", path=str(tmp_path / "small.npz")).current()
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    labels = {key: split.labels for key, split in splits.items()}
    for units, place in (((2, 3, 4), 0), ((0, 1), 1)):
        found = linear_probe({k: s.inputs[:, units] for k, s in splits.items()}, labels, (0.01, 1.0), 20)
        assert results["accuracy"]["masked_input"]["single"]["per_encoder"][place] == found.test
    both = linear_probe({k: s.inputs[:, (2, 3, 4, 0, 1)] for k, s in splits.items()}, labels, (0.01, 1.0), 20)
    assert results["accuracy"]["masked_input"]["ensemble"]["test"] == both.test


def test_units_in_any_order_are_read_by_ascending_id(tmp_path):
    rng = np.random.default_rng(0)
    ids, areas = np.array([30, 10, 20]), np.array(["VISp", "LP", "VISp"])
    counts = rng.poisson(1, (5, 12, 3)).astype(np.uint8)
    Session("s", ids, areas, 0.033, {"one": counts, "two": counts}).save(tmp_path / "s.npz")
    movie = {"counts": counts.transpose(2, 0, 1), "areas": areas, "unit_ids": ids}
    np.savez(tmp_path / "natural_movie_one_9.npz", **movie)
    about = {"qc_pass": np.ones(3, bool), "x": np.arange(5) % 2, "y": np.zeros(5), "repeat": np.arange(5)}
    np.savez(tmp_path / "gabors_9.npz", counts=counts[:, 0].T, areas=areas, unit_ids=ids, **about)
    order = [1, 2, 0]
    for name, file in (("session", "s"), ("natural_movie", "natural_movie_one_9"), ("gabors", "gabors_9")):
        data = load_data(name, path=str(tmp_path / f"{file}.npz"))
        assert data.unit_areas == ("LP", "VISp", "VISp")
        shown = data.current().test
        expected = counts[3, 0] if name == "gabors" else counts[3, shown.about["frame"][0]]
        np.testing.assert_array_equal(shown.inputs[0], expected[order])


def test_a_run_whose_units_lie_elsewhere_by_now_is_not_read_out(command, tmp_path):
    from closer_tf import evaluate, masks

    assert command("--set", "condition=untrained", "--set", "readout.after_training=false")[0] == 0
    moved = masks.ReceptiveFields(((0, 1, 2), (3, 4)), (1, 6), labels=("VISp", "LP"))
    (tmp_path / "runs" / "mouse" / "masks.npz").write_bytes(moved.to_bytes())
    with pytest.raises(DataError, match="receptive field of area 'VISp' does not hold the 3 units"):
        evaluate.evaluate_run("runs/mouse")


def test_standardise_uses_the_training_mean_and_sd_of_each_unit(tmp_path):
    from closer_tf.config import load_config
    from closer_tf.training.experiment import load_splits, make_ensemble, make_receptive_fields

    content = config(small_session(tmp_path / "s.npz"), condition="notcloser")
    content["dataset"]["standardise"] = True
    (tmp_path / "s.json").write_text(json.dumps(content))
    resolved = load_config(tmp_path / "s.json")
    data = load_splits(resolved)
    scaled = make_ensemble(resolved, make_receptive_fields(resolved, data), data)
    content["dataset"]["standardise"] = False
    (tmp_path / "s.json").write_text(json.dumps(content))
    raw = make_ensemble(load_config(tmp_path / "s.json"), make_receptive_fields(resolved, data), data)
    counts = data.train.inputs.astype(np.float32)
    z = (counts - counts.mean(axis=0)) / counts.std(axis=0, ddof=1)
    np.testing.assert_allclose(scaled.predict(counts, verbose=0), raw.predict(z, verbose=0), atol=1e-4)


def test_time_as_a_number(command):
    code, output, _, results = command("--set", "dataset.label=time", "--set", "dataset.standardise=true")
    assert code == 0 and "R^2" in output
    assert results["accuracy"]["tcloser"]["ensemble"]["test"] <= 1 and "ridge" in results["protocol"]["probe"]


def test_nothing_to_read_out(command, tmp_path):
    """Label "none": blocks of time are no stimuli."""
    from closer_tf.report import write_report

    code, output, _, results = command("--set", "dataset.label=none", "--set", 'dataset.stimuli=["movie_0"]')
    assert code == 0 and results is None and "no labels" in output and "no readout: " in output
    run = tmp_path / "runs" / "mouse"
    assert (run / "ensemble.keras").exists()
    write_report([run], tmp_path / "report.html")
    assert "no labels: not read out" in (tmp_path / "report.html").read_text()
    code, _, errors, _ = command("--run-dir", "a", "--set", "dataset.label=none", "--set", "condition=supervised")
    assert code == 2 and "'supervised' needs labels" in errors
    code, _, errors, _ = command("--run-dir", "b", "--set", "dataset.label=none", "--set", "dataset.period=360")
    assert code == 2 and "dataset.period: goes with a label of the file that is an angle; label 'none' is no such" in errors


def test_segments_and_named_areas(command):
    masks = {"scheme": "areas", "areas": ["LP", "VISp"]}
    code, output, _, results = command("--set", "dataset.label=segment", masks=masks)
    assert code == 0 and "by area: LP, VISp" in output and results["chance"] < 0.5


def test_simulated_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = config("", dataset={"name": "simulated"}, num_encoders=3, training={"epochs": 1, "batch_size": 1000})
    (tmp_path / "sim.json").write_text(json.dumps(content))
    assert train.main(["sim.json"]) == 0
    assert "simulated data" in capsys.readouterr().out
    results = json.loads((tmp_path / "runs" / "sim" / "results.json").read_text())
    assert results["simulated"] is True


def test_a_simulated_session_stays_simulated_in_a_file(tmp_path):
    from dataclasses import replace

    real = Session.load(small_session(tmp_path / "s.npz"))
    replace(real, simulated=True).save(tmp_path / "sim.npz")
    for file, simulated in (("s", False), ("sim", True)):
        data = load_data("session", path=str(tmp_path / f"{file}.npz"))
        assert data.simulated is data.current().simulated is simulated


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"masks": {"scheme": "areas", "areas": ["LP", "V1"]}},
            "mouse.json: masks.areas: no unit in area 'V1'; areas with units: ",
        ),
        ({"masks": {"scheme": "areas", "areas": ["LP"]}}, "mouse.json: masks.areas: expected 2 areas (num_encoders), found 1"),
        (
            {"masks": {"scheme": "areas", "areas": ["LP", "LP"]}},
            "mouse.json: masks.areas: expected each area once, found 'LP' 2",
        ),
        (
            {"num_encoders": 3},
            "mouse.json: num_encoders: expected at most one for each of the data's 2 areas, VISp, LP; found 3",
        ),
        (
            {"masks": {"scheme": "gaussian"}},
            "mouse.json: masks.scheme: expected areas for dataset 'session', found 'gaussian'; --set 'masks={",
        ),
        ({"augmentation": {"zoom": 0.1}}, "mouse.json: augmentation: only images can be augmented"),
        ({"dataset": {"name": "session", "path": "none.npz"}}, "none.npz: no such file"),
        ({"dataset": {"name": "session", "path": "cut.npz"}}, "cut.npz: not a readable .npz file"),
        ({"dataset": {"name": "session", "path": "small.npz", "stimuli": ["movie_0", "movie_9"]}}, "movie_9"),
        (
            {"objective": {"weights": {"tpull": 0, "var": 0, "cov": 0}}},
            "mouse.json: objective.weights: at least one term",
        ),
        ({"dataset": {"name": "digits"}}, "mouse.json: condition: 'tcloser' needs consecutive bins; dataset 'digits' has none"),
    ],
)
def test_mistakes(command, tmp_path, changes, message):
    (tmp_path / "cut.npz").write_bytes((tmp_path / "small.npz").read_bytes()[:300])
    code, _, errors, _ = command(**changes)
    assert code == 2 and message in errors, errors
    assert not (tmp_path / "runs").exists()


def test_supervision_needs_classes(command):
    code, _, errors, _ = command("--set", "dataset.label=time", "--set", "condition=supervised")
    assert code == 2 and "needs labels that are classes" in errors


@pytest.mark.real_data
def test_the_real_recordings(shared):
    folder = shared / "data" / "neuropixels"
    movie = load_data("natural_movie", path=str(folder / "natural_movie_one_791319847.npz"))
    assert (len(movie.train), len(movie.validation), len(movie.test)) == (324, 108, 108) and len(movie.unit_areas) == 555
    gabors = load_data("gabors", path=str(folder / "gabors_751348571.npz"))
    assert not gabors.windowed and len(gabors.label_names) == 81 and len(gabors.train) == 2187
    with pytest.raises(DataError, match="counts: expected 2 dimension"):
        load_data("gabors", path=str(folder / "natural_movie_one_791319847.npz"))


@pytest.mark.real_data
@pytest.mark.parametrize("session", [751348571, 755434585, 760693773])
def test_the_file_with_gabors_is_one_case_of_presentations(shared, tmp_path, session):
    from closer_tf.data.neuro.presentations import of_counts

    path = shared / "data" / "neuropixels" / f"gabors_{session}.npz"
    gabors, stored = load_data("gabors", path=str(path)), np.load(path)
    good = stored["qc_pass"]
    part = {"part": np.array(["train", "validation", "train", "test", "train"])[stored["repeat"] % 5]}
    units = (stored["unit_ids"][good], stored["areas"][good])
    of_counts(stored["counts"][good].T, [stored["x"], stored["y"]], *units, 0.25, part).save(tmp_path / "s.npz")
    found = load_data("session", path=str(tmp_path / "s.npz"), split="label", split_label="part")
    assert not found.windowed and found.unit_areas == gabors.unit_areas
    assert [name.replace(".0", "") for name in gabors.label_names] == list(found.label_names)
    for part in ("train", "validation", "test"):
        of_gabors, of_session = getattr(gabors, part), getattr(found, part)
        order = np.lexsort((of_gabors.about["frame"], of_gabors.labels))
        np.testing.assert_array_equal(of_session.labels, of_gabors.labels[order])
        np.testing.assert_array_equal(of_session.inputs, of_gabors.inputs[order])
