"""Filters, trials, invalid times and bins, on recordings made by hand. NumPy only."""

import dataclasses

import numpy as np
import pytest

from closer_tf.data.neuro.binning import (
    Filters,
    Frames,
    InvalidInterval,
    Recording,
    Units,
    bin_recording,
    count_spikes,
    find_trials,
    passing_units,
    subdivide,
)
from closer_tf.errors import DataError


def units(**changes):
    """Three good units on two probes, in descending id."""
    table = {
        "ids": np.array([3, 2, 1]),
        "areas": np.array(["VISp", "CA1", "VISp"]),
        "probe_ids": np.array([11, 11, 12]),
        "probe_names": np.array(["probeA", "probeA", "probeB"]),
        "quality": np.array(["good"] * 3),
        "amplitude_cutoff": np.zeros(3),
        "presence_ratio": np.ones(3),
        "isi_violations": np.zeros(3),
        "valid_channel": np.ones(3, bool),
        "in_brain": np.ones(3, bool),
    }
    return Units(**(table | changes))


def frames(*trials, count=3, length=0.1):
    """Trials of `count` frames of `length` seconds that start at the given times, as `Frames`."""
    start = np.concatenate([t + length * np.arange(count) for t in trials])
    return Frames(np.tile(np.arange(count, dtype=float), len(trials)), start, start + length)


def recording(**changes):
    """Movie one: two trials at 1 s and 2 s; movie three: one trial at 5 s; 3 frames of .1 s each."""
    last_edge = frames(2).stop[-1]
    content = {
        "name": "hand",
        "units": units(),
        "spike_times": {1: np.array([1.05, 1.25, 2.05, 2.06]), 2: np.array([5.15]), 3: np.array([1.0, last_edge, 9.0])},
        "stimuli": {"natural_movie_one": frames(1, 2), "natural_movie_three": frames(5)},
    }
    return Recording(**(content | changes))


def without(table, *rows):
    kept = np.setdiff1d(np.arange(len(table.frame)), rows)
    return Frames(*(np.asarray(getattr(table, column))[kept] for column in ("frame", "start", "stop")))


# ------------------------------------------------------------------------------------------------------------ counting


def test_counts_by_hand_in_ascending_unit_id():
    session = bin_recording(recording())
    np.testing.assert_array_equal(session.unit_ids, [1, 2, 3])
    np.testing.assert_array_equal(session.unit_areas, ["VISp", "CA1", "VISp"])
    one = [  # trials x frames x units 1, 2, 3; unit 3 fires on the first edge of trial 0 and on the last one of trial 1
        [[1, 0, 1], [0, 0, 0], [1, 0, 0]],
        [[2, 0, 0], [0, 0, 0], [0, 0, 1]],
    ]
    np.testing.assert_array_equal(session.counts("natural_movie_one"), one)
    np.testing.assert_array_equal(session.counts("natural_movie_three"), [[[0, 0, 0], [0, 1, 0], [0, 0, 0]]])
    assert session.counts("natural_movie_one").dtype == np.uint8
    assert session.bin_width == pytest.approx(0.1) and not session.simulated


def test_count_spikes_equals_histogram_also_on_edges_and_with_jitter():
    rng = np.random.default_rng(0)
    edges = np.cumsum(rng.uniform(0.01, 0.05, (7, 30)), axis=1)
    spikes = np.sort(np.concatenate([rng.uniform(0, 1.5, 500), edges[2], edges[5, ::3], edges[5, ::3]]))
    expected = [np.histogram(spikes, bins=row)[0] for row in edges]
    np.testing.assert_array_equal(count_spikes(spikes, edges), expected)
    np.testing.assert_array_equal(count_spikes(np.array([]), edges), np.zeros((7, 29)))


def test_several_bins_per_frame_divide_it_evenly():
    np.testing.assert_allclose(subdivide(np.array([[0.0, 1.0, 4.0]]), 2), [[0, 0.5, 1, 2.5, 4]])
    session = bin_recording(recording(), bins_per_frame=2)
    assert session.counts("natural_movie_one").shape == (2, 6, 3)
    np.testing.assert_array_equal(session.counts("natural_movie_one")[1, :, 0], [0, 2, 0, 0, 0, 0])
    np.testing.assert_array_equal(session.counts("natural_movie_one")[0, :, 0], [0, 1, 0, 0, 0, 1])
    assert session.bin_width == pytest.approx(0.05) and session.bins_per_frame == 2
    with pytest.raises(ValueError, match="bins_per_frame: expected at least 1"):
        bin_recording(recording(), bins_per_frame=0)


def test_unsorted_spikes_are_counted_alike_and_many_need_a_wider_type():
    many = np.full(300, 1.05)
    session = bin_recording(recording(spike_times={1: np.append(1.25, many), 2: many, 3: np.append(9.0, many)}))
    assert session.counts("natural_movie_one").dtype == np.uint16
    np.testing.assert_array_equal(session.counts("natural_movie_one")[0, :, 0], [300, 0, 1])


def test_stimuli_are_kept_in_the_order_asked_for():
    assert list(bin_recording(recording(), ["natural_movie_three", "natural_movie_one"]).stimuli) == [
        "natural_movie_three",
        "natural_movie_one",
    ]


# ------------------------------------------------------------------------------------------------------------- filters


@pytest.mark.parametrize(
    "column, value, passes",
    [
        ("quality", "noise", False),
        ("amplitude_cutoff", 0.1, True),
        ("amplitude_cutoff", 0.100001, False),
        ("amplitude_cutoff", np.nan, False),
        ("presence_ratio", 0.95, True),
        ("presence_ratio", 0.949999, False),
        ("presence_ratio", np.nan, False),
        ("isi_violations", 0.5, True),
        ("isi_violations", 0.500001, False),
        ("isi_violations", np.nan, False),
        ("valid_channel", False, False),
        ("in_brain", False, False),
    ],
)
def test_each_filter_at_its_limit(column, value, passes):
    table = units()
    changed = getattr(table, column).copy()
    changed[1] = value
    np.testing.assert_array_equal(passing_units(dataclasses.replace(table, **{column: changed})), [True, passes, True])


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Filters)])
def test_each_filter_can_be_skipped_and_a_missing_metric_says_how(name):
    table = dataclasses.replace(units(), **{name: None})
    with pytest.raises(DataError, match=f"the units have no '{name}', .* --skip {name} goes on without that filter"):
        passing_units(table)
    skipped = dataclasses.replace(Filters(), **{name: False if name in ("valid_channel", "in_brain") else None})
    np.testing.assert_array_equal(passing_units(table, skipped), [True, True, True])


def test_no_unit_left_after_the_filters_tells_how_many_each_rule_passes():
    none = recording(units=units(quality=np.array(["noise", "good", "noise"]), isi_violations=np.array([0, 2.0, 0])))
    with pytest.raises(DataError, match="recording hand: no unit passes the quality filters: of 3 units, quality 'good' 1, "):
        bin_recording(none)


# -------------------------------------------------------------------------------------------------------------- trials


def test_trials_run_from_frame_0_to_the_last_frames_stop():
    edges, _, dropped = find_trials(frames(1, 2))
    np.testing.assert_allclose(edges, [[1, 1.1, 1.2, 1.3], [2, 2.1, 2.2, 2.3]])
    assert dropped == []


def test_rows_in_any_order_give_the_same_trials():
    table = frames(1, 2)
    order = np.array([5, 0, 3, 1, 4, 2])
    shuffled = Frames(table.frame[order], table.start[order], table.stop[order])
    np.testing.assert_array_equal(find_trials(shuffled)[0], find_trials(table)[0])


def test_a_bin_lasts_until_the_next_frame_starts():
    table = frames(1)
    table.stop[:2] -= 0.03
    edges, _, dropped = find_trials(table)
    np.testing.assert_allclose(edges, [[1, 1.1, 1.2, 1.3]])
    assert dropped == []


@pytest.mark.parametrize("row, reason", [(3, "2 of 3 frames from 2.10 s"), (4, "2 of 3 frames from 2.00 s"), (5, "2 of 3")])
def test_a_trial_that_lacks_a_frame_is_dropped_alone(row, reason):
    edges, _, dropped = find_trials(without(frames(1, 2, 3), row))
    np.testing.assert_allclose(edges[:, 0], [1, 3])
    assert len(dropped) == 1 and reason in dropped[0]


def test_the_end_of_one_trial_is_never_merged_with_the_start_of_another():
    # without the last frame of one trial and the first two of the next, frames 0, 1, 2 seem to follow one another
    edges, _, dropped = find_trials(without(frames(1, 1.3, 1.6), 2, 3, 4))
    np.testing.assert_allclose(edges[:, 0], [1.6])
    assert len(dropped) == 1 and "a gap of 0.300 s" in dropped[0]


def test_a_long_frame_is_no_gap():
    start = np.array([1.0, 1.1, 1.35, 2.0, 2.1, 2.2])
    stop = np.array([1.1, 1.35, 1.45, 2.1, 2.2, 2.3])
    edges, _, dropped = find_trials(Frames(np.tile(np.arange(3), 2), start, stop))
    np.testing.assert_allclose(edges[0], [1, 1.1, 1.35, 1.45])
    assert dropped == []


def test_repeated_frames_and_times_that_stand_still_are_dropped():
    table = frames(1, 2)
    table.stop[5] = table.start[5]
    edges, _, dropped = find_trials(table)
    assert len(edges) == 1 and "times that do not increase" in dropped[0]
    again = Frames(np.array([0, 1, 1, 2]), np.array([1.0, 1.1, 1.2, 1.3]), np.array([1.1, 1.2, 1.3, 1.4]))
    edges, _, dropped = find_trials(again)
    assert len(edges) == 0 and len(dropped) == 2


@pytest.mark.parametrize("tag", ["stimulus", "all_probes"])
def test_invalid_stimulus_times_cost_the_trials_they_touch(tag):
    touching = InvalidInterval(frames(2).stop[-1], 2.4, ("EcephysSession", "1", tag))  # the stop time of trial 1 belongs to it
    assert len(find_trials(frames(1, 2, 3), [touching])[0]) == 2
    between = InvalidInterval(2.31, 2.4, ("EcephysSession", "1", tag))
    assert len(find_trials(frames(1, 2, 3), [between])[0]) == 3
    other = InvalidInterval(2.0, 2.1, ("EcephysSession", "1", "optotagging"))
    assert len(find_trials(frames(1, 2, 3), [other])[0]) == 3


def test_dropped_trials_are_reported():
    lines = []
    invalid = (InvalidInterval(2.15, 2.16, ("EcephysSession", "1", "stimulus")),)
    session = bin_recording(recording(invalid=invalid), report=lines.append)
    assert session.counts("natural_movie_one").shape == (1, 3, 3)
    assert lines == ["recording hand: natural_movie_one: 2 of 3 frames from 2.00 s on: trial dropped"]


def test_the_movies_length_is_that_of_all_its_frames():
    """Also where every trial lacks the same end."""
    ends = [InvalidInterval(t + 0.25, t + 0.26, ("EcephysSession", "1", "stimulus")) for t in (1, 2)]
    edges, numbers, dropped = find_trials(frames(1, 2), ends)
    assert len(edges) == len(numbers) == 0
    assert dropped == ["2 of 3 frames from 1.00 s on", "2 of 3 frames from 2.00 s on"]


def test_trials_keep_their_number_when_one_before_them_is_dropped():
    whole = InvalidInterval(1.9, 2.4, ("EcephysSession", "1", "stimulus"))
    edges, numbers, dropped = find_trials(frames(1, 2, 3, 4), [whole])
    assert numbers.tolist() == [0, 2, 3] and dropped == ["0 of 3 frames from 2.00 s on"]
    np.testing.assert_allclose(edges[:, 0], [1, 3, 4])
    movies = {"natural_movie_one": frames(1, 2, 3, 4), "natural_movie_three": frames(5)}
    session = bin_recording(recording(stimuli=movies, invalid=(whole,)), report=lambda line: None)
    assert session.trials["natural_movie_one"].tolist() == [0, 2, 3]
    assert session.trials["natural_movie_three"].tolist() == [0]


def test_no_complete_trial_and_missing_stimulus():
    everything = (InvalidInterval(0, 9, ("EcephysSession", "1", "stimulus")),)
    with pytest.raises(DataError, match="natural_movie_one: no complete trial is left"):
        bin_recording(recording(invalid=everything), report=lambda line: None)
    with pytest.raises(DataError, match="stimulus 'natural_movie_tree' is missing; it has natural_movie_one, natural_movie_t"):
        bin_recording(recording(), ["natural_movie_tree"])


@pytest.mark.parametrize(
    "frame, start, message",
    [
        (["0", "1", "null"], [1, 2, 3], "expected numbers"),
        ([0, 1, np.nan], [1, 2, 3], "finite"),
        ([0, 0.5, 1], [1, 2, 3], "whole"),
        ([-1, 0, 1], [1, 2, 3], "count from 0"),
        ([0, 1], [1, 2, 3], r"\(2,\) frame numbers"),
    ],
)
def test_bad_frame_tables(frame, start, message):
    with pytest.raises(DataError, match=f"movie frames: .*{message}"):
        find_trials(Frames(np.array(frame), np.array(start), np.array(start) + 1.0))


# -------------------------------------------------------------------------------------------------------------- probes


@pytest.mark.parametrize("tag", ["probeA", "11"])
def test_a_probe_that_is_invalid_during_a_trial_loses_its_units_and_no_others(tag):
    lines = []
    invalid = (InvalidInterval(5.29, 5.5, ("EcephysProbe", tag)),)
    session = bin_recording(recording(invalid=invalid), report=lines.append)
    np.testing.assert_array_equal(session.unit_ids, [1])  # VISp spans both probes: unit 3 goes, unit 1 stays
    assert session.counts("natural_movie_one")[:, :, 0].tolist() == [[1, 0, 1], [2, 0, 0]]
    assert len(lines) == 1 and "probe probeA was invalid" in lines[0] and "its 2 units" in lines[0]


def test_a_probe_that_is_invalid_between_trials_keeps_its_units():
    invalid = (InvalidInterval(2.31, 4.99, ("EcephysProbe", "11", "probeA")), InvalidInterval(0, 0.5, ()))
    assert bin_recording(recording(invalid=invalid)).num_units == 3


def test_all_probes_invalid():
    invalid = tuple(InvalidInterval(1.1, 1.2, ("EcephysProbe", name)) for name in ("probeA", "probeB"))
    with pytest.raises(DataError, match="recording hand: no unit is left: all probes were invalid during a trial"):
        bin_recording(recording(invalid=invalid), report=lambda line: None)


# -------------------------------------------------------------------------------------------------------------- clocks


@pytest.mark.parametrize("factor, unit", [(1e3, "milliseconds"), (1e6, "microseconds"), (1e9, "nanoseconds")])
def test_frames_in_another_unit_than_the_spikes_are_refused_with_a_guess(factor, unit):
    content = recording()
    scaled = {name: Frames(t.frame, factor * t.start, factor * t.stop) for name, t in content.stimuli.items()}
    message = f"recording hand: natural_movie_one: 2 of 2 trials are without .* the spikes between 1 and 9 s; .*in {unit}\\?"
    with pytest.raises(DataError, match=message):
        bin_recording(dataclasses.replace(content, stimuli=scaled))
    spikes = {unit: times / factor for unit, times in content.spike_times.items()}
    with pytest.raises(DataError, match="expected both in seconds"):
        bin_recording(dataclasses.replace(content, spike_times=spikes))


def test_a_clock_that_began_at_another_time_is_refused():
    late = {unit: times + 1e4 for unit, times in recording().spike_times.items()}
    with pytest.raises(DataError, match=r"the spikes between 10001 and 10009 s; expected both in seconds$"):
        bin_recording(recording(spike_times=late))
    for times in (np.array([]), np.array([np.nan])):
        with pytest.raises(DataError, match="recording hand: it has no spikes, or spike times that are not finite"):
            bin_recording(recording(spike_times=dict.fromkeys((1, 2, 3), times)))


def test_spikes_that_end_before_the_last_trials_are_counted():
    early = {1: np.array([1.05]), 2: np.array([2.35]), 3: np.array([1.0])}
    session = bin_recording(recording(spike_times=early), stimuli=["natural_movie_one"])
    assert session.counts("natural_movie_one").sum() == 2
