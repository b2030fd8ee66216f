"""Samples of sessions with labels of their own, other splits, a lag, other values than counts, and trials of one bin."""

import json

import numpy as np
import pytest

from closer_tf import train
from closer_tf.config import parse_config
from closer_tf.data import load_data
from closer_tf.data.fingerprint import differences, identity_of
from closer_tf.data.neuro.label_values import circular
from closer_tf.data.neuro.sessions import Session
from closer_tf.data.samples import make_samples
from closer_tf.data.trial_splits import interleaved
from closer_tf.errors import CloserWarning, ConfigError, DataError
from closer_tf.readout.features import arranged

PARTS = ("train", "validation", "test")


def session(trials=10, bins=6, **changes):
    """Counts whose value says where they are: 100 * trial + 10 * bin + unit."""
    trial, frame, unit = np.ogrid[:trials, :bins, :2]
    arguments = {"unit_ids": [1, 2], "unit_areas": ["A", "B"], "bin_width": 0.1}
    return Session("mouse", stimuli={"one": 100 * trial + 10 * frame + unit + 1}, **(arguments | changes))


def trials_of(splits):
    return [np.unique(getattr(splits, part).about["trial"]).tolist() for part in PARTS]


def test_labels_of_the_sessions_own_per_trial_and_per_bin():
    choice = np.array(["stay", "go"] * 5)
    place = np.arange(60.0).reshape(10, 6)
    mouse = session(labels={"choice": {"one": choice}, "place": {"one": place}, "block": {"one": np.arange(10) // 5 + 7}})
    by_choice = make_samples(mouse, label="choice")
    assert by_choice.label_names == ("go", "stay")
    assert (by_choice.train.labels == (by_choice.train.about["trial"] % 2 == 0)).all()
    by_block = make_samples(mouse, label="block")
    assert by_block.label_names == ("7", "8") and (by_block.test.labels == by_block.test.about["trial"] // 5).all()
    for label, of in (
        ("place", lambda about: 6 * about["trial"] + about["frame"]),
        ("block", lambda about: about["trial"] // 5 + 7),
    ):
        numbers = make_samples(mouse, label=label, regress=True)
        assert numbers.label_names == () and numbers.test.labels.dtype == np.float32
        np.testing.assert_array_equal(numbers.test.labels, of(numbers.test.about))
    with pytest.raises(DataError, match="label 'place' holds numbers, not classes: set dataset.regress=true"):
        make_samples(mouse, label="place")
    with pytest.raises(DataError, match="label 'choice' holds text, which is no number"):
        make_samples(mouse, label="choice", regress=True)
    with pytest.raises(
        DataError, match="expected one of stimulus, segment, time, none, choice, .* found 'chioce'. Did you mean 'choice'"
    ):
        make_samples(mouse, label="chioce")


def test_a_label_that_is_an_angle():
    direction = np.arange(10) * 45
    heading = np.linspace(0, 700, 60).reshape(10, 6) % 360
    labels = {"direction": {"one": direction}, "heading": {"one": heading}, "choice": {"one": ["go", "stay"] * 5}}
    mouse = session(labels=labels, periods={"heading": 360})
    assert make_samples(mouse, label="direction").period is None and make_samples(mouse, label="direction").label_names
    for found in (make_samples(mouse, label="heading", regress=True), make_samples(mouse, label="heading", period=360)):
        assert found.period == 360 and found.label_names == ()
        np.testing.assert_array_equal(
            found.test.labels, heading.astype(np.float32)[found.test.about["trial"], found.test.about["frame"]]
        )
    assert make_samples(mouse, label="heading", period=180).period == 180
    assert make_samples(mouse, label="direction", regress=True).period is None
    assert make_samples(mouse, label="direction", period=360).period == 360
    with pytest.raises(DataError, match="label 'choice' holds text, which is no number; leave out regress and period"):
        make_samples(mouse, label="choice", period=360)
    one, other = (identity_of(make_samples(mouse, label="heading", period=period)) for period in (360, 180))
    assert one["fingerprint"] != other["fingerprint"] and differences(one, other) == [
        "period of the label: 360.0 then, 180.0 now"
    ]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"labels": ["choice"]}, "labels: expected a dict, with a name for each, found list"),
        ({"periods": [360]}, "periods: expected a dict, with a name for each, found list"),
        ({"lengths": [6] * 10}, "lengths: expected a dict, with a name for each, found list"),
        ({"values": ["counts"]}, r"values: expected one of counts, rates, z-scores, calcium, found \['counts'\]"),
    ],
)
def test_arguments_of_another_kind(changes, message):
    with pytest.raises(DataError, match=message):
        session(**changes)
    with pytest.raises(DataError, match="stimuli: expected a dict, with a name for each, found list"):
        Session("mouse", [1, 2], ["A", "B"], 0.1, [np.ones((5, 6, 2))])
    with pytest.raises(DataError, match="stimuli: expected a name for each, found ''"):
        Session("mouse", [1, 2], ["A", "B"], 0.1, {"": np.ones((5, 6, 2))})


def test_stimuli_named_by_numbers(tmp_path):
    rng = np.random.default_rng(0)
    counts = {angle: rng.poisson(1.0, (5, 6, 2)) for angle in (0, 90)}
    of_trials = {angle: np.arange(5) + angle for angle in counts}
    made = Session(
        "m", [1, 2], ["A", "B"], 0.1, counts, trials=of_trials, labels={"choice": of_trials}, lengths={90: np.full(5, 6)}
    )
    made.save(tmp_path / "s.npz")
    for found in (made, Session.load(tmp_path / "s.npz")):
        assert list(found.stimuli) == ["0", "90"] and found.labels["choice"]["90"].tolist() == (np.arange(5) + 90).tolist()
        np.testing.assert_array_equal(found.counts(90), found.counts("90"))
        assert found.bins_of(90).tolist() == [6] * 5 and found.trials["90"][0] == 90
        assert make_samples(found, stimuli=[90, 0]).label_names == ("90", "0")
    with pytest.raises(DataError, match="stimuli: '1' is there twice, as a number and as text"):
        Session("m", [1, 2], ["A", "B"], 0.1, {1: counts[0], "1": counts[90]})


def test_samples_without_labels():
    data = make_samples(session(), label="none")
    assert not data.labelled and data.label_names == () and set(data.train.labels.tolist()) == {-1}
    np.testing.assert_array_equal(data.train.inputs, make_samples(session(), label="time").train.inputs)
    with pytest.raises(DataError, match="label 'none' means that nothing is read out, but is also a label in the file"):
        make_samples(session(labels={"none": {"one": np.arange(10) // 5}}), label="none")


def test_labels_that_tell_nothing_apart():
    mouse = session(labels={"side": {"one": ["left"] * 10}})
    with pytest.raises(DataError, match="label 'side' is 'left' everywhere: there is nothing to tell apart"):
        make_samples(mouse, label="side")
    with pytest.raises(DataError, match="period: label 'time' is no angle"):
        make_samples(mouse, label="time", period=360)
    for angles, period in (([1.0], 0), (["x"], 360)):
        with pytest.raises(DataError, match="(periods|labels): heading: expected"):
            circular("heading", angles, period)


def test_counts_with_fractions_are_taken_and_said():
    halves = np.full((5, 6, 2), 1.5)
    with pytest.warns(
        CloserWarning, match="session mouse: counts_one: counts with fractions, taken as they are; if they are none"
    ):
        assert Session("mouse", [1, 2], ["A", "B"], 0.1, {"one": halves}).counts("one").max() == 1.5
    for values, counts in (("rates", halves), ("counts", np.floor(halves))):
        Session("mouse", [1, 2], ["A", "B"], 0.1, {"one": counts}, values=values)


@pytest.mark.parametrize(
    "periods, message",
    [
        ({"place": 360}, "periods: no label 'place'; labels: heading, choice"),
        ({"heading": 0}, "periods: heading: expected one number above 0, such as 360 for degrees, found 0"),
        ({"heading": "360"}, "periods: heading: expected one number above 0"),
        ({"choice": 360}, "periods: label 'choice' holds text, which is no angle"),
    ],
)
def test_periods_that_are_none(periods, message):
    labels = {"heading": {"one": np.arange(10.0)}, "choice": {"one": ["go", "stay"] * 5}}
    with pytest.raises(DataError, match=message):
        session(labels=labels, periods=periods)


def test_over_all_folds_every_trial_is_for_testing_once():
    assert trials_of(make_samples(session(), label="time")) == [[0, 2, 4, 5, 7, 9], [1, 6], [3, 8]]
    tested = [trials_of(make_samples(session(), label="time", folds=3, fold=fold))[2] for fold in range(3)]
    assert tested == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]
    for folds in (3, 4, 5, 7):
        for fold in range(folds):
            parts = interleaved(np.arange(420), folds, fold)
            assert sorted(set(parts.tolist())) == [0, 1, 2] and (parts == 2).sum() == (parts == 1).sum()


def test_blocks_of_time_hold_trials_that_follow_one_another():
    assert trials_of(make_samples(session(), label="time", split="blocks")) == [[0, 1, 4, 5, 8, 9], [2, 3], [6, 7]]
    assert trials_of(make_samples(session(), label="time", split="blocks", fold=1))[1:] == [[4, 5], [8, 9]]
    with pytest.raises(DataError, match="has 4 trials, too few for 5 blocks"):
        make_samples(session(trials=4), label="time", split="blocks")


def test_a_label_says_what_trials_are_for():
    part = np.array(["test", "train", "validation", "train", "train"] * 2)
    mouse = session(labels={"part": {"one": part}, "odd": {"one": np.arange(10)}})
    splits = make_samples(mouse, label="time", split="label", split_label="part")
    assert trials_of(splits) == [[1, 3, 4, 6, 8, 9], [2, 7], [0, 5]]
    for label, message in (
        ("odd", "label 'odd': expected one of train, validation, test per trial, found 0, 1"),
        ("prat", r"split_label: expected one of its labels \(part, odd\), found 'prat'"),
    ):
        with pytest.raises(DataError, match=message):
            make_samples(mouse, label="time", split="label", split_label=label)
    alone = session(labels={"part": {"one": np.array(["train"] * 9 + ["test"])}})
    with pytest.raises(DataError, match="label 'part' names no trial for 'validation'"):
        make_samples(alone, label="time", split="label", split_label="part")


def test_a_lag_takes_the_bin_that_many_bins_back():
    for full_range, frames in ((False, [4]), (True, [3, 4, 5])):
        test = make_samples(session(), label="time", lag=3, full_range=full_range).test
        assert np.unique(test.about["frame"]).tolist() == frames
        np.testing.assert_array_equal(test.inputs[:, 1, 0], 100 * test.about["trial"] + 10 * test.about["frame"] + 1)
        np.testing.assert_array_equal(test.inputs[:, 0], test.inputs[:, 1] - 30)
    with pytest.raises(DataError, match="trials of 'one' have 6 bins, too few for windows of 2, 6 bins apart,"):
        make_samples(session(), label="time", lag=6)


def test_trials_of_one_bin_are_single_samples(tmp_path):
    counts = session(bins=1).counts("one")
    Session("mouse", [1, 2], ["A", "B"], 0.25, {"a": counts, "b": counts + 5}).save(tmp_path / "s.npz")
    data = load_data("session", path=str(tmp_path / "s.npz"))
    assert not data.windowed and data.input_shape == (2,) and data.train.inputs.shape == (12, 2)
    np.testing.assert_array_equal(data.test.inputs[:, 0], [301, 801, 306, 806])
    with pytest.raises(DataError, match="s.npz: session mouse: trials of one bin have no label 'time'"):
        load_data("session", path=str(tmp_path / "s.npz"), label="time")


def test_values_that_may_be_negative_say_so_and_counts_keep_their_type(tmp_path):
    traces = np.random.default_rng(0).standard_normal((5, 6, 2)).astype(np.float32)
    with pytest.raises(
        DataError, match="expected spike counts >= 0, found -.*; for what may be negative, say values='z-scores'"
    ):
        Session("mouse", [1, 2], ["A", "B"], 0.1, {"one": traces})
    with pytest.raises(DataError, match="values: expected one of counts, rates, z-scores, calcium, found 'traces'"):
        Session("mouse", [1, 2], ["A", "B"], 0.1, {"one": traces}, values="traces")
    for values in ("calcium", "z-scores"):
        Session("mouse", [1, 2], ["A", "B"], 0.1, {"one": traces}, values=values).save(tmp_path / "s.npz")
        loaded = Session.load(tmp_path / "s.npz")
        assert loaded.values == values
        np.testing.assert_array_equal(loaded.counts("one"), traces)
    for kind in (np.uint8, np.uint16, np.int64):
        Session("mouse", [1, 2], ["A", "B"], 0.1, {"one": np.ones((5, 6, 2), kind)}).save(tmp_path / "s.npz")
        assert Session.load(tmp_path / "s.npz").counts("one").dtype == kind


def test_all_bins_as_rows():
    counts = {"one": np.arange(24).reshape(2, 6, 2), "two": np.arange(12).reshape(3, 2, 2)}
    rows, trials = Session("mouse", [1, 2], ["A", "B"], 0.1, counts).bins()
    np.testing.assert_array_equal(rows, np.concatenate([counts["one"].reshape(12, 2), counts["two"].reshape(6, 2)]))
    assert trials.tolist() == [0] * 6 + [1] * 6 + [2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize(
    "stored, message",
    [
        ({"label_choice": np.arange(10)}, "label_choice: expected a name such as 'label_choice.movie_one'"),
        ({"label_choice.two": np.arange(10)}, "label_choice: expected one array for each of the stimuli one, found two"),
        (
            {"label_choice.one": np.arange(9)},
            r"label_choice.one: expected one label per trial, shape \(10,\), or per bin, \(10, 6\)",
        ),
        ({"lengths_one": np.arange(10)}, "lengths_one: expected 10 integers from 1 to 6, found"),
        ({"lengths_one": np.full(10, 5)}, "lengths_one: trial 0 has 5 bins, but counts in the padding after them"),
        ({"values": np.array("volts")}, "values: expected one of counts, rates, z-scores, calcium, found 'volts'"),
    ],
)
def test_files_that_are_wrong(tmp_path, stored, message):
    session().save(tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as whole:
        np.savez(tmp_path / "bad.npz", **whole, **stored)
    with pytest.raises(DataError, match=f"bad.npz: {message}"):
        Session.load(tmp_path / "bad.npz")


def config(path, **dataset):
    return {
        "condition": "tcloser",
        "num_encoders": 2,
        "dataset": {"name": "session", "path": str(path), **dataset},
        "masks": {"scheme": "areas"},
        "encoder": {"type": "mlp", "hidden": [6], "embedding_dim": 4},
        "training": {"epochs": 1, "batch_size": 16},
        "readout": {"C": [0.01, 1.0], "max_iter": 20, "pseudo_likelihood_draws": 2},
    }


def test_a_fold_that_there_is_not():
    with pytest.raises(ConfigError, match="fold: expected 0 to 3, since there are 4 folds, found 4"):
        parse_config(config("s.npz", folds=4, fold=4))


def test_an_angle_has_one_r2_of_sine_and_cosine_and_an_error_in_degrees(tmp_path, capsys):
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 360, (20, 12))
    turned = np.radians(angle)[..., None] + np.array([0, 1.0, 2.0, 4.0])
    traces = np.cos(turned) + 0.5 * rng.standard_normal(turned.shape)
    labels = {"heading": {"run": angle}}
    options = {"labels": labels, "periods": {"heading": 360}, "values": "z-scores"}
    mouse = Session("m", np.arange(4), list("AABB"), 0.1, {"run": traces}, **options)
    mouse.save(tmp_path / "m.npz")
    assert Session.load(tmp_path / "m.npz").periods == {"heading": 360.0}
    content = config(tmp_path / "m.npz", label="heading", period=360.0) | {"readout": {"C": [1.0], "whiten": True}}
    (tmp_path / "m.json").write_text(json.dumps(content))
    assert train.main([str(tmp_path / "m.json"), "--run-dir", str(tmp_path / "run")]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "an angle as label, full circle 360" in said and "(angular error " in said
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["protocol"]["probe"] == "ridge regression on z-scored features, judged by R^2 of sine and cosine together"
    found = results["accuracy"]["masked_input"]
    assert found["single"]["angular_error"] > 0 and found["whitened_ensemble"]["angular_error"] > 0

    data = load_data("session", path=tmp_path / "m.npz", label="heading", regress=True)  # the same by hand
    splits = arranged(
        parse_config(content), data, lambda split: split.inputs[:, -1] if split.inputs.ndim == 3 else split.inputs
    )
    angles = arranged(parse_config(content), data, lambda split: split.labels.astype(float))
    mean, sd = splits["train"].mean(axis=0), splits["train"].std(axis=0, ddof=1)
    x, test = ((splits[key] - mean) / sd for key in ("train", "test"))
    y, actual = (np.stack([np.sin(np.radians(angles[k])), np.cos(np.radians(angles[k]))], axis=1) for k in ("train", "test"))
    weights = np.linalg.solve(x.T @ x + np.eye(4), x.T @ (y - y.mean(axis=0)))
    predicted = y.mean(axis=0) + test @ weights
    r2 = 1 - ((predicted - actual) ** 2).sum() / ((actual - actual.mean(axis=0)) ** 2).sum()
    error = np.abs(np.angle(np.exp(1j * (np.arctan2(predicted[:, 0], predicted[:, 1]) - np.radians(angles["test"]))), deg=True))
    assert found["ensemble"]["test"] == pytest.approx(r2, abs=1e-6) and 0.5 < r2 < 0.9
    assert found["ensemble"]["angular_error"] == pytest.approx(error.mean(), abs=1e-4)
    with pytest.raises(ConfigError, match="regress: goes with a label of the file that is a number; label 'none' is no such"):
        parse_config(config("s.npz", label="none", regress=True))
    with pytest.raises(ConfigError, match="period: goes with a label of the file that is an angle; label 'time' is no such"):
        parse_config(config("s.npz", label="time", period=360.0))


def test_calcium_traces_and_a_position_by_regression(tmp_path, capsys):
    rng = np.random.default_rng(0)
    place = rng.uniform(-1, 1, (10, 20))
    traces = place[..., None] * np.array([1, -1, 2, 0.5]) + 0.1 * rng.standard_normal((10, 20, 4))
    labels = {"place": {"run": place}, "choice": {"run": np.array(["go", "stay"] * 5)}}
    Session("m", np.arange(4), list("AABB"), 0.1, {"run": traces}, labels=labels, values="calcium").save(tmp_path / "m.npz")
    (tmp_path / "m.json").write_text(json.dumps(config(tmp_path / "m.npz", label="place", regress=True, lag=2, split="blocks")))
    assert train.main([str(tmp_path / "m.json"), "--run-dir", str(tmp_path / "run")]) == 0, capsys.readouterr().err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["accuracy"]["masked_input"]["ensemble"]["test"] > 0.9 and "ridge" in results["protocol"]["probe"]
    bad = config(tmp_path / "m.npz", label="plce")
    (tmp_path / "bad.json").write_text(json.dumps(bad))
    assert train.main([str(tmp_path / "bad.json"), "--run-dir", str(tmp_path / "none")]) == 2
    assert f"{tmp_path / 'm.npz'}: session m: label: expected one of" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    (tmp_path / "bad.json").write_text(
        json.dumps(config(tmp_path / "m.npz", label="place", regress=True) | {"condition": "supervised"})
    )
    assert train.main([str(tmp_path / "bad.json"), "--run-dir", str(tmp_path / "none")]) == 2
    assert "needs labels that are classes; dataset.label 'place' is a number" in capsys.readouterr().err
