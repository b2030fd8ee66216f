"""What TensorBoard finds in a run folder, and that it only looks on."""

import keras
import numpy as np
import pytest

from closer_tf.common.command import Interrupted
from closer_tf.config import parse_config
from closer_tf.train import train_run
from closer_tf.training import loop

pytest.importorskip("tensorboard")


@pytest.fixture
def config(tiny_config):
    """A tiny config without a readout."""
    return parse_config({**tiny_config, "readout": {"after_training": False}}).resolved()


def events(folder):
    """dict tag -> steps, of the event files in a folder."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    found = {}
    for path in folder.glob("events.*"):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(event.step)
    return found


def weights(folder):
    return keras.saving.load_model(folder / "ensemble.keras").get_weights()


def test_scalars_pictures_and_embeddings(config, tmp_path):
    seen = []
    mine = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append((epoch, sorted(logs))))
    train_run(config, tmp_path / "watched", callbacks=[mine], tensorboard=True)
    train_run(config, tmp_path / "alone")
    for ours, theirs in zip(weights(tmp_path / "watched"), weights(tmp_path / "alone")):
        np.testing.assert_array_equal(ours, theirs)
    assert [epoch for epoch, _ in seen] == [0, 1, 2] and "attraction" in seen[0][1]
    board = tmp_path / "watched" / "tensorboard"
    found = events(board / "train")
    assert found["epoch_loss"] == [0, 1, 2] and found["epoch_effective_rank"] == [0, 1, 2]
    assert found["receptive_fields"] == found["interaction_graph"] == [0]
    assert events(board / "validation")["epoch_loss"] == [0, 1, 2]
    embeddings = np.loadtxt(board / "embeddings.tsv", delimiter="\t")
    labels = (board / "labels.tsv").read_text().split()
    assert embeddings.shape == (450, 12) and len(labels) == 450 and set(labels) == set("0123456789")
    assert 'tensor_path: "embeddings.tsv"' in (board / "projector_config.pbtxt").read_text()
    assert not (tmp_path / "alone" / "tensorboard").exists()


def test_a_stopped_run_goes_on_to_the_same_weights(config, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if self.model.optimizer.iterations == 7:  # in the middle of the second epoch
                keeper.signal_number = 15

    keeper = None
    found = loop.CheckpointKeeper

    def noted(*arguments):
        nonlocal keeper
        keeper = found(*arguments)
        return keeper

    loop.CheckpointKeeper = noted
    try:
        with pytest.raises(Interrupted):
            train_run(config, tmp_path / "stopped", callbacks=[Stop()], tensorboard=True)
    finally:
        loop.CheckpointKeeper = found
    train_run(config, tmp_path / "stopped", tensorboard=True)
    train_run(config, tmp_path / "alone")
    for ours, theirs in zip(weights(tmp_path / "stopped"), weights(tmp_path / "alone")):
        np.testing.assert_array_equal(ours, theirs)
    assert sorted(events(tmp_path / "stopped" / "tensorboard" / "train")["epoch_loss"]) == [0, 1, 2]
