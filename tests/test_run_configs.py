"""Every shipped run config builds and takes a step, on random data of the right shape."""

from pathlib import Path

import numpy as np
import pytest

from closer_tf import experiment
from closer_tf.config import TRAINED_CONDITIONS, load_config

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "run_configs").glob("*.json"))
SHAPES = {"digits": ((8, 8, 1), 10), "cifar10": ((32, 32, 3), 10), "cifar100": ((32, 32, 3), 100)}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_builds_and_takes_a_step(path):
    config = load_config(path)
    shape, num_labels = SHAPES[config.dataset.name]
    fields = experiment.make_receptive_fields(config, shape)
    ensemble = experiment.make_ensemble(config, fields, shape, 1 / 255)
    model = experiment.make_training_model(config, ensemble, num_labels)
    model.run_eagerly = True
    rng = np.random.default_rng(0)
    stimuli = rng.integers(0, 256, (4, *shape)).astype(np.uint8)
    before = [encoder.get_weights()[0] for encoder in ensemble.encoders]
    assert ensemble(stimuli).shape == (4, config.num_encoders, config.each_encoder()[0].embedding_dim)
    if config.condition not in TRAINED_CONDITIONS:
        return
    losses = model.fit(stimuli, rng.integers(num_labels, size=4), verbose=0).history
    assert np.isfinite(losses["loss"][0])
    silent = set() if config.condition == "supervised" else set(model.loss.graph.silent())
    for i, encoder in enumerate(ensemble.encoders):
        assert (i in silent) == np.array_equal(before[i], encoder.get_weights()[0])


def test_reproduction_configs_hold_the_papers_settings():
    for path in CONFIGS:
        config = load_config(path)
        if config.dataset.name == "digits":
            continue
        vit = config.encoder.type == "vit_lite"
        assert config.num_encoders == 10 and config.training.batch_size == 128
        assert config.training.epochs == (2000 if vit else 1000)
        assert config.objective.temperature == (10 if vit else 2560)
        assert config.optimizer.schedule_decay == 0.004 and config.optimizer.learning_rate == 1e-3
        assert (config.augmentation.horizontal_flip, config.augmentation.rotation, config.augmentation.zoom) == (
            True,
            0.02,
            0.2,
        )
        assert config.dataset.input_scale == (1 if vit else None)
        assert config.objective.stop_gradient == (path.stem.split("mlp_gaussian_")[-1] in STOP_GRADIENT)
        if config.masks.scheme == "contiguous_patches":
            assert config.masks.centres == "published"


STOP_GRADIENT = ("stop_gradient", "random_graph", "star", "bidirectional_ring", "directional_ring")
