"""What a run knows of its data, without training."""

import time
from dataclasses import replace

import numpy as np
import pytest

from closer_tf.data import Source, Split, load_data, split_source
from closer_tf.data.fingerprint import differences, identity_of
from closer_tf.data.neuro.sessions import Session

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 6, 5, 3)).astype(np.uint8)
LABELS = np.arange(40) % 4


def source(images=IMAGES, labels=LABELS, names=("a", "b", "c", "d"), **changes):
    return Source(Split(images[:30], labels[:30]), Split(images[30:], labels[30:]), names, 1 / 255, **changes)


def changed(values, place, to):
    values = values.copy()
    values[place] = to
    return values


@pytest.mark.parametrize("kind", [np.int64, np.uint16, np.float32, np.float64, ">i4"])
def test_equal_values_are_equal_data_whatever_their_type_and_layout(kind):
    first = identity_of(source())
    other = identity_of(source(np.asfortranarray(IMAGES.astype(kind)), LABELS.astype(np.int32)))
    assert other["fingerprint"] == first["fingerprint"] and not differences(first, other)
    fractions = IMAGES / 255
    doubled = identity_of(source(fractions)), identity_of(source(fractions.astype(np.float32)))
    assert doubled[0]["fingerprint"] == doubled[1]["fingerprint"] != first["fingerprint"]
    assert identity_of(source(-0.0 * fractions))["fingerprint"] == identity_of(source(0.0 * fractions))["fingerprint"]


@pytest.mark.parametrize(
    "other, says",
    [
        (source(changed(IMAGES, (3, 2, 1, 0), IMAGES[3, 2, 1, 0] ^ 1)), ["training set: inputs differ, in value or order"]),
        (source(changed(IMAGES, 35, 0)), ["test set: inputs differ, in value or order"]),
        (source(labels=changed(LABELS, 2, 3)), ["training set: labels differ, in value or order"]),
        (source(labels=changed(LABELS, 39, 0)), ["test set: labels differ, in value or order"]),
        (
            source(IMAGES[::-1]),
            ["training set: inputs differ, in value or order", "test set: inputs differ, in value or order"],
        ),
        (source(IMAGES[:39], LABELS[:39]), ["test set: samples 10 then, 9 now"]),
        (
            source(IMAGES[..., :1]),
            ["training set: shape [6, 5, 3] then, [6, 5, 1] now", "test set: shape [6, 5, 3] then, [6, 5, 1] now"],
        ),
        (source(names=("a", "b", "c", "e")), ["label names: number 3 'd' then, 'e' now"]),
        (source(names=("a", "b", "c", "d", "e")), ["label names: 4 then, 5 now"]),
        (source(unit_areas=("V1",)), ["brain areas of the units: 0 then, 1 now"]),
        (source(validation=Split(IMAGES[:2], LABELS[:2])), ["validation set: none then, its own now"]),
        (replace(source(), input_scale=1 / 200), ["scale of the inputs: 0.003922 then, 0.005 now"]),
    ],
)
def test_what_differs_is_said(other, says):
    then, now = identity_of(source()), identity_of(other)
    assert differences(then, now) == says and not differences(now, now)
    assert (then["fingerprint"] == now["fingerprint"]) == says[0].startswith("scale")
    assert differences(then, now, scaled=False) == [text for text in says if not text.startswith("scale")]


def test_a_scale_that_follows_from_the_type_is_explained():
    dim = (IMAGES // 2).astype(np.int64)
    then, now = identity_of(source(dim.astype(np.uint8))), identity_of(replace(source(dim), input_scale=1 / 127))
    assert differences(then, now) == ["scale of the inputs: 0.003922 then, 0.007874 now (uint8 then, int64 now)"]


def test_another_white_level_explains_other_values():
    then, now = (identity_of(source(images, white_level=white)) for images, white in ((IMAGES, 4095), (IMAGES // 2, 8000)))
    assert (then["white_level"], identity_of(source())["white_level"]) == (4095.0, None)
    assert differences(then, now)[-1] == "white level of grey images: 4095 then, 8000 now"
    assert "white" not in str(differences({key: then[key] for key in then if key != "white_level"}, now))
    assert not differences(then, identity_of(source(white_level=8000)))  # values are what counts


def test_the_drawn_validation_set_is_not_part_of_it():
    drawn = [split_source("x", source(), fraction, seed).identity for fraction, seed in ((0.1, 0), (0.1, 1), (0.5, 0), (0, 0))]
    assert all(one == drawn[0] for one in drawn)


def test_blocks_of_any_kind(monkeypatch):
    from closer_tf.data import fingerprint

    monkeypatch.setattr(fingerprint, "BLOCK", 500)  # 5 samples each; some blocks hold bytes alone, some fractions
    mixed = IMAGES.astype(np.float64)
    mixed[7] += 0.5
    assert identity_of(source(mixed))["fingerprint"] == identity_of(source(mixed.astype(np.float32)))["fingerprint"]
    mixed[7, 0, 0, 0] += 1
    assert differences(
        identity_of(source(IMAGES + (np.arange(40) == 7)[:, None, None, None] * 0.5)), identity_of(source(mixed))
    )


def test_tfds_and_an_npz_of_the_same_images_are_one_data_set(tmp_path, monkeypatch):
    """As TensorFlow Datasets hands CIFAR-10 out, and as an .npz does: types and label names as each has them."""
    names = ["airplane", "automobile", "bird", "cat"]
    np.savez(
        tmp_path / "c.npz", x_train=IMAGES[:30], y_train=LABELS[:30].astype(np.uint8), x_test=IMAGES[30:], y_test=LABELS[30:]
    )
    stored = dict(np.load(tmp_path / "c.npz"))
    np.savez(tmp_path / "c.npz", **stored, label_names=np.array(names))
    by_file = load_data("arrays", path=str(tmp_path / "c.npz"))
    by_tfds = split_source("cifar10", source(names=tuple(names)), 0.1, 0)
    assert by_file.identity["fingerprint"] == by_tfds.identity["fingerprint"]
    assert not differences(by_tfds.identity, by_file.identity)


@pytest.fixture
def session_file(tmp_path):
    counts = RNG.poisson(1.0, (5, 12, 6))

    def write(name, counts=counts, areas="AABBCC", ids=range(6), kind=np.int64):
        session = Session(
            "s", np.array(ids), np.array(list(areas)), 0.03, {"one": counts.astype(kind), "two": counts[::-1].astype(kind)}
        )
        session.save(tmp_path / name)
        return load_data("session", path=str(tmp_path / name)).identity

    return write, counts


def test_recordings(session_file):
    write, counts = session_file
    first = write("a.npz")
    assert first["unit_areas"] == list("AABBCC") and first["validation"]["samples"] > 0
    for same in (write("moved.npz"), write("b.npz", kind=np.uint8), write("c.npz", ids=range(10, 16))):
        assert same["fingerprint"] == first["fingerprint"] and not differences(first, same)
    assert differences(first, write("d.npz", areas="AABBCD")) == ["brain areas of the units: number 5 'C' then, 'D' now"]
    assert any("training set: inputs differ" in text for text in differences(first, write("e.npz", counts=counts + 1)))
    assert "shape [2, 6] then, [2, 5] now" in differences(first, write("f.npz", counts[..., :5], "AABBC", range(5)))[0]


def test_simulated_sessions_follow_from_their_config():
    one, again, other = (load_data("simulated", seed=seed).identity["fingerprint"] for seed in (0, 0, 1))
    assert one == again != other


def test_it_is_cheap():
    """CIFAR-10's 180 MB take some .2 s of two busy cores; 18 MB here, with room for a machine that is at work."""
    images = RNG.integers(0, 256, (6000, 32, 32, 3), dtype=np.uint8)
    data = Source(Split(images[:5000], np.zeros(5000, int)), Split(images[5000:], np.zeros(1000, int)), ("a",))
    fastest = min(timed(lambda: identity_of(data)) for _ in range(5))
    assert fastest < 0.3, fastest


def timed(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
