import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from closer_tf.data import Split, cifar, load_data
from closer_tf.data.cifar import LABEL_NAMES
from closer_tf.errors import CloserWarning, DataError


def test_digits():
    data = load_data("digits", validation_seed=3)
    assert data.input_shape == (8, 8, 1) and data.label_names == tuple("0123456789")
    assert len(data.train) + len(data.validation) + len(data.test) == 1797
    assert len(data.validation) == round(0.1 * (1797 - len(data.test)))
    assert data.train.inputs.max() * data.input_scale == 1.0
    assert 0.09 < data.chance < 0.11


def test_splits_do_not_overlap_and_the_test_set_never_changes():
    one, two = load_data("digits", validation_seed=0), load_data("digits", validation_seed=1)
    np.testing.assert_array_equal(one.test.inputs, two.test.inputs)
    assert not np.array_equal(one.validation.inputs, two.validation.inputs)
    total = sum(split.inputs.sum(dtype=np.int64) for split in (one.train, one.validation, one.test))
    from sklearn.datasets import load_digits

    assert total == load_digits().images.sum()


def test_no_validation_set():
    assert len(load_data("digits", validation_fraction=0.0).validation) == 0


def test_unknown_source():
    with pytest.raises(DataError, match="unknown dataset 'digit'; expected one of digits, "):
        load_data("digit")


# ------------------------------------------------------------------------------------------------------ image folders


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, suffix in (("cat", "png"), ("dog", "jpg")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for k in range(5):
            pixels = rng.integers(0, 256, (10, 12, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{k}.{suffix}")
    return tmp_path / "images"


def test_image_folder(folder):
    data = load_data("image_folder", path=str(folder), image_size=(8, 6), validation_fraction=0.25)
    assert data.label_names == ("cat", "dog") and data.input_shape == (8, 6, 3)
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 2, 2)
    assert data.train.inputs.dtype == np.uint8 and data.input_scale == 1 / 255


def test_images_are_read_as_they_are(folder):
    stored = np.asarray(Image.open(folder / "cat" / "3.png"))
    data = load_data("image_folder", path=str(folder), image_size=(10, 12), validation_fraction=0.0)
    everything = np.concatenate([data.train.inputs, data.test.inputs])
    assert (everything == stored).all(axis=(1, 2, 3)).sum() == 1


def test_a_test_folder_with_fewer_classes_keeps_the_labels(folder, tmp_path):
    (tmp_path / "test").mkdir()
    (folder / "dog").rename(tmp_path / "test" / "dog")
    (folder / "dog").mkdir()
    Image.new("RGB", (4, 4)).save(folder / "dog" / "0.png")
    data = load_data("image_folder", path=str(folder), test_path=str(tmp_path / "test"), image_size=32)
    assert set(data.test.labels) == {1}


def test_gray_and_transparent_images_become_rgb(folder):
    Image.new("L", (10, 12)).save(folder / "cat" / "gray.png")
    Image.new("RGBA", (10, 12)).save(folder / "cat" / "clear.png")
    assert load_data("image_folder", path=str(folder)).input_shape == (32, 32, 3)


def test_image_folder_mistakes(folder, tmp_path):
    def message(**options):
        with pytest.raises(DataError) as error:
            load_data("image_folder", **options)
        return str(error.value)

    assert "no such folder" in message(path=str(tmp_path / "nowhere"))
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    assert "empty: no images; expected" in message(path=str(tmp_path / "empty"))
    (tmp_path / "empty" / "cat" / "0.heic").touch()
    assert message(path=str(tmp_path / "empty")).endswith("; found 1 .heic")
    (folder / "cat" / "broken.png").write_bytes((folder / "cat" / "0.png").read_bytes()[:60])
    assert "broken.png: not a readable image" in message(path=str(folder))


def test_one_class_is_not_enough(tmp_path):
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "cat" / "0.png")
    with pytest.raises(DataError, match="two class subfolders, found one: 'cat'; for images without labels"):
        load_data("image_folder", path=str(tmp_path))


def test_unknown_test_classes(folder, tmp_path):
    (tmp_path / "test" / "cow").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "test" / "cow" / "0.png")
    with pytest.raises(DataError, match="classes that .* does not have: cow"):
        load_data("image_folder", path=str(folder), test_path=str(tmp_path / "test"))


def test_an_image_that_declares_too_many_pixels_is_not_decoded(folder):
    Image.new("1", (9000, 9000)).save(folder / "cat" / "huge.png")
    with pytest.raises(DataError, match="huge.png: 9000 x 9000 pixels"):
        load_data("image_folder", path=str(folder))


# -------------------------------------------------------------------------------------------------------------- arrays


def stored(tmp_path, **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (20, 6, 5, 3)).astype(np.uint8),
        "y_train": np.arange(20) % 4,
        "x_test": rng.integers(0, 256, (8, 6, 5, 3)).astype(np.uint8),
        "y_test": np.arange(8) % 4,
    }
    arrays.update(changes)
    path = tmp_path / "own.npz"
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return str(path)


def test_arrays(tmp_path):
    data = load_data("arrays", path=stored(tmp_path), validation_fraction=0.25)
    assert (len(data.train), len(data.validation), len(data.test)) == (15, 5, 8)
    assert data.label_names == ("0", "1", "2", "3") and data.input_scale == 1 / 255


def test_arrays_of_floats_without_channels_or_test_set(tmp_path):
    path = stored(tmp_path, x_train=np.random.default_rng(0).normal(size=(20, 6, 5)), x_test=None, y_test=None)
    data = load_data("arrays", path=path)
    assert data.input_shape == (6, 5, 1) and len(data.test) == 4 and data.input_scale == 1.0


def test_integers_of_another_width_are_scaled_by_their_range(tmp_path):
    images = np.random.default_rng(0).integers(0, 17, (20, 6, 5, 3))
    assert load_data("arrays", path=stored(tmp_path, x_train=images)).input_scale == 1 / 16


def test_labels_may_be_a_column(tmp_path):
    column = load_data(
        "arrays", path=stored(tmp_path, y_train=(np.arange(20) % 4)[:, None], y_test=(np.arange(8) % 4)[:, None])
    )
    row = load_data("arrays", path=stored(tmp_path, y_train=np.arange(20) % 4, y_test=np.arange(8) % 4))
    np.testing.assert_array_equal(column.train.labels, row.train.labels)
    np.testing.assert_array_equal(column.test.labels, row.test.labels)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.int32, float, np.float32])
def test_integer_labels_are_32_bit_and_numbers_stay_as_they_are(kind):
    split = Split(np.zeros((3, 2)), np.arange(3).astype(kind))
    expected = np.int32 if np.dtype(kind).kind in "iu" else kind
    assert split.labels.dtype == split[1:].labels.dtype == expected and split.labels.tolist() == [0, 1, 2]


def test_string_labels_and_label_names(tmp_path):
    words = np.array(["cat", "ant", "cat", "bee"] * 5)
    data = load_data("arrays", path=stored(tmp_path, y_train=words, y_test=words[:8]), validation_fraction=0.0)
    assert data.label_names == ("ant", "bee", "cat") and data.train.labels[:4].tolist() == [2, 0, 2, 1]
    data = load_data("arrays", path=stored(tmp_path, label_names=np.array(list("abcde"))))
    assert data.label_names == tuple("abcde")


@pytest.mark.parametrize(
    "labels, names",
    [
        ((np.arange(20) % 4)[:, None], "0123"),
        ((np.arange(20) % 4)[None], "0123"),
        ((np.arange(20) % 4).astype(np.float32), "0123"),
        ((np.arange(20) % 4).astype(np.longdouble), "0123"),
        ((np.arange(20) % 4).astype(np.longlong), "0123"),
        ((np.arange(20) % 4).astype(">i2"), "0123"),
        (np.array(list("abcd"), dtype="S")[np.arange(20) % 4], "abcd"),
        (np.array(["é", "b", "c", "d"])[np.arange(20) % 4][:, None], "bcdé"),
    ],
)
def test_labels_as_other_programs_write_them(tmp_path, labels, names):
    data = load_data("arrays", path=stored(tmp_path, y_train=labels, x_test=None, y_test=None))
    assert data.label_names == tuple(names) and data.train.labels.dtype == np.int32
    whole = load_data("arrays", path=stored(tmp_path, x_test=None, y_test=None))
    order = [names.index(name) for name in "bcdé"] if "é" in names else range(4)
    first = 3 if "é" in names else 0
    assert (data.train.labels == first).sum() == (whole.train.labels == order[0]).sum()


def test_truth_values_as_labels(tmp_path):
    labels = np.arange(20) % 2 == 1
    data = load_data("arrays", path=stored(tmp_path, y_train=labels, y_test=labels[:8]), validation_fraction=0)
    assert data.label_names == ("False", "True") and data.train.labels.tolist() == labels.astype(int).tolist()
    names = np.array([[b"no"], [b"yes"]])
    data = load_data("arrays", path=stored(tmp_path, y_train=labels, y_test=labels[:8].astype(float), label_names=names))
    assert data.label_names == ("no", "yes") and data.test.labels.tolist() == labels[:8].astype(int).tolist()


def test_truth_values_and_long_doubles_as_images(tmp_path):
    images = np.random.default_rng(0).random((20, 6, 5)) < 0.5
    for kind in (bool, np.longdouble, ">f4", ">i4", np.longlong):
        data = load_data("arrays", path=stored(tmp_path, x_train=images.astype(kind), x_test=None, y_test=None))
        assert data.input_scale == 1 and data.train.inputs.dtype == np.float32 and set(np.unique(data.train.inputs)) == {0, 1}


@pytest.mark.parametrize("labels", [None, np.full(20, -1), np.full((20, 1), -1.0)])
@pytest.mark.parametrize("own_test", [True, False])
def test_arrays_without_labels(tmp_path, labels, own_test):
    options = {} if own_test else {"x_test": None}
    data = load_data("arrays", path=stored(tmp_path, y_train=labels, y_test=None, **options))
    assert not data.labelled and data.label_names == () and data.chance == 0
    assert len(data.test) == (8 if own_test else 4) and (data.train.labels == -1).all() and (data.test.labels == -1).all()


def test_labels_that_may_be_none(tmp_path):
    with pytest.warns(CloserWarning, match="label -1 of 5 images is read as a class"):
        data = load_data("arrays", path=stored(tmp_path, y_train=np.arange(20) % 4 - 1, y_test=np.arange(8) % 4 - 1))
    assert data.label_names == ("-1", "0", "1", "2") and data.labelled
    with pytest.warns(CloserWarning, match="no labels \\('y_train'\\); what else it holds is not read: labels"):
        load_data("arrays", path=stored(tmp_path, y_train=None, y_test=None, labels=np.arange(20)))


def test_arrays_that_nothing_reads_are_said(tmp_path):
    with pytest.warns(CloserWarning, match="own.npz: what else it holds is not read: X_test"):
        load_data("arrays", path=stored(tmp_path, x_test=None, y_test=None, X_test=np.zeros((3, 6, 5, 3), np.uint8)))
    with pytest.raises(DataError, match="own.npz: y_test, but no array 'x_test'; found x_train, y_train, y_test"):
        load_data("arrays", path=stored(tmp_path, x_test=None))


def test_long_labels_of_two_types_keep_their_classes(tmp_path):
    labels = 2**60 + np.arange(20) % 4
    data = load_data("arrays", path=stored(tmp_path, y_train=labels.astype(np.uint64), y_test=labels[:8].astype(np.int64)))
    assert data.test.labels.tolist() == [0, 1, 2, 3] * 2 and len(data.label_names) == 4


def test_test_images_on_another_scale_are_refused(tmp_path):
    path = stored(tmp_path, x_test=np.random.default_rng(0).random((8, 6, 5, 3)).astype(np.float32))
    with pytest.raises(DataError, match="own.npz: x_test: float32 from .* but x_train: uint8 from 0 to 255: fractions beside"):
        load_data("arrays", path=path)


def test_images_in_training_and_test_alike_are_counted(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (28, 6, 5, 3)).astype(np.uint8)
    with pytest.warns(CloserWarning, match="own.npz: 3 of 8 test images are in the training set as well"):
        load_data("arrays", path=stored(tmp_path, x_train=images[:20], x_test=images[17:25]))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"x_train": None}, "no array 'x_train'; found y_train"),
        ({"y_train": np.arange(19)}, "y_train: expected one label per image \\(20\\), found shape \\(19,\\)"),
        ({"x_train": np.zeros((20, 6))}, "x_train: expected .* found shape \\(20, 6\\)"),
        ({"x_train": np.full((20, 6, 5, 3), np.nan)}, "not finite"),
        ({"x_train": np.full((20, 6, 5, 3), 1e60)}, "x_train: float64 from 1e\\+60 to 1e\\+60: float32 cannot hold these"),
        ({"x_train": np.full((20, 6, 5, 3), 1e-60)}, "float32 cannot hold these values; rescale"),
        ({"x_train": np.zeros((20, 3, 6, 5))}, "looks like channels first; save x_train.transpose\\(0, 2, 3, 1\\)"),
        ({"x_train": np.zeros((20, 1, 6, 5))}, "looks like channels first"),
        (
            {"x_train": np.full((20, 6, 5, 3), np.longdouble("1e400"))},
            "x_train: holds float128 values that float64 cannot hold",
        ),
        ({"x_train": np.full((20, 6, 5, 3), "a")}, "expected numbers"),
        ({"y_train": np.arange(20) / 4}, "y_train: expected whole numbers, found 0.25"),
        ({"y_train": np.zeros(20, int)}, "two different labels"),
        ({"y_train": np.full(20, np.nan)}, "y_train: holds values that are not finite"),
        ({"y_train": np.arange(20) * 1e17}, "y_train: expected whole numbers up to"),
        ({"y_train": np.eye(4)[np.arange(20) % 4]}, "found shape \\(20, 4\\); if it is one-hot, save y_train.argmax"),
        ({"y_train": np.full(20, b"\xff\xfe")}, "y_train: holds bytes that are no UTF-8"),
        ({"y_train": np.full(20, 1j)}, "y_train: expected whole numbers, truth values or strings, found complex128"),
        ({"y_test": np.array(list("01230123"))}, "y_test: labels of <U1, those of y_train are of int64"),
        ({"y_train": None}, "no array 'y_train', but y_test; add y_train, or leave out both"),
        ({"y_test": None}, "no array 'y_test'"),
        ({"y_test": np.arange(8)}, "y_test: label '4' does not occur in y_train"),
        ({"x_test": np.zeros((8, 6, 6, 3), np.uint8)}, "x_test images have shape \\(6, 6, 3\\)"),
        ({"label_names": np.array(["a"])}, "1 names do not cover"),
        ({"y_train": np.array([{}] * 20, dtype=object)}, "y_train: holds Python objects"),
    ],
)
def test_array_mistakes(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        load_data("arrays", path=stored(tmp_path, **changes))


def test_damaged_and_missing_files(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        load_data("arrays", path=str(tmp_path / "none.npz"))
    whole = Path(stored(tmp_path)).read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 5):
        (tmp_path / "cut.npz").write_bytes(whole[:length])
        with pytest.raises(DataError, match="cut.npz"):
            load_data("arrays", path=str(tmp_path / "cut.npz"))


# --------------------------------------------------------------------------------------------------------------- CIFAR


def test_cifar_from_a_prepared_directory(tmp_path):
    """A small data set in TFDS's own format, read by the code path of a downloaded one; and the same as arrays."""
    tfds = pytest.importorskip("tensorflow_datasets")
    images = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3)).astype(np.uint8)

    def examples(chosen):
        return [{"id": str(i), "image": images[i], "label": int(i % 10)} for i in chosen]

    features = tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=(32, 32, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=LABEL_NAMES["cifar10"]),
        }
    )
    tfds.dataset_builders.store_as_tfds_dataset(
        name="cifar10",
        version="3.0.2",
        data_dir=tmp_path,
        features=features,
        disable_shuffling=True,
        split_datasets={
            "train": [(e["id"], e) for e in examples(range(20))],
            "test": [(e["id"], e) for e in examples(range(20, 30))],
        },
    )
    data = load_data("cifar10", data_dir=str(tmp_path), validation_fraction=0.2)
    chosen = np.concatenate([data.train.labels, data.validation.labels])
    assert len(data.validation) == 4 and sorted(chosen) == sorted(np.arange(20) % 10)
    np.testing.assert_array_equal(data.test.inputs, images[20:])
    np.testing.assert_array_equal(data.test.labels, np.arange(10))
    assert data.label_names[3] == "cat"

    folder = tmp_path / "arrays"
    folder.mkdir()
    cifar_arrays(folder / "cifar10.npz", images[:20], images[20:])
    same = load_data("cifar10", data_dir=str(folder), validation_fraction=0.2)
    assert (same.name, same.label_names, same.input_scale) == (data.name, data.label_names, data.input_scale)
    for one, other in zip((same.train, same.validation, same.test), (data.train, data.validation, data.test)):
        np.testing.assert_array_equal(one.inputs, other.inputs)
        np.testing.assert_array_equal(one.labels, other.labels)
        assert (one.inputs.dtype, one.labels.dtype) == (other.inputs.dtype, other.labels.dtype)


def cifar_arrays(path, train, test, **changes):
    """CIFAR as an .npz file, the labels 0, 1, ..., 9, 0, 1, ... as Keras ships them."""
    labels = [(np.arange(len(images)) % 10)[:, None].astype(np.uint8) for images in (train, test)]
    arrays = {"x_train": train, "y_train": labels[0], "x_test": test, "y_test": labels[1], **changes}
    np.savez(path, **{key: values for key, values in arrays.items() if values is not None})


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"x_test": None, "y_test": None},
            "expected x_train, y_train, x_test and y_test .* found x_train, y_train, images of uint8",
        ),
        (
            {"x_train": np.zeros((20, 8, 8, 3), np.uint8), "x_test": np.zeros((10, 8, 8, 3), np.uint8)},
            "shape \\(20, 8, 8, 3\\)",
        ),
        ({"x_train": np.zeros((20, 32, 32, 3), np.float32)}, "images of float32"),
        ({"y_train": np.full((20, 1), 10)}, "two different labels"),
        ({"y_train": np.arange(20)}, "10 names do not cover the labels 0 to 19"),
        ({"y_train": np.zeros((20, 2), int)}, "expected one label per image"),
    ],
)
def test_arrays_that_are_not_cifar(tmp_path, changes, message):
    images = np.zeros((20, 32, 32, 3), np.uint8)
    cifar_arrays(tmp_path / "cifar10.npz", images, images[:10], **changes)
    with pytest.raises(DataError, match=f"cifar10.npz: .*{message}"):
        load_data("cifar10", data_dir=str(tmp_path))


@pytest.mark.parametrize("missing", ["tensorflow_datasets", "tensorflow"])
def test_cifar_without_tfds_says_what_to_do(tmp_path, monkeypatch, missing):
    monkeypatch.setattr(cifar, "is_installed", lambda name: name != missing)
    with pytest.raises(DataError, match=rf"no cifar100.npz in .* needs {missing}\. Put cifar100.npz there") as error:
        load_data("cifar100", data_dir=str(tmp_path))
    assert "\n" not in str(error.value)


def test_an_aborted_download_does_not_hide_the_complete_copy(tmp_path, monkeypatch):
    from closer_tf.data import cifar

    class Stop(Exception):
        pass

    class FakeTFDS:
        def builder_from_directory(self, folder):
            raise Stop(folder)

    for name in ("3.0.2", "3.0.2.incomplete.AB12CD", "3.0.2.incompleteXYZ"):
        (tmp_path / "cifar10" / name).mkdir(parents=True)
        (tmp_path / "cifar10" / name / "dataset_info.json").write_text("{}")
    monkeypatch.setattr(cifar, "_quiet_tfds", FakeTFDS)
    with pytest.raises(DataError, match="cifar10/3.0.2\\)"):
        load_data("cifar10", data_dir=str(tmp_path))


def test_cifar_offline_says_what_to_do(tmp_path, monkeypatch):
    requests = pytest.importorskip("requests")
    pytest.importorskip("tensorflow_datasets")

    def no_network(*args, **options):
        raise requests.ConnectionError("no route")

    monkeypatch.setattr(requests, "head", no_network)
    with pytest.raises(DataError) as error:
        load_data("cifar100", data_dir=str(tmp_path))
    assert "could not be downloaded" in str(error.value) and "--set dataset.data_dir=DIR" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_cifar_from_a_damaged_directory(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    (tmp_path / "cifar10" / "3.0.2").mkdir(parents=True)
    (tmp_path / "cifar10" / "3.0.2" / "dataset_info.json").write_text(json.dumps({"name": "cifar10"}))
    with pytest.raises(DataError, match="could not be read from"):
        load_data("cifar10", data_dir=str(tmp_path))
