import numpy as np
import pandas as pd
import pytest

from closer_tf.common.values import one_per_row, plain, whole_numbers
from closer_tf.data.neuro.sessions import Session
from closer_tf.errors import DataError


@pytest.mark.parametrize(
    "given, expected",
    [
        (np.arange(3, dtype=">i2"), np.arange(3, dtype=np.int16)),
        (np.arange(3, dtype=">f4")[::-1], np.arange(3, dtype=np.float32)[::-1]),
        (np.arange(3, dtype=np.longdouble) / 4, np.arange(3) / 4),
        (np.array([b"VISp", b"\xc3\xa9"]), np.array(["VISp", "é"])),
        (np.array(["a", "bc"], dtype=">U2"), np.array(["a", "bc"])),
        (np.array(["a", "bc"], dtype=object), np.array(["a", "bc"])),
        (np.array([b"a", b"bc"], dtype=object), np.array(["a", "bc"])),
        (np.array([1, 2], dtype=object), np.array([1, 2])),
        (np.array([[1, 2.5]], dtype=object), np.array([[1, 2.5]])),
        (np.array([True, False], dtype=object), np.array([True, False])),
        (pd.Series(["a", "b"]).to_numpy(), np.array(["a", "b"])),
    ],
)
def test_arrays_of_other_programs(given, expected):
    found = plain(given)
    assert found.dtype == expected.dtype and found.dtype.isnative
    np.testing.assert_array_equal(found, expected)


def test_what_is_plain_stays_the_same_array():
    for array in (
        np.arange(3),
        np.zeros(2, np.float16),
        np.array(["a"]),
        np.array(["a", None], dtype=object),
        np.array([True]),
    ):
        assert plain(array) is array


def test_what_cannot_be_taken():
    with pytest.raises(DataError, match="no UTF-8"):
        plain(np.array([b"\xff"]))
    if np.finfo(np.longdouble).max > np.finfo(np.float64).max:  # not on every machine
        with pytest.raises(DataError, match="float64 cannot hold"):
            plain(np.array([np.longdouble("1e400")]))
    for value, says in (
        (0.5, "found 0.5"),
        (np.nan, "not finite"),
        (np.inf, "not finite"),
        (2.0**60, "up to 9007199254740992"),
    ):
        with pytest.raises(DataError, match=says):
            whole_numbers(np.array([1.0, value]))


def test_whole_numbers_and_columns():
    assert whole_numbers(np.array([1.0, -2.0], np.float16)).tolist() == [1, -2]
    assert one_per_row(np.ones((3, 1))).shape == one_per_row(np.ones((1, 3))).shape == (3,)
    assert one_per_row(np.ones((3, 2))).shape == (3, 2)


@pytest.mark.parametrize(
    "how", [np.array, lambda a: pd.Series(a, dtype=object), lambda a: np.array(a, object), lambda a: np.array(a, "S")]
)
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_sessions_take_areas_ids_and_counts_of_any_such_kind(how, shape):
    areas = np.asarray(how(["V1", "LM", "AL"])).reshape(shape)
    counts = np.ones((5, 6, 3), np.longdouble)
    session = Session(
        "m", np.array([3.0, 1.0, 2.0]).reshape(shape), areas, 0.03, {"one": counts}, trials={"one": np.arange(5.0)}
    )
    assert session.unit_areas.tolist() == ["V1", "LM", "AL"] and session.unit_ids.dtype == np.int64
    assert session.stimuli["one"].dtype == np.float64 and session.trials["one"].tolist() == list(range(5))


def test_an_area_that_is_no_text_is_named():
    with pytest.raises(
        DataError, match=r"unit_areas: expected 3 strings, one per unit \('' for none\), found .* \(unit 1: 2\)"
    ):
        Session("m", [1, 2, 3], np.array(["V1", 2, "AL"], object), 0.03, {"one": np.ones((5, 6, 3))})
