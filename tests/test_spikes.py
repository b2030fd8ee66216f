"""Spike times and trials of every form become counts that are right to the last spike."""

import numpy as np
import pytest

from closer_tf.data.neuro.binning import Frames, Recording, Units, bin_recording
from closer_tf.data.neuro.label_values import circular
from closer_tf.data.neuro.sessions import Session
from closer_tf.data.neuro.spikes import blocks_of_time
from closer_tf.errors import CloserWarning, DataError

WIDTH = 0.125  # exact as a float, so that spikes can lie on edges


def recording(seed=0, units=4, trials=12, origin=0.0):
    """(spikes, start, stop, condition): unsorted spikes, some on bins' edges, one unit without any; trials in no order."""
    rng = np.random.default_rng(seed)
    start = origin + 2.0 * rng.permutation(trials)
    stop = start + 1.0 + WIDTH * rng.integers(0, 3, trials)
    edges = np.concatenate([start, start + WIDTH, start + 3 * WIDTH, start + 8 * WIDTH])
    spikes = [np.concatenate([origin + rng.uniform(0, 2 * trials, 300), edges]) for _ in range(units - 1)] + [np.empty(0)]
    return [rng.permutation(times) for times in spikes], start, stop, np.array(["left", "right"])[rng.integers(0, 2, trials)]


def by_hand(spikes, start, bins, width=WIDTH):
    """Counts (trials, bins, units), spike by spike: a bin holds its left edge, the last one its right edge too."""
    counts = np.zeros((len(start), bins, len(spikes)), int)
    for trial, first in enumerate(start):
        edges = [first + k * width for k in range(bins + 1)]
        for unit, times in enumerate(spikes):
            for time in times:
                for k in range(bins):
                    if edges[k] <= time < edges[k + 1] or (k == bins - 1 and time == edges[-1]):
                        counts[trial, k, unit] += 1
    return counts


@pytest.mark.parametrize("origin", [0.0, 1_600_000_000.0, -50.0])
def test_every_count_is_that_of_a_loop_over_all_spikes(origin):
    spikes, start, stop, condition = recording(origin=origin)
    lines = []
    session = Session.from_spike_times(spikes, list("AABB"), (start, stop, condition), WIDTH, report=lines.append)
    assert list(session.stimuli) == ["left", "right"] and session.bin_width == WIDTH
    for name in session.stimuli:
        first = np.sort(start[condition == name])
        bins = int(((stop - start)[condition == name]).min() / WIDTH)
        expected = by_hand(spikes, first, bins)
        np.testing.assert_array_equal(session.counts(name), expected)
        assert session.counts(name).dtype == np.uint8
        np.testing.assert_array_equal(session.trials[name], np.arange(len(first)))
        assert expected[:, 0].min(axis=0).tolist()[:3] >= [1, 1, 1] and not expected[..., 3].any()
    said = "\n".join(lines)
    assert "the recording: left: trials last 1.000 to 1.250 s; all are cut to 8 bins (1.000 s), which leaves out" in said
    assert "1 of 4 units have no spikes; they are kept" in said


def test_the_same_counts_as_from_the_frames_of_a_movie():
    spikes, start, _, _ = recording(trials=6)
    start = np.sort(start)
    bins = 8
    frame = np.tile(np.arange(bins), len(start))
    frames = Frames(frame, np.repeat(start, bins) + frame * WIDTH, np.repeat(start, bins) + (frame + 1) * WIDTH)
    n = len(spikes)
    passing = {"quality": np.full(n, "good"), "amplitude_cutoff": np.zeros(n), "presence_ratio": np.ones(n)}
    passing |= {"isi_violations": np.zeros(n), "valid_channel": np.ones(n, bool), "in_brain": np.ones(n, bool)}
    units = Units(np.arange(n), np.array(list("AABB")), np.ones(n, int), np.full(n, "probe"), **passing)
    movie = bin_recording(Recording("hand", units, dict(enumerate(spikes)), {"movie": frames}), ["movie"])
    table = {"start": start, "stop": start + 1.0, "shown": ["movie"] * len(start)}
    session = Session.from_spike_times(spikes, list("AABB"), table, WIDTH, condition="shown", name="hand")
    np.testing.assert_array_equal(session.counts("movie"), movie.counts("movie"))
    assert session.counts("movie").dtype == movie.counts("movie").dtype and session.bin_width == movie.bin_width
    np.testing.assert_array_equal(session.unit_areas, movie.unit_areas)


def same(first, second):
    assert list(first.stimuli) == list(second.stimuli)
    np.testing.assert_array_equal(first.unit_ids, second.unit_ids)
    np.testing.assert_array_equal(first.unit_areas, second.unit_areas)
    for name in first.stimuli:
        np.testing.assert_array_equal(first.counts(name), second.counts(name))
        np.testing.assert_array_equal(first.trials[name], second.trials[name])


class Train:
    """A spike train with a physical unit, as Neo's: milliseconds."""

    def __init__(self, seconds):
        self.magnitude = np.asarray(seconds) * 1000

    def rescale(self, unit):
        assert unit == "s"
        return type("Rescaled", (), {"magnitude": self.magnitude / 1000})


def test_spikes_areas_and_trials_in_every_form():
    pandas = pytest.importorskip("pandas")
    spikes, start, stop, condition = recording()
    areas = ["V1", "V1", "LM", None]
    quiet = {"report": lambda line: None}
    expected = Session.from_spike_times(spikes, areas, (start, stop, condition), WIDTH, **quiet)
    assert expected.unit_areas.tolist() == ["V1", "V1", "LM", ""] and expected.unit_ids.tolist() == [0, 1, 2, 3]
    rows = list(zip(start.tolist(), stop.tolist(), condition.tolist()))
    frame = pandas.DataFrame({"stop_time": stop, "start_time": start, "condition": condition})
    for trials in (rows, frame, frame.astype({"condition": "category"}), dict(start=start, end=stop, condition=condition)):
        same(Session.from_spike_times(spikes, areas, trials, WIDTH, **quiet), expected)
    bare = np.stack([start, stop], axis=1)
    same(Session.from_spike_times(spikes, areas, bare, WIDTH, condition=condition, **quiet), expected)
    alone = Session.from_spike_times(spikes, areas, bare, WIDTH, **quiet)
    assert list(alone.stimuli) == ["trials"] and alone.counts("trials").shape == (12, 8, 4)
    for given in (
        dict(enumerate(spikes)),
        [pandas.Series(times, dtype=float) for times in spikes],
        {k: type("Ts", (), {"t": times}) for k, times in enumerate(spikes)},
    ):
        same(Session.from_spike_times(given, areas, rows, WIDTH, **quiet), expected)
    in_units = Session.from_spike_times([Train(times) for times in spikes], areas, rows, WIDTH, **quiet)
    assert in_units.counts("left").sum() == expected.counts("left").sum()
    for given in (
        np.array(areas, dtype=object),
        pandas.Series(areas, dtype=object),
        pandas.Series(areas, dtype="category", index=[7, 8, 9, 11]),
        pandas.Categorical(areas),
        {3: np.nan, 2: "LM", 1: "V1", 0: "V1"},
    ):
        same(Session.from_spike_times(spikes, given, rows, WIDTH, **quiet), expected)


def test_units_named_by_strings_are_kept_through_a_file(tmp_path):
    spikes, start, stop, _ = recording()
    named = dict(zip(("imec0_12", "imec0_3", "imec1_7", "imec1_9"), spikes))
    areas = {"imec1_7": "LM", "imec1_9": "LM", "imec0_3": "V1", "imec0_12": "V1"}
    session = Session.from_spike_times(named, areas, (start, stop), WIDTH, report=lambda line: None)
    session.save(tmp_path / "s.npz")
    loaded = Session.load(tmp_path / "s.npz")
    assert loaded.unit_ids.tolist() == list(named) and loaded.unit_areas.tolist() == ["V1", "V1", "LM", "LM"]
    same(loaded, session)
    from closer_tf.data import load_data

    data = load_data("session", path=str(tmp_path / "s.npz"), label="time")
    assert data.unit_areas == ("V1", "V1", "LM", "LM")  # by id: imec0_12, imec0_3, ...


def test_a_series_in_another_order_than_the_units_is_refused():
    pandas = pytest.importorskip("pandas")
    spikes, start, stop, _ = recording()
    with pytest.raises(DataError, match="areas: a Series whose index has the units in another order"):
        Session.from_spike_times(spikes, pandas.Series(list("ABCD"), index=[3, 2, 1, 0]), (start, stop), WIDTH)


def test_values_of_trials_in_another_order_than_their_table_are_refused():
    pandas = pytest.importorskip("pandas")
    spikes, start, stop, condition = recording()
    table = pandas.DataFrame({"start": start, "stop": stop, "shown": condition, "reward": np.arange(12)})
    by_shown = table.sort_values("shown")

    def of(trials, condition, reward):
        given = {"condition": condition, "labels": {"reward": reward}, "report": lambda line: None}
        return Session.from_spike_times(spikes, list("AABB"), trials, WIDTH, **given).labels["reward"]

    for refused, changes in (("condition", (table["shown"], "reward")), ("labels: reward", ("shown", table["reward"]))):
        with pytest.raises(
            DataError, match=f"{refused}: a Series whose index has the trials in another order than their table"
        ):
            of(by_shown, *changes)
    expected = of(table, "shown", "reward")
    for trials, *given in (
        (by_shown, "shown", "reward"),
        (by_shown, by_shown["shown"], by_shown["reward"]),
        (table, table["shown"], table["reward"]),
        (by_shown, by_shown["shown"], table["reward"].loc[by_shown.index].to_numpy()),
    ):
        found = of(trials, *given)
        assert {name: values.tolist() for name, values in found.items()} == {k: v.tolist() for k, v in expected.items()}


@pytest.mark.parametrize("of_type", [np.int64, np.uint64, np.float64, object])
def test_long_numbers_are_one_condition_each(of_type):
    spikes, start, stop, _ = recording()
    shown = (9_509_290_000_000 + np.arange(12) % 3).astype(of_type)
    session = Session.from_spike_times(spikes, list("AABB"), (start, stop, shown), WIDTH, report=lambda line: None)
    assert list(session.stimuli) == ["9509290000000", "9509290000001", "9509290000002"]
    near = np.array([0.1 + 0.2, 0.3, -0.0, 0.0, 2.0, 10.0] * 2)  # what differs by rounding is one
    session = Session.from_spike_times(spikes, list("AABB"), (start, stop, near), WIDTH, report=lambda line: None)
    assert list(session.stimuli) == ["0", "0.3", "2", "10"]


@pytest.mark.parametrize("kind", [float, int])
def test_bins_where_a_signal_was_lost_are_said(kind):
    spikes, start, stop, _ = recording()
    times = np.arange(-1.0, 30, 0.05)
    lost = (times > 5.02) & (times < 11.02)
    signal = (times[~lost], np.sin(times[~lost])) if kind is float else (times[~lost], (times[~lost] > 12).astype(int))
    if kind is float:  # as gaps in a file, or as NaN
        signal = (times, np.where(lost, np.nan, np.sin(times)))

    def said(signal):
        lines = []
        given = {"labels": {"pupil": signal}, "report": lines.append}
        session = Session.from_spike_times(spikes, list("AABB"), (start, stop), WIDTH, **given)
        return [line for line in lines if "pupil" in line], session

    (line,), session = said(signal)
    centres = np.sort(start)[:, None] + WIDTH * (np.arange(session.counts("trials").shape[1]) + 0.5)
    within = ((centres > 5.0) & (centres < 11.05)).sum()
    what = "interpolated" if kind is float else "the nearest value is taken"
    assert f"labels: pupil: {within} of {centres.size} bins lie where the signal has gaps" in line and what in line
    assert "from 5 to 11.05 s" in line
    assert said((times, np.sin(times)))[0] == []
    assert said((times[::40], np.sin(times[::40])))[0] == []  # seldom, but regular
    assert said((centres.ravel(), np.sin(centres.ravel())))[0] == []  # nothing between trials, but in every bin


def test_a_length_leaves_out_what_is_shorter_and_keeps_the_numbers():
    spikes, start, stop, _ = recording()
    lines = []
    session = Session.from_spike_times(spikes, list("AABB"), (start, stop), WIDTH, length=1.25, report=lines.append)
    order = np.argsort(start)
    long = np.flatnonzero((stop - start)[order] >= 1.25)
    assert 0 < len(long) < 12
    np.testing.assert_array_equal(session.trials["trials"], long)
    np.testing.assert_array_equal(session.counts("trials"), by_hand(spikes, start[order][long], 10))
    assert any(f"trials: {12 - len(long)} of 12 trials are shorter than 1.25 s: left out" in line for line in lines)


def test_without_a_bin_width_a_trial_is_one_bin_however_long_it_is():
    spikes, start, stop, _ = recording()
    place = {"x": np.tile([-40.0, 10], 6), "y": np.repeat([0, 20, np.nan], 4), "start": start, "stop": stop}
    lines = []
    session = Session.from_spike_times(spikes, list("AABB"), place, None, condition=["x", "y"], report=lines.append)
    assert list(session.stimuli) == ["(-40, 0)", "(-40, 20)", "(10, 0)", "(10, 20)"]
    assert "4 of 12 trials have no condition: left out" in "\n".join(lines)
    for name, (x, y) in zip(session.stimuli, [(-40, 0), (-40, 20), (10, 0), (10, 20)]):
        of_it = np.flatnonzero((place["x"] == x) & (place["y"] == y))
        of_it = of_it[np.argsort(start[of_it])]
        for trial, k in enumerate(of_it):
            expected = by_hand(spikes, start[[k]], 1, width=stop[k] - start[k])[0, 0]
            np.testing.assert_array_equal(session.counts(name)[trial, 0], expected)


def test_blocks_of_time_are_the_trials_of_a_recording_without_any():
    blocks = blocks_of_time(10, 20.2, 1.0)
    assert blocks.shape == (10, 2) and blocks[0].tolist() == [10, 11] and blocks[-1].tolist() == [19, 20]
    spikes = [np.arange(10, 20, 0.5), np.arange(10, 20, 0.25)]
    session = Session.from_spike_times(spikes, ["A", "B"], blocks, 0.5)
    assert session.counts("trials").shape == (10, 2, 2)
    with pytest.raises(DataError, match="blocks of 5 s from 0 to 12 s: expected room for at least 4, found 2"):
        blocks_of_time(0, 12, 5)


def test_labels_follow_their_trials_and_bins(tmp_path):
    spikes, start, stop, condition = recording()
    choice = np.array(["go", "stay", "go"] * 4)
    times = np.linspace(-1, 30, 500)
    labels = {"choice": choice, "speed": "speed", "place": (times, 2 * times), "state": (times, (times > 12).astype(int))}
    labels |= circular("direction", np.arange(12) * 30, 360)
    table = {"start": start, "stop": stop, "condition": condition, "speed": np.arange(12.0)}
    session = Session.from_spike_times(spikes, list("AABB"), table, WIDTH, labels=labels, report=lambda line: None)
    session.save(tmp_path / "s.npz")
    for found in (session, Session.load(tmp_path / "s.npz")):
        for name in ("left", "right"):
            of_it = np.flatnonzero(condition == name)
            of_it = of_it[np.argsort(start[of_it])]
            bins = found.counts(name).shape[1]
            assert found.labels["choice"][name].tolist() == choice[of_it].tolist()
            np.testing.assert_array_equal(found.labels["speed"][name], of_it)
            centres = start[of_it, None] + WIDTH * (np.arange(bins) + 0.5)
            np.testing.assert_allclose(found.labels["place"][name], 2 * centres)
            assert (found.labels["state"][name] == (centres > 12)).mean() > 0.95  # but for the bins about the change
            np.testing.assert_allclose(found.labels["direction_sin"][name], np.sin(np.pi / 6 * of_it), atol=1e-12)
            assert found.labels["state"][name].dtype == np.int64 and found.labels["place"][name].dtype == np.float64


def test_an_angle_goes_the_shorter_way_between_two_times():
    spikes, start, stop, _ = recording()
    times = np.arange(-1.0, 30, 0.5)
    angle = 50 * times % 360
    given = {"labels": {"heading": (times, angle)}, "periods": {"heading": 360}, "report": lambda line: None}
    session = Session.from_spike_times(spikes, list("AABB"), (start, stop), WIDTH, **given)
    order = np.argsort(start)
    centres = start[order, None] + WIDTH * (np.arange(session.counts("trials").shape[1]) + 0.5)
    np.testing.assert_allclose(session.labels["heading"]["trials"], 50 * centres % 360)
    assert session.periods == {"heading": 360.0}
    with pytest.raises(DataError, match="periods: no label 'haeding'; labels: heading.*Did you mean 'heading'"):
        Session.from_spike_times(spikes, list("AABB"), (start, stop), WIDTH, **given | {"periods": {"haeding": 360}})


def test_padding_is_in_no_sample_and_no_row(tmp_path):
    from closer_tf.data.samples import make_samples

    spikes, start, stop, _ = recording()
    lines, times = [], np.linspace(-1, 26, 500)
    given = {"unequal": "pad", "report": lines.append, "labels": {"place": (times, 2 * times)}}
    session = Session.from_spike_times(spikes, list("AABB"), (start, stop), WIDTH, **given)
    session.save(tmp_path / "s.npz")
    session = Session.load(tmp_path / "s.npz")
    order = np.argsort(start)
    lengths = ((stop - start)[order] / WIDTH).astype(int)
    assert lengths.min() == 8 and lengths.max() == 10
    np.testing.assert_array_equal(session.bins_of("trials"), lengths)
    for trial, k in enumerate(order):
        expected = np.zeros((10, 4), int)
        expected[: lengths[trial]] = by_hand(spikes, start[[k]], lengths[trial])[0]
        np.testing.assert_array_equal(session.counts("trials")[trial], expected)
    said = f"trials last 1.000 to 1.250 s; {(lengths < 10).sum()} of 12 are padded to 10 bins, which are in no sample"
    assert said in "\n".join(lines)
    rows, trials = session.bins()
    assert len(rows) == len(trials) == lengths.sum()
    np.testing.assert_array_equal(np.bincount(trials), lengths)
    for full_range, last in ((True, 1), (False, 2)):
        samples = make_samples(session, label="time", full_range=full_range)
        for part in (samples.train, samples.validation, samples.test):
            about = part.about
            for trial in np.unique(about["trial"]):
                frames = about["frame"][about["trial"] == trial]
                assert frames.tolist() == list(range(1 if full_range else 2, lengths[trial] - last + 1))
            now = session.counts("trials")[about["trial"], about["frame"]]
            np.testing.assert_array_equal(part.inputs[:, 1], now)
            np.testing.assert_allclose(part.labels, about["frame"] / lengths[about["trial"]], rtol=1e-6)
    place = make_samples(session, label="place", regress=True).test
    centres = start[order][place.about["trial"]] + WIDTH * (place.about["frame"] + 0.5)
    np.testing.assert_allclose(place.labels, 2 * centres, rtol=1e-5)


def test_trials_too_short_for_a_window_are_said_and_no_part_is_left_empty():
    from closer_tf.data.samples import make_samples

    rng = np.random.default_rng(0)

    def samples(lengths, **options):
        counts = rng.poisson(2.0, (10, 8, 4))
        counts[np.arange(8) >= np.array(lengths)[:, None]] = 0
        made = Session("s", np.arange(4), list("AABB"), 0.1, {"m": counts}, lengths={"m": np.array(lengths)})
        return make_samples(made, label="segment", segments=2, **options)

    with pytest.warns(CloserWarning, match="stimulus 'm': 1 of 10 trials have fewer than 4 bins: no sample of them"):
        found = samples([8, 8, 3, 8, 8, 8, 8, 8, 8, 8])
    assert 2 not in found.train.about["trial"]
    message = r"all its trials for '{}' \(numbers {}\) have fewer than {} bins, which a window takes here"
    for short, part, numbers in (([1, 6], "validation", "1, 6"), ([3, 8], "test", "3, 8")):
        lengths = np.full(10, 8)
        lengths[short] = 3
        with pytest.raises(DataError, match=message.format(part, numbers, 4)):
            samples(lengths)
        assert len(samples(lengths, full_range=True).test)  # every bin with a whole window


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"spikes": 3}, "spikes: expected one array of seconds per unit, found int"),
        ({"spikes": []}, "spikes: expected one array of seconds per unit, found none"),
        ({"spikes": np.arange(4.0)}, r"spikes: unit 0: expected an array of seconds, found shape \(\) of float64"),
        ({"spikes": [["a"]] * 4}, "spikes: unit 0: expected an array of seconds, found shape"),
        ({"spikes": [[1.0, np.nan]] * 4}, "spikes: unit 0: holds times that are not finite"),
        ({"unit_ids": [1, 2, 3]}, "unit_ids: expected 4 ids, one for each array of spike times, found 3"),
        ({"unit_ids": [1, 2, 3, 3]}, "unit_ids: unit 3 occurs 2 times"),
        ({"unit_ids": [1, 2, 3, "a"]}, "unit_ids: expected one integer or string per unit"),
        (
            {"areas": None},
            "areas: expected one per unit, found None; does the property or column that holds them have this name",
        ),
        ({"areas": ["A", "B"]}, "areas: expected 4 strings, one per unit"),
        ({"areas": {0: "A", 1: "B", 2: "C"}}, "areas: no area for 1 of 4 units, such as unit 3"),
        ({"trials": {"start": [1.0]}}, "trials: expected one column of stop times, named stop or stop_time or end; found none"),
        ({"trials": {"start": [1.0], "stop": [2.0], "end": [2.0]}}, "found stop and end among the columns"),
        ({"trials": ([1.0, 2.0], [2.0])}, r"trials: stop: expected 2 values, one per trial, found shape \(1,\)"),
        ({"trials": (["a"], [2.0])}, "trials: start: expected an array of seconds"),
        ({"trials": []}, "trials: expected at least one, found none"),
        ({"trials": np.zeros((3, 4))}, r"trials: expected rows of \(start, stop\) or .*, found rows of \[4\]"),
        ({"trials": np.zeros(3)}, r"trials: expected a table with the columns start and stop.* found shape \(3,\)"),
        ({"trials": ([5.0], [4.0])}, "trial 0 starts at 5 and stops at 4 s. If these are lengths, give start"),
        ({"trials": ([np.nan], [4.0])}, "trials: none has a start and a stop time"),
        ({"trials": ([1.0, 3.0], [1.05, 4.0])}, "its trial 0 from 1 to 1.05 s is shorter than one bin of 0.125 s"),
        (
            {"trials": ([1000.0], [1004.0])},
            "1 of 1 trials are without any unit's spikes: its trials lie between 1000 and 1004 s",
        ),
        ({"condition": "side"}, "condition: the trials have no column 'side'; they have start, stop, condition"),
        ({"condition": "condtion"}, "Did you mean 'condition'"),
        ({"condition": ["condition", "b"]}, "condition: the trials have no column 'b'"),
        ({"condition": [1, 2]}, "condition: expected 12 values, one per trial, found 2"),
        ({"condition": [None] * 12}, "condition: none of the 12 trials has a value"),
        ({"condition": 3}, "condition: expected the name of a column, a list of names, or one value per trial, found 3"),
        ({"condition": np.zeros((12, 2))}, r"condition: expected the name of a column, .* found shape \(12, 2\)"),
        ({"unit_ids": 3}, "unit_ids: expected one integer or string per unit, found 3"),
        ({"bin_width": "0.1"}, "bin_width: expected seconds above 0, or None, found 0.1"),
        ({"bin_width": [0.1, 0.2]}, "bin_width: expected seconds above 0, or None, found"),
        ({"bin_width": np.inf}, "bin_width: expected seconds above 0, or None, found inf"),
        ({"length": "1"}, "length: expected seconds above 0, found 1"),
        ({"length": np.nan}, "length: expected seconds above 0, found nan"),
        ({"labels": ["a"]}, "labels: expected a dict of a label's name to its values, found list"),
        ({"periods": "a"}, "periods: expected a dict of a label's name to what a full turn is, found str"),
        ({"labels": {"a": ([0.0], [1.0], [2.0])}}, "labels: a: expected a pair of arrays, times and values, found 3"),
        ({"labels": {"a": (["x", "y"], [1.0, 2.0])}}, "labels: a: expected times in seconds, found <U1"),
        ({"unequal": "stretch"}, "unequal: expected 'cut' or 'pad', found 'stretch'"),
        ({"length": 9.0}, "left: all 5 trials are shorter than 9 s; the longest has 1.25"),
        ({"length": 0.1}, "length: expected at least one bin of 0.125 s, found 0.1 s"),
        ({"bin_width": None, "length": 1.0}, "length: goes with a bin_width"),
        ({"bin_width": 1e-12}, "left: bins of 1e-12 s: declares [0-9,]* bytes of arrays; at most"),
        ({"bin_width": 0.0}, "bin_width: expected seconds above 0, or None, found 0"),
        ({"labels": {"a": [1, 2]}}, r"labels: a: expected 12 values, one per trial, found shape \(2,\)"),
        ({"labels": {"a": "b"}}, "labels: a: the trials have no column 'b'"),
        (
            {"labels": {"a": ([0.0, 1], [0.0, 1])}},
            "labels: a: expected values from .* where the bins lie, found some from 0 to 1 s",
        ),
        ({"labels": {"a": [np.nan] * 12}}, "label_a.left: trial 0 has a label that is not finite"),
        ({"labels": {"a.b": np.arange(12)}}, "label_a.b: expected a name without a dot"),
    ],
)
def test_mistakes_say_what_is_wrong(changes, message):
    spikes, start, stop, condition = recording()
    given = {"spikes": spikes, "areas": list("AABB"), "trials": (start, stop, condition), "bin_width": WIDTH} | changes
    with pytest.raises(DataError, match=message):
        Session.from_spike_times(**given, report=lambda line: None)


@pytest.mark.parametrize("factor", [1e3, 1e6, 1e9, 30000])
def test_times_that_are_no_seconds_are_refused(factor):
    spikes, start, stop, condition = recording(units=3)
    with pytest.raises(
        DataError, match="spike times: expected seconds, found times from .* divide times in milliseconds by 1e3"
    ):
        Session.from_spike_times([s * factor for s in spikes], list("ABC"), (start * factor, stop * factor), WIDTH)


def test_trials_outside_the_recording_are_said():
    spikes, start, stop, _ = recording()
    lines = []
    late = start + np.where(np.arange(len(start)) < 2, 100, 0)
    Session.from_spike_times(spikes, list("AABB"), (late, late + 1), WIDTH, report=lines.append)
    assert f"the recording: 2 of {len(start)} trials lie before the first spike, at " in "\n".join(lines)


@pytest.mark.parametrize("length", [0, -1, np.nan, np.inf, "5", 1e-12])
def test_blocks_that_cannot_be(length):
    with pytest.raises(DataError, match="blocks: expected seconds above 0, found|declares .* bytes of arrays; at most"):
        blocks_of_time(0.0, 100.0, length)


def test_overlapping_trials_are_said():
    spikes, start, stop, _ = recording()
    lines = []
    Session.from_spike_times(spikes, list("AABB"), (start, stop + 1.5), WIDTH, report=lines.append)
    assert "trials start before the one before them has stopped" in "\n".join(lines)
