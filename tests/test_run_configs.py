"""Every shipped run config builds and takes a step, on random data of the right shape."""

from pathlib import Path

import numpy as np
import pytest

from closer_tf.config import CONDITIONS, load_config
from closer_tf.data import Split, Splits
from closer_tf.data.neuro.allen import PUBLISHED_AREAS
from closer_tf.training import experiment

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "run_configs").glob("*.json"))
SHAPES = {
    "digits": ((8, 8, 1), 10),
    "cifar10": ((32, 32, 3), 10),
    "cifar100": ((32, 32, 3), 100),
    "image_folder": ((32, 32, 3), 4),
}


def random_data(config):
    """`Splits` of random stimuli of the shape that the config's data has."""
    rng = np.random.default_rng(0)
    if config.dataset.name in SHAPES:
        shape, num_labels = SHAPES[config.dataset.name]
        part = Split(rng.integers(0, 256, (4, *shape)).astype(np.uint8), rng.integers(num_labels, size=4))
        return Splits(config.dataset.name, part, part, part, tuple(map(str, range(num_labels))), 1 / 255)
    areas = config.masks.areas or [f"simulated_{k + 1}" for k in range(config.num_encoders)]
    unit_areas = tuple(area for k, area in enumerate(areas) for _ in range(5 + k))
    part = Split(
        rng.poisson(1, (4, getattr(config.dataset, "window", 2), len(unit_areas))).astype(np.uint8), rng.integers(2, size=4)
    )
    data = Splits(config.dataset.name, part, part, part, ("one", "three"), windowed=True, unit_areas=unit_areas)
    return experiment.for_encoders(config, data)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_builds_and_takes_a_step(path):
    config = load_config(path)
    data = random_data(config)
    fields = experiment.make_receptive_fields(config, data)
    ensemble = experiment.make_ensemble(config, fields, data)
    model = experiment.make_training_model(config, ensemble, len(data.label_names))
    model.run_eagerly = True
    stimuli = data.train.inputs
    before = [encoder.get_weights()[0] for encoder in ensemble.encoders]
    assert ensemble(data.current().train.inputs).shape == (4, config.num_encoders, config.each_encoder()[0].embedding_dim)
    if not config.trains:
        return
    losses = model.fit(stimuli, data.train.labels, verbose=0).history
    assert np.isfinite(losses["loss"][0])
    silent = set(model.loss.graph.silent()) if config.condition == "closer" else set()
    for i, encoder in enumerate(ensemble.encoders):
        assert (i in silent) == np.array_equal(before[i], encoder.get_weights()[0])


def test_reproduction_configs_hold_the_papers_settings():
    for path in CONFIGS:
        config = load_config(path)
        if not config.dataset.name.startswith("cifar"):
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


STOP_GRADIENT = ("stop_gradient", "random_graph", "random_graph_10", "star", "bidirectional_ring", "directional_ring")


def test_mouse_configs_hold_the_papers_settings():
    found = set()
    for path in CONFIGS:
        config = load_config(path)
        if config.dataset.name != "session":
            continue
        mouse = path.stem.split("_")[1]
        found.add((mouse, config.condition))
        assert f"closer_tf allen {mouse} --yes (" in config.description
        assert config.masks.areas == list(PUBLISHED_AREAS[int(mouse)])
        assert config.dataset.label == "stimulus" and not config.dataset.standardise and not config.dataset.full_range
        encoder = config.encoder
        assert (encoder.hidden, encoder.embedding_dim, encoder.l1, encoder.l2) == ([32, 32], 32, 5e-6, 5e-6)
        assert (config.training.epochs, config.training.batch_size, config.optimizer.schedule_decay) == (300, 128, 0.004)
        weights = {name: weight for name, weight in config.objective.weights.model_dump().items() if weight}
        assert weights == CONDITIONS[config.condition].weights
    assert found == {
        (str(mouse), condition) for mouse in PUBLISHED_AREAS for condition in CONDITIONS if CONDITIONS[condition].weights
    }
