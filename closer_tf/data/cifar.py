"""CIFAR-10 and CIFAR-100 through TensorFlow Datasets (Krizhevsky 2009)."""

import logging
import os
from pathlib import Path

import numpy as np

from closer_tf.data.splits import Source, Split
from closer_tf.errors import DataError

DOWNLOAD_HOST = "https://www.cs.toronto.edu"  # where TFDS fetches both from


def cifar10(data_dir=None):
    """50,000 + 10,000 images of 32 x 32 pixels in 10 classes.

    Args:
        data_dir: TensorFlow Datasets directory. Default: $TFDS_DATA_DIR, or ~/tensorflow_datasets.

    Returns:
        `Source`.

    Raises:
        DataError: the data is neither prepared there nor can be downloaded.
    """
    return _from_tfds("cifar10", data_dir)


def cifar100(data_dir=None):
    """50,000 + 10,000 images of 32 x 32 pixels in 100 classes; see `cifar10`."""
    return _from_tfds("cifar100", data_dir)


def _from_tfds(name, data_dir):
    tfds = _quiet_tfds()
    data_dir = os.path.expanduser(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    found = Path(data_dir, name).glob("*/dataset_info.json")
    prepared = sorted(info for info in found if ".incomplete" not in info.parent.name)  # an aborted download's
    try:
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
            f"  copy DIR here and pass it: --set dataset.data_dir=DIR"
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
    return Split(stored["image"], stored["label"].astype(np.int64))
