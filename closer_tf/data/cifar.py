"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), from arrays in an .npz file or through TensorFlow Datasets."""

import logging
import os
from pathlib import Path

import numpy as np

from closer_tf.common.backend import is_installed
from closer_tf.common.files import read_npz
from closer_tf.data.arrays import source_of
from closer_tf.data.splits import Source, Split
from closer_tf.errors import DataError

DOWNLOAD_HOST = "https://www.cs.toronto.edu"  # where TFDS fetches both from

LABEL_NAMES = {
    "cifar10": "airplane automobile bird cat deer dog frog horse ship truck".split(),
    "cifar100": """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree
wolf woman worm
""".split(),
}
"""The names of the labels 0, 1, ... of both."""

ARRAYS = "x_train (n, 32, 32, 3), 8-bit, y_train (n,) or (n, 1), integers, x_test and y_test"


def cifar10(data_dir=None):
    """50,000 + 10,000 images of 32 x 32 pixels in 10 classes.

    Args:
        data_dir: folder that holds `cifar10.npz`, with the arrays `x_train`, `y_train`, `x_test` and `y_test`, or a TensorFlow
            Datasets directory. Where there are both, the .npz is read. Default: $TFDS_DATA_DIR, or ~/tensorflow_datasets.

    Returns:
        `Source`.

    Raises:
        DataError: the data is not there and cannot be downloaded, or cannot be read.
    """
    return _source("cifar10", data_dir)


def cifar100(data_dir=None):
    """50,000 + 10,000 images of 32 x 32 pixels in 100 classes, from `cifar100.npz` or TensorFlow Datasets; see `cifar10`."""
    return _source("cifar100", data_dir)


def _source(name, data_dir):
    folder = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    archive = folder / f"{name}.npz"
    return _from_npz(name, archive) if archive.exists() else _from_tfds(name, folder)


def _from_npz(name, path):
    stored = read_npz(path)
    source = source_of(path, {"label_names": np.array(LABEL_NAMES[name]), **stored})
    images = source.train.inputs
    if "x_test" not in stored or images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
        raise DataError(
            f"{path}: expected x_train, y_train, x_test and y_test with 8-bit images (n, 32, 32, 3), as CIFAR's are; found "
            f"{', '.join(stored)}, images of {images.dtype} and shape {images.shape}. "
            'Other images: --set \'dataset={"name": "arrays", "path": ...}\''
        )
    return source


def _from_tfds(name, data_dir):
    missing = [library for library in ("tensorflow_datasets", "tensorflow") if not is_installed(library)]
    if missing:
        raise DataError(
            f"dataset {name}: no {name}.npz in {data_dir}, and reading TensorFlow Datasets needs {' and '.join(missing)}. "
            f"Put {name}.npz there, or pass the folder that holds it: --set dataset.data_dir=DIR. Its arrays are {ARRAYS}. "
            "Or: pip install 'closer_tf[tensorflow]'"
        )
    found = Path(data_dir, name).glob("*/dataset_info.json")
    prepared = sorted(info for info in found if ".incomplete" not in info.parent.name)  # an aborted download's
    try:
        tfds = _quiet_tfds()
        if prepared:
            builder = tfds.builder_from_directory(str(prepared[-1].parent))
        else:
            _require_network()
            print(f"{name} is not in {data_dir} yet: downloading about 170 MB ...", flush=True)
            builder = tfds.builder(name, data_dir=data_dir, try_gcs=False)
            builder.download_and_prepare()
        splits = [_arrays(tfds, builder, split) for split in ("train", "test")]
    except Exception as error:  # TFDS and what it calls raise many kinds, none of them its own
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise DataError(
            f"dataset {name}: could not be {'read from' if prepared else 'downloaded to'} {data_dir} ({reason}).\n"
            f"  With a network, run the same command again. Without one, prepare the data elsewhere with\n"
            f"    python -c \"import tensorflow_datasets as tfds; tfds.load('{name}', data_dir='DIR')\"\n"
            f"  copy DIR here and pass it: --set dataset.data_dir=DIR\n"
            f"  DIR may also hold {name}.npz with the arrays {ARRAYS}"
        ) from error
    return Source(*splits, tuple(builder.info.features["label"].names), 1 / 255)


def _quiet_tfds():
    logging.getLogger("absl").setLevel(logging.ERROR)
    import tensorflow_datasets as tfds

    if not os.isatty(2):
        tfds.disable_progress_bar()
    return tfds


def _require_network():
    """Fail at once, not after TFDS's ten slow retries, when the server cannot be reached."""
    import requests

    try:
        requests.head(DOWNLOAD_HOST, timeout=10)
    except requests.RequestException:
        raise OSError(f"no connection to {DOWNLOAD_HOST}") from None


def _arrays(tfds, builder, split):
    stored = tfds.as_numpy(builder.as_dataset(split=split, batch_size=-1, shuffle_files=False))
    return Split(stored["image"], stored["label"])
