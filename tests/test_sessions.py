"""Sessions: checks, files, areas, samples; and the small extracts of real recordings."""

import io
import os
import zipfile

import numpy as np
import pytest

from closer_tf.common import files
from closer_tf.data.neuro.allen_arrays import read_gabors, read_natural_movie
from closer_tf.data.neuro.sessions import Session, area_sizes
from closer_tf.data.samples import make_samples
from closer_tf.errors import DataError


def numbered(trials, bins, units, offset=0):
    """Counts whose value says where they are: 1000 * trial + 10 * bin + unit."""
    trial, frame, unit = np.ogrid[:trials, :bins, :units]
    return 1000 * trial + 10 * frame + unit + offset


def session(**changes):
    arguments = {
        "name": "mouse",
        "unit_ids": [30, 10, 20],
        "unit_areas": ["VISp", "CA1", "VISp"],
        "bin_width": 0.0333,
        "stimuli": {"one": numbered(5, 6, 3), "three": numbered(4, 10, 3, offset=50000)},
    }
    return Session(**(arguments | changes))


# ------------------------------------------------------------------------------------------------------------- checks


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"unit_ids": []}, "no unit left"),
        (
            {"unit_ids": [30.5, 10.0, 20.0]},
            "unit_ids: expected one integer or string per unit: expected whole numbers, found 30.5",
        ),
        ({"unit_ids": [30, 10, 30]}, "unit 30 occurs 2 times"),
        ({"unit_areas": ["VISp", "CA1"]}, "unit_areas: expected 3 strings"),
        ({"unit_areas": [1, 2, 3]}, "unit_areas: expected 3 strings"),
        ({"bin_width": 0}, "bin_width: expected one number of seconds above 0"),
        ({"bin_width": np.nan}, "bin_width: expected one number of seconds above 0"),
        (
            {"bin_width": 100},
            "bin_width: expected seconds, from 0.0001 to below 10, found 100; if these are milliseconds, give 0.1",
        ),
        ({"bin_width": 10.0}, "found 10; if these are milliseconds, give 0.01"),
        ({"bin_width": 3.3e-5}, "bin_width: expected seconds, from 0.0001 to below 10, found 3.3e-05$"),
        ({"unit_ids": ["a", "b", "a"]}, "unit_ids: unit a occurs 2 times; expected each once"),
        (
            {"unit_ids": [1.0, np.nan, 2.0]},
            "unit_ids: expected one integer or string per unit: holds values that are not finite",
        ),
        ({"stimuli": {}}, "no stimulus"),
        ({"stimuli": {"one": np.zeros((5, 6))}}, r"counts_one: expected spike counts \(trials, bins, units\)"),
        ({"stimuli": {"one": np.zeros((5, 0, 3))}}, r"counts_one: expected spike counts \(trials, bins, units\)"),
        ({"stimuli": {"one": np.zeros((5, 6, 4))}}, "counts_one: expected 3 units as in unit_ids, found 4"),
        ({"stimuli": {"one": np.full((5, 6, 3), "a")}}, "counts_one: expected numbers"),
        ({"stimuli": {"one": np.full((5, 6, 3), -1)}}, "counts_one: expected spike counts >= 0, found -1"),
        ({"stimuli": {"one": [np.zeros((6, 3)), np.zeros((5, 3))]}}, "trials of different length: trial 1 has shape"),
    ],
)
def test_bad_sessions_say_what_is_wrong(changes, message):
    with pytest.raises(DataError, match=message):
        session(**changes)


def test_arrays_as_other_programs_hand_them_over():
    pandas = pytest.importorskip("pandas")
    expected = session()
    areas = np.array(["VISp", "CA1", "VISp"])
    for given in (areas.astype(object), areas.astype("S"), areas[:, None], pandas.Series(areas), pandas.Categorical(areas)):
        np.testing.assert_array_equal(session(unit_areas=given).unit_areas, areas)
    for given in (np.array([30.0, 10, 20]), np.array([[30], [10], [20]]), pandas.Series([30, 10, 20], dtype="Int64")):
        found = session(unit_ids=given).unit_ids
        assert found.tolist() == [30, 10, 20] and found.dtype == np.int64
    for kind in ("longdouble", "longlong", ">i4", ">f8", "ulonglong"):
        counts = {name: counts.astype(kind) for name, counts in expected.stimuli.items()}
        given = session(stimuli=counts, trials={"one": np.arange(5).astype(kind)})
        assert given.counts("one").dtype.char in "dlLi" and given.counts("one").dtype.isnative
        np.testing.assert_array_equal(given.counts("one"), expected.counts("one"))
        np.testing.assert_array_equal(given.trials["one"], np.arange(5))


def test_units_without_an_area_in_the_words_of_any_table():
    mouse = session(unit_areas=[None, "VISp", np.nan])
    assert mouse.unit_areas.tolist() == ["", "VISp", ""] and area_sizes(mouse.unit_areas) == {"VISp": 1}
    assert area_sizes(session(unit_areas=["unknown", "nan", "VISp"]).unit_areas) == {"VISp": 1}


def test_a_session_is_shown_in_one_line():
    shown = repr(session())
    assert shown == "Session('mouse': 3 units in 2 areas, bins of 0.0333 s, one 5 trials of 6 bins, three 4 trials of 10 bins)"


def test_a_stimulus_without_a_spike_is_not_told_apart():
    with pytest.raises(DataError, match="session mouse: all counts of stimulus 'three' are 0; were its times"):
        make_samples(session(stimuli={"one": numbered(5, 6, 3), "three": np.zeros((5, 10, 3))}))


def test_trials_padded_with_nan_are_refused_by_number():
    counts = np.zeros((5, 6, 3))
    counts[3, 5] = np.nan
    with pytest.raises(DataError, match="counts_one: trial 3 holds values that are not finite; a shorter trial"):
        session(stimuli={"one": counts})


def test_a_list_of_equal_trials_is_taken():
    counts = numbered(2, 6, 3)
    np.testing.assert_array_equal(session(stimuli={"one": list(counts)}).counts("one"), counts)


def test_unknown_stimulus_is_named_with_a_suggestion():
    with pytest.raises(DataError, match="session mouse: no stimulus 'thre'; it has one, three. Did you mean 'three'?"):
        session().counts("thre")


# -------------------------------------------------------------------------------------------------------------- files


def test_save_and_load_give_the_same_session(tmp_path):
    stimuli = {"three": numbered(4, 10, 3).astype(np.uint16), "one": np.full((5, 6, 3), 2, np.float32)}
    saved = session(stimuli=stimuli, simulated=True)
    saved.save(tmp_path / "new" / "mouse.npz")
    loaded = Session.load(tmp_path / "new" / "mouse.npz")
    assert (loaded.name, loaded.bin_width, loaded.simulated) == ("mouse", 0.0333, True)
    assert list(loaded.stimuli) == ["three", "one"]
    assert [os.path.basename(f) for f in os.listdir(tmp_path / "new")] == ["mouse.npz"]
    for name, counts in stimuli.items():
        assert loaded.counts(name).dtype == counts.dtype
        np.testing.assert_array_equal(loaded.counts(name), counts)
    np.testing.assert_array_equal(loaded.unit_ids, [30, 10, 20])
    np.testing.assert_array_equal(loaded.unit_areas, ["VISp", "CA1", "VISp"])


def own_arrays(**changes):
    arrays = {
        "unit_ids": np.array([1, 2]),
        "unit_areas": np.array(["A", "B"]),
        "bin_width": 0.05,
        "counts_movie": np.ones((4, 5, 2), np.uint8),
    }
    return {name: array for name, array in (arrays | changes).items() if array is not None}


def test_a_file_of_ones_own_needs_four_arrays(tmp_path):
    np.savez(tmp_path / "own.npz", **own_arrays())
    loaded = Session.load(tmp_path / "own.npz")
    assert (loaded.name, loaded.simulated, loaded.bin_width) == ("own", False, 0.05)
    assert loaded.counts("movie").shape == (4, 5, 2)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"unit_ids": None}, "no array 'unit_ids'; found unit_areas, bin_width, counts_movie"),
        ({"unit_areas": None, "unit_area": np.array(["A"])}, "no array 'unit_areas'.*Did you mean 'unit_area'?"),
        ({"bin_width": None}, "no array 'bin_width'"),
        ({"counts_movie": None}, "no stimulus: expected at least one array 'counts_<stimulus>'"),
        ({"counts_movie": np.ones((4, 5, 3))}, "counts_movie: expected 2 units as in unit_ids, found 3"),
        ({"unit_areas": np.array(["A"])}, "unit_areas: expected 2 strings"),
        ({"bin_width": np.array([0.05, 0.05])}, "bin_width: expected one number"),
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path, changes, message):
    np.savez(tmp_path / "own.npz", **own_arrays(**changes))
    with pytest.raises(DataError, match=f"own.npz: {message}"):
        Session.load(tmp_path / "own.npz")


def test_absent_truncated_and_foreign_files(tmp_path):
    with pytest.raises(DataError, match="gone.npz: no such file"):
        Session.load(tmp_path / "gone.npz")
    session().save(tmp_path / "whole.npz")
    content = (tmp_path / "whole.npz").read_bytes()
    for cut in (0, 10, len(content) // 2, len(content) - 1):
        (tmp_path / "cut.npz").write_bytes(content[:cut])
        with pytest.raises(DataError, match="cut.npz: not a readable .npz file of plain arrays; it may be cut short"):
            Session.load(tmp_path / "cut.npz")
    (tmp_path / "text.npz").write_text("unit_ids = 1, 2, 3")
    with pytest.raises(DataError, match="text.npz: not a readable .npz file"):
        Session.load(tmp_path / "text.npz")


def test_a_flipped_byte_in_the_counts_is_noticed(tmp_path):
    rng = np.random.default_rng(0)
    session(stimuli={"one": rng.poisson(2.0, (20, 50, 3)).astype(np.uint8)}).save(tmp_path / "mouse.npz")
    content = bytearray((tmp_path / "mouse.npz").read_bytes())
    content[content.index(b"counts_one") + 500] ^= 0xFF
    (tmp_path / "mouse.npz").write_bytes(content)
    with pytest.raises(DataError, match="not a readable .npz file"):
        Session.load(tmp_path / "mouse.npz")


def test_pickles_are_refused(tmp_path):
    ragged = np.empty(2, dtype=object)
    ragged[:] = [np.zeros((5, 2)), np.zeros((6, 2))]
    np.savez(tmp_path / "own.npz", **own_arrays(counts_movie=ragged))
    with pytest.raises(DataError, match="counts_movie: holds Python objects"):
        Session.load(tmp_path / "own.npz")


def test_declared_sizes_are_checked_before_anything_is_allocated(tmp_path, monkeypatch):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**6, 2)})
    np.savez(tmp_path / "own.npz", **own_arrays(counts_movie=None))
    with zipfile.ZipFile(tmp_path / "own.npz", "a") as archive:
        archive.writestr("counts_movie.npy", header.getvalue())
    with pytest.raises(DataError, match="counts_movie: declares 2,000,000,000,000 bytes, the file holds 128"):
        Session.load(tmp_path / "own.npz")
    np.savez(tmp_path / "own.npz", **own_arrays())
    monkeypatch.setattr(files, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="bytes of arrays; at most 100 are read"):
        Session.load(tmp_path / "own.npz")


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    session().save(tmp_path / "mouse.npz")
    before = (tmp_path / "mouse.npz").read_bytes()

    def full(handle):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="mouse.npz: cannot be written: no space left"):
        session(name="other").save(tmp_path / "mouse.npz")
    assert (tmp_path / "mouse.npz").read_bytes() == before
    assert os.listdir(tmp_path) == ["mouse.npz"]


# -------------------------------------------------------------------------------------------------------------- areas


def recording(sizes):
    areas = [area for area, size in sizes.items() for _ in range(size)]
    units = len(areas)
    return session(unit_ids=np.arange(units)[::-1], unit_areas=areas, stimuli={"one": numbered(1, 1, units)})


def test_largest_areas_leave_out_grey_and_unnamed_units_and_break_ties_as_published():
    mouse = recording({"SUB": 2, "grey": 9, "": 7, "PO": 3, "LGd": 3, "VISp": 5, "CA1": 2})
    # np.argsort of the sizes of CA1 2, LGd 3, PO 3, SUB 2, VISp 5 is CA1, SUB, LGd, PO, VISp; from behind:
    sizes = area_sizes(mouse.unit_areas, ("grey",))
    assert sizes == {"VISp": 5, "PO": 3, "LGd": 3, "SUB": 2, "CA1": 2}
    assert list(sizes) == ["VISp", "PO", "LGd", "SUB", "CA1"]
    assert list(area_sizes(mouse.unit_areas, ("VISp",)))[:2] == ["grey", "PO"]


# ------------------------------------------------------------------------------------------------------------ samples


def test_windows_are_previous_then_current_and_stay_inside_their_trial():
    splits = make_samples(session())
    train = splits.train
    # "one" has 6 bins: current bins 2, 3, 4 of trials 0, 2, 4; "three" has 10 bins: 2 to 8 of trials 0 and 2.
    assert len(train) == 3 * 3 + 2 * 7
    assert (len(splits.validation), len(splits.test)) == (3 + 7, 3 + 7)
    assert splits.label_names == ("one", "three")
    np.testing.assert_array_equal(train.inputs[0], [[10, 11, 12], [20, 21, 22]])
    np.testing.assert_array_equal(train.inputs[3], [[2010, 2011, 2012], [2020, 2021, 2022]])
    np.testing.assert_array_equal(train.inputs[-1], [[52070, 52071, 52072], [52080, 52081, 52082]])
    np.testing.assert_array_equal(train.labels, [0] * 9 + [1] * 14)
    np.testing.assert_array_equal(train.about["frame"][:9], [2, 3, 4] * 3)
    np.testing.assert_array_equal(train.about["trial"][:9], [0, 0, 0, 2, 2, 2, 4, 4, 4])
    np.testing.assert_array_equal(splits.validation.about["trial"], [1] * 10)
    np.testing.assert_array_equal(splits.test.about["trial"], [3] * 10)
    for part in (splits.train, splits.validation, splits.test):
        current = 1000 * part.about["trial"] + 10 * part.about["frame"] + 50000 * part.about["stimulus"]
        np.testing.assert_array_equal(part.inputs[:, 1, 0], current)
        np.testing.assert_array_equal(part.inputs[:, 0, 0], current - 10)


def test_full_range_and_window_length():
    full = make_samples(session(), stimuli=["one", "three"], full_range=True).validation
    np.testing.assert_array_equal(full.about["frame"], [1, 2, 3, 4, 5, *range(1, 10)])
    single = make_samples(session(), window=1, full_range=True).validation
    np.testing.assert_array_equal(single.about["frame"], [*range(6), *range(10)])
    longer = make_samples(session(), window=3).validation
    np.testing.assert_array_equal(longer.about["frame"], [3, 4, *range(3, 9)])
    np.testing.assert_array_equal(longer.inputs[0, :, 0], [1010, 1020, 1030])


def test_labels():
    order = make_samples(session(), stimuli=["three", "one"]).validation
    np.testing.assert_array_equal(order.labels, [0] * 7 + [1] * 3)
    segments = make_samples(session(), stimuli=["three"], label="segment", segments=3)
    # bins 2 to 8 of 10: thirds end before bins 3.33 and 6.67
    np.testing.assert_array_equal(segments.test.labels, [0, 0, 1, 1, 1, 2, 2])
    assert segments.label_names == ("1/3", "2/3", "3/3")
    time = make_samples(session(), stimuli=["three"], label="time")
    np.testing.assert_allclose(time.test.labels, [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], rtol=1e-6)
    assert time.label_names == ()


def test_split_by_trial_of_ten_and_twenty_trials_and_the_published_sizes():
    mouse = session(
        unit_ids=[1],
        unit_areas=["VISp"],
        stimuli={"one": np.ones((20, 900, 1), np.uint8), "three": np.ones((10, 3600, 1), np.uint8)},
    )
    splits = make_samples(mouse)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (32346, 10782, 10782)
    assert splits.train.inputs.dtype == np.uint8
    one = [np.unique(part.about["trial"][part.about["stimulus"] == 0]).tolist() for part in (splits.validation, splits.test)]
    three = [np.unique(part.about["trial"][part.about["stimulus"] == 1]).tolist() for part in (splits.validation, splits.test)]
    assert one == [[1, 6, 11, 16], [3, 8, 13, 18]]
    assert three == [[1, 6], [3, 8]]


def test_samples_that_cannot_be_made():
    with pytest.raises(DataError, match="no stimulus 'two'"):
        make_samples(session(), stimuli=["one", "two"])
    with pytest.raises(DataError, match="label 'stimulus' needs at least two stimuli"):
        make_samples(session(), stimuli=["one"])
    with pytest.raises(DataError, match="stimulus 'one' has 3 trials; at least 4 are needed"):
        make_samples(session(stimuli={"one": numbered(3, 6, 3)}), label="time")
    with pytest.raises(DataError, match="trials of 'one' have 6 bins, too few for windows of 5"):
        make_samples(session(), window=5)
    with pytest.raises(DataError, match="each named once"):
        make_samples(session(), stimuli=["one", "one"])
    with pytest.raises(DataError, match="label: expected one of stimulus, segment, time, none, found 'movie'"):
        make_samples(session(), label="movie")


def test_trials_are_split_by_their_number_among_all_that_were_shown(tmp_path):
    numbers = {"one": np.array([0, 1, 3, 4, 6]), "three": np.array([1, 2, 3, 8])}
    session(trials=numbers, bins_per_frame=2).save(tmp_path / "mouse.npz")
    loaded = Session.load(tmp_path / "mouse.npz")
    assert {name: found.tolist() for name, found in loaded.trials.items()} == {k: v.tolist() for k, v in numbers.items()}
    assert loaded.bins_per_frame == 2 and list(loaded.stimuli) == ["one", "three"]
    splits = make_samples(loaded)
    trials = [
        np.unique(part.about["trial"][part.about["stimulus"] == 0]).tolist()
        for part in (splits.train, splits.validation, splits.test)
    ]
    assert trials == [[0, 4], [1, 6], [3]]
    third = splits.test.inputs[(splits.test.about["stimulus"] == 0) & (splits.test.about["frame"] == 2)]
    np.testing.assert_array_equal(third[0, 1], [2020, 2021, 2022])  # what was shown as trial 3 is the third in the file
    assert loaded.take_units([1]).trials["one"].tolist() == [0, 1, 3, 4, 6]
    assert session().trials["three"].tolist() == [0, 1, 2, 3] and session().bins_per_frame is None


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"trials_movie": np.arange(3)}, "trials_movie: expected 4 integers, one per trial, found shape"),
        ({"trials_movie": np.array([0, 1, 1, 2])}, "trials_movie: expected numbers >= 0 in ascending order, found"),
        ({"trials_other": np.arange(4)}, "trials_other: no array 'counts_other'; it has movie"),
        ({"bins_per_frame": np.array(0)}, "bins_per_frame: expected one integer of at least 1"),
    ],
)
def test_bad_trial_numbers(tmp_path, changes, message):
    np.savez(tmp_path / "own.npz", **own_arrays(**changes))
    with pytest.raises(DataError, match=f"own.npz: {message}"):
        Session.load(tmp_path / "own.npz")


@pytest.mark.parametrize(
    "numbers, message",
    [
        ([0, 2, 3, 5, 7], "none of 1, 6, ..., which are the validation"),
        ([0, 1, 2, 4, 5], "none of 3, 8, ..., which are the test"),
    ],
)
def test_a_part_without_trials(numbers, message):
    with pytest.raises(DataError, match=f"stimulus 'one' has trials {', '.join(map(str, numbers))}; {message}"):
        make_samples(session(trials={"one": np.array(numbers)}))
    with pytest.raises(DataError, match="none to train on"):
        make_samples(session(trials={"one": np.array([1, 3, 6, 8, 11])}))


# --------------------------------------------------------------------------------------------------------- extracts


def gabor_arrays(**changes):
    """Three units, four repeats of two positions."""
    arrays = {
        "counts": np.arange(24, dtype=np.uint8).reshape(3, 8),
        "areas": np.array(["VISp", "VISl", "VISp"]),
        "unit_ids": np.array([7, 8, 9]),
        "qc_pass": np.array([True, False, True]),
        "x": np.array([10, -10] * 4, np.int8),
        "y": np.array([0, 20] * 4, np.int8),
        "repeat": np.repeat(np.arange(4), 2).astype(np.int8),
    }
    return {name: array for name, array in (arrays | changes).items() if array is not None}


def test_gabors_are_labelled_by_position_and_split_by_repeat(tmp_path):
    np.savez(tmp_path / "gabors_42.npz", **gabor_arrays())
    gabors = read_gabors(tmp_path / "gabors_42.npz")
    assert (gabors.name, gabors.label_names) == ("42", ("(-10, 20)", "(10, 0)"))
    np.testing.assert_array_equal(gabors.unit_ids, [7, 9])
    np.testing.assert_array_equal(gabors.inputs, np.arange(24).reshape(3, 8)[[0, 2]].T)
    splits = gabors.split()
    np.testing.assert_array_equal(splits.train.about["frame"], [0, 1, 4, 5])
    np.testing.assert_array_equal(splits.validation.inputs, [[2, 18], [3, 19]])
    np.testing.assert_array_equal(splits.test.labels, [1, 0])
    assert read_gabors(tmp_path / "gabors_42.npz", all_units=True).inputs.shape == (8, 3)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"x": None}, "no array 'x'"),
        ({"y": np.zeros(7)}, "y: expected 8 entries, one for each of the presentations, found 7"),
        ({"areas": np.array(["VISp"])}, "areas: expected 3 entries, one for each of the units, found 1"),
        ({"counts": np.zeros(8)}, "counts: expected 2 dimension"),
        ({"qc_pass": np.zeros(3, bool)}, "none of the 3 units passed"),
        ({"repeat": np.zeros(8, np.int8)}, "repeat: expected at least 4 repeats"),
    ],
)
def test_bad_gabor_files(tmp_path, changes, message):
    np.savez(tmp_path / "gabors_42.npz", **gabor_arrays(**changes))
    with pytest.raises(DataError, match=f"gabors_42.npz: {message}"):
        read_gabors(tmp_path / "gabors_42.npz")


def test_natural_movie_extract(tmp_path):
    counts = np.arange(2 * 4 * 5, dtype=np.int16).reshape(2, 4, 5)
    arrays = {"counts": counts, "areas": np.array(["VISp", "CA1"]), "unit_ids": np.array([4, 3])}
    np.savez(tmp_path / "natural_movie_one_99.npz", **arrays)
    movie = read_natural_movie(tmp_path / "natural_movie_one_99.npz")
    assert (movie.name, movie.bin_width, movie.simulated) == ("99", 1.0, False)
    assert movie.counts("natural_movie_one")[3, 2, 1] == counts[1, 3, 2]
    np.savez(tmp_path / "natural_movie_one_99.npz", **(arrays | {"unit_ids": np.array([4, 4])}))
    with pytest.raises(DataError, match="natural_movie_one_99.npz: unit_ids: unit 4 occurs 2 times"):
        read_natural_movie(tmp_path / "natural_movie_one_99.npz")


@pytest.mark.real_data
def test_real_natural_movie(shared):
    movie = read_natural_movie(shared / "data" / "neuropixels" / "natural_movie_one_791319847.npz")
    assert movie.counts("natural_movie_one").shape == (20, 30, 555)
    areas = list(area_sizes(movie.unit_areas, ("grey",)))[:8]
    assert areas == ["VISp", "CA1", "VISrl", "VISl", "VISam", "VISal", "SUB", "CA3"]
    assert area_sizes(movie.unit_areas)["VISp"] == 93
    splits = make_samples(movie, label="segment", segments=3, full_range=True)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (12 * 29, 4 * 29, 4 * 29)
    assert splits.train.inputs.shape[1:] == (2, 555)
    # The published check of the extract: nearest centroid over the 30 bins in VISp, even against odd repeats, is .91.
    visp = movie.counts("natural_movie_one")[:, :, movie.unit_areas == "VISp"].astype(float)
    means, sds = visp[::2].mean(axis=(0, 1)), visp[::2].std(axis=(0, 1))
    scaled = (visp - means) / np.where(sds > 0, sds, 1)
    distances = ((scaled[1::2, :, None] - scaled[::2].mean(axis=0)) ** 2).sum(axis=-1)
    assert (distances.argmin(axis=-1) == np.arange(30)).mean() > 0.85


@pytest.mark.real_data
@pytest.mark.parametrize("name, units", [("751348571", 358), ("755434585", 479), ("760693773", 532)])
def test_real_gabors(shared, name, units):
    gabors = read_gabors(shared / "data" / "neuropixels" / f"gabors_{name}.npz")
    assert gabors.inputs.shape == (3645, units)
    assert len(gabors.label_names) == 81 and set(np.bincount(gabors.labels)) == {45}
    splits = gabors.split()
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (9 * 243, 3 * 243, 3 * 243)
    # Nearest centroid over the 81 positions decodes far above chance (.012).
    mean, sd = splits.train.inputs.mean(axis=0), splits.train.inputs.std(axis=0)
    train, test = ((part.inputs - mean) / np.where(sd > 0, sd, 1) for part in (splits.train, splits.test))
    centroids = np.stack([train[splits.train.labels == k].mean(axis=0) for k in range(81)])
    nearest = ((test[:, None] - centroids) ** 2).sum(axis=-1).argmin(axis=1)
    assert (nearest == splits.test.labels).mean() > 0.2
