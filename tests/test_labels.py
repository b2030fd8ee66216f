import numpy as np
import pytest

from closer_tf.common.values import as_areas, as_labels, plain
from closer_tf.data import Split, Splits
from closer_tf.errors import DataError

Y = np.repeat([0, 1, 2], 4)
NAMES = np.array(["cat", "dog", "owl"])[Y]


@pytest.mark.parametrize(
    "values, expected",
    [
        (Y[:, None], Y),
        (Y.tolist(), Y),
        (Y.astype(float), Y),
        (Y.astype(np.longdouble)[:, None], Y),
        (Y.astype(np.uint8), Y),
        (Y.astype(">i4"), Y),
        (Y.astype("longlong"), Y),
        (Y.astype(object), Y),
        (Y > 0, Y > 0),
        ((Y > 0).astype(object), Y > 0),
        (NAMES.tolist(), NAMES),
        (NAMES.astype("S"), NAMES),
        (NAMES.astype(object), NAMES),
        (NAMES.astype("S").astype(object)[:, None], NAMES),
        (np.array(["größe".encode()] * 2), ["größe"] * 2),
    ],
)
def test_labels_as_other_programs_write_them(values, expected):
    found = as_labels(values)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype.kind == "U" or found.dtype.char == np.dtype(np.int64).char


def test_columns_of_data_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"y": Y, "name": NAMES})
    for column in (frame["y"], frame[["y"]], frame["y"].astype("Int64"), frame["y"].astype("category")):
        np.testing.assert_array_equal(as_labels(column), Y)
    for column in (frame["name"], frame[["name"]], frame["name"].astype("category"), frame["name"].astype("string")):
        np.testing.assert_array_equal(as_labels(column), NAMES)
        np.testing.assert_array_equal(as_areas(column, 12), NAMES)
    with pytest.raises(DataError, match="y: the label at position 1 is missing"):
        as_labels(pandas.Series([1, None, 2], dtype="Int64"), "y")
    missing = pandas.Series(["LP", None, np.nan, pandas.NA, pandas.NaT, "VISp"])
    for column in (missing, missing.astype("string"), missing.astype("category"), missing.astype(str)):
        assert as_areas(column, 6).tolist() == ["LP", "", "", "", "", "VISp"]


@pytest.mark.parametrize(
    "values, message",
    [
        ([0.5, 1.0], "y: expected whole numbers, found 0.5"),
        ([0.0, np.nan], "y: holds values that are not finite"),
        ([0.0, np.inf], "y: holds values that are not finite"),
        ([0.0, 2.0**60], "found 1.15"),
        (np.array([2**63], np.uint64), r"below 2\^63"),
        (["a", None], "y: the label at position 1 is missing"),
        (np.array(["a", 1], object), "y: expected integers or strings, found object"),
        (np.array([1 + 2j, 1]), "expected integers or strings, found complex128"),
        (np.eye(3), r"y: expected one label per sample, found shape \(3, 3\); give one-hot labels as labels.argmax"),
        (np.array("a"), r"expected one label per sample, found shape \(\)"),
    ],
)
def test_labels_that_are_none(values, message):
    with pytest.raises(DataError, match=message):
        as_labels(values, "y")


def test_areas_and_units_without_one():
    words = ["VISp", "", " ", "nan", "NaN", "None", "null", "<NA>", "unknown", "Unknown", "LP ", "grey"]
    expected = ["VISp", *[""] * 9, "LP", "grey"]
    for values in (words, np.array(words, "S"), np.array(words, object), np.array(words)[:, None]):
        assert as_areas(values, 12).tolist() == expected
    assert as_areas([None, float("nan")], 2).tolist() == as_areas([np.nan] * 2, 2).tolist() == ["", ""]
    assert as_areas([385, 409], 2, numbered=True).tolist() == ["385", "409"]
    assert (
        as_areas([385.0, np.nan], 2, numbered=True).tolist() == as_areas([385, None], 2, numbered=True).tolist() == ["385", ""]
    )
    assert as_areas(["V1", None], 2, numbered=True).tolist() == ["V1", ""]


@pytest.mark.parametrize("values", [["V1"], [1, 2], [1.0, np.nan], [["a", "b"], ["c", "d"]], [True, False], []])
def test_areas_that_are_none(values):
    with pytest.raises(DataError, match=r"areas: expected 2 strings, one per unit \('' for none\), found shape"):
        as_areas(values, 2)


@pytest.mark.parametrize("kind", ["longdouble", "longlong", "ulonglong", ">f4", ">i2", "float16", "uint8", "float64"])
def test_numbers_in_types_that_tensorflow_takes(kind):
    values = np.arange(4).astype(kind)
    found = plain(values)
    np.testing.assert_array_equal(found, values)
    assert found.dtype.isnative and found.dtype.char in "efdbBhHiIlL"
    assert found is values or found.dtype.char != values.dtype.char or not values.dtype.isnative


def splits(inputs=None, label_names=("a", "b", "c"), unit_areas=(), labels=Y):
    part = Split(np.zeros((12, 4), np.float32) if inputs is None else inputs, labels)
    return Splits("mine", part, part, part, label_names, unit_areas=unit_areas)


def test_splits_made_by_hand_hold_plain_arrays():
    for labels in (Y[:, None], Y.astype(float), Y.astype("longlong"), Y.astype(object), Y.tolist()):
        made = splits(labels=labels)
        assert made.test.labels.dtype == "int32" and made.test.labels.tolist() == Y.tolist()
        assert made.chance == pytest.approx(1 / 3)
    assert splits(np.zeros((12, 4), np.longdouble)).train.inputs.dtype == np.float64
    assert splits(unit_areas=np.array(["V1", None, np.nan, "LP"], object)).unit_areas == ("V1", "", "", "LP")
    times = splits(label_names=(), labels=np.linspace(0, 1, 12))
    assert times.train.labels.tolist() == np.linspace(0, 1, 12).tolist()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"labels": Y + 1}, "mine: train: expected labels from 0 to 2, as in label_names, found labels from 1 to 3"),
        ({"labels": Y - 1}, "found labels from -1 to 1"),
        ({"labels": Y + 0.5}, "mine: train: labels: expected whole numbers, found 0.5"),
        ({"labels": NAMES}, "expected labels that are indices into label_names, found 'cat'"),
        ({"labels": Y[:-1]}, r"expected one label for each of the 12 stimuli, found shape \(11,\)"),
        ({"labels": np.eye(12)}, "expected one label per sample"),
        ({"inputs": np.full((12, 4), "a")}, "expected stimuli that are numbers"),
        ({"unit_areas": ["V1"]}, "mine: unit_areas: expected 4 strings"),
    ],
)
def test_splits_that_do_not_fit(changes, message):
    with pytest.raises(DataError, match=message):
        splits(**changes)
