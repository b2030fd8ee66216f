import os
import shutil

import numpy as np
import pytest
from PIL import Image

from closer_tf.data import load_data
from closer_tf.errors import CloserWarning, DataError

RNG = np.random.default_rng(0)


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (8, 6, 3)).astype(np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes of six images."""
    for name in "ab":
        for k in range(6):
            picture(tmp_path / "imgs" / name / f"{k}.png")
    return tmp_path / "imgs"


def counts(path, **options):
    """Images per class, in training and test together."""
    data = load_data("image_folder", path=str(path), validation_fraction=0, image_size=(8, 8), **options)
    return np.bincount(np.concatenate([data.train.labels, data.test.labels])).tolist()


def test_one_number_is_a_square(folder):
    assert load_data("image_folder", path=str(folder), image_size=5).input_shape == (5, 5, 3)


@pytest.mark.parametrize(
    "place",
    [
        *("a/.ipynb_checkpoints/0-checkpoint.png", "a/deep/.thumbnails/x/0.png", "a/._0.png", "a/__MACOSX/0.png"),
        *("__MACOSX/a/._0.png", ".cache/0.png", "a/@eaDir/0.png", ".hidden.png"),
    ],
)
def test_what_is_hidden_is_left_out_and_counted(folder, place):
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "a/0.png", folder / place)
    with pytest.warns(CloserWarning) as said:
        assert counts(folder) == [6, 6]
    assert [str(one.message) for one in said] == [f"{folder}: left out 1 of 13 files and folders: 1 hidden"]


def test_what_systems_leave_behind_is_not_worth_a_word(folder):
    for name in ("Thumbs.db", "a/Thumbs.db", "a/.DS_Store", "b/desktop.ini", ".DS_Store"):
        (folder / name).write_bytes(b"\0")
    assert counts(folder) == [6, 6]


def test_other_files_are_counted_by_suffix(folder):
    for name in ("notes.txt", "a/x.heic", "a/y.HEIC", "b/README"):
        (folder / name).write_bytes(b"\0")
    picture(folder / "loose.png")
    (folder / "empty/deeper").mkdir(parents=True)
    with pytest.warns(CloserWarning) as said:
        assert counts(folder) == [6, 6]
    (said,) = [str(one.message) for one in said]
    assert said.startswith(f"{folder}: left out 6 of 18 files and folders: 2 .heic, ")
    for part in ("1 without a suffix", "1 .txt", "1 class folders without images", "1 images beside the class folders"):
        assert part in said


@pytest.mark.parametrize("suffix", "png PNG jpg JPEG Jpe webp tif TIFF bmp gif ppm pgm pnm tga jp2".split())
def test_what_pillow_reads_is_read(folder, suffix):
    picture(folder / "b" / f"more.{suffix}")
    assert counts(folder) == [6, 7]


def test_folders_below_and_links_are_followed(folder, tmp_path):
    picture(folder / "a/deep/er/0.png")
    for k in range(4):
        picture(tmp_path / "more" / f"{k}.png")
    picture(tmp_path / "elsewhere.png")
    os.symlink(tmp_path / "more", folder / "b/more")
    os.symlink(tmp_path / "elsewhere.png", folder / "a/linked.png")
    assert counts(folder) == [8, 10]


def test_links_in_circles_end(folder, tmp_path):
    os.symlink(folder / "a", folder / "a/itself")
    os.symlink(folder, folder / "a/up")
    os.symlink(tmp_path, folder / "everything")
    os.symlink("/", folder / "b/root")
    os.symlink(folder / "b/nowhere", folder / "b/broken.png")
    os.symlink(folder / "b/loop.png", folder / "b/loop.png")
    with pytest.warns(CloserWarning) as said:
        assert counts(folder) == [6, 6]
    text = str(said[0].message)
    assert len(said) == 1 and "4 links to a folder that is read already" in text and "2 not ordinary files" in text


def test_a_folder_that_is_linked_twice_is_read_once(folder, tmp_path):
    for k in range(3):
        picture(tmp_path / "more" / f"{k}.png")
    for name in ("one", "two"):
        os.symlink(tmp_path / "more", folder / "a" / name)
    with pytest.warns(CloserWarning, match="1 links to a folder that is read already"):
        assert counts(folder) == [9, 6]


def test_copies_in_training_and_test_are_counted(folder):
    for k in range(6):
        shutil.copy(folder / f"a/{k}.png", folder / f"a/{k} copy.png")
    with pytest.warns(CloserWarning, match="test images are in the training set as well, equal to the last bit"):
        counts(folder)


def test_sets_are_no_classes(folder):
    folder.rename(folder.parent / "train")
    (folder / "train").parent.mkdir()
    (folder.parent / "train").rename(folder / "train")
    shutil.copytree(folder / "train", folder / "Test")
    with pytest.raises(DataError, match=f"{folder}: its subfolders are sets, not classes: Test, train; set dataset.path="):
        counts(folder)


# ------------------------------------------------------------------------------------------------------- without labels


def test_a_flat_folder_has_no_labels(folder):
    flat = folder / "a"
    with pytest.warns(CloserWarning, match="1 .txt"):
        (flat / "notes.txt").write_text("")
        data = load_data("image_folder", path=str(flat), validation_fraction=0.25, test_fraction=0.3)
    assert not data.labelled and data.label_names == () and data.chance == 0
    assert [len(split) for split in (data.train, data.validation, data.test)] == [3, 1, 2]
    assert set(data.train.labels) == set(data.test.labels) == {-1} and data.input_scale == 1 / 255


def test_a_flat_test_folder(folder):
    data = load_data("image_folder", path=str(folder / "a"), test_path=str(folder / "b"), validation_fraction=0)
    assert (len(data.train), len(data.test)) == (6, 6) and not data.labelled
    for one, other in ((folder, folder / "a"), (folder / "a", folder)):
        with pytest.raises(DataError, match="imgs/a: images without class subfolders, while .*imgs has classes"):
            load_data("image_folder", path=str(one), test_path=str(other))


def test_one_image_alone_is_too_few(tmp_path):
    picture(tmp_path / "0.png")
    with pytest.raises(DataError, match="'images' has 1 sample"):
        load_data("image_folder", path=str(tmp_path))


def test_a_folder_that_cannot_be_read_is_named(folder, monkeypatch):
    def scandir(place, scan=os.scandir):
        if str(place).endswith("b"):
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match="imgs/b: cannot be read: Permission denied"):
        counts(folder)
