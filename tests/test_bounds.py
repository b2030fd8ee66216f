"""Functions in Python hold the bounds that the run config holds, with the same words in mind: each is written once."""

import numpy as np
import pytest

from closer_tf import CLoSeRLoss, Nadam, RandomAffine, build_ensemble, graphs, masks, mlp, vit_lite
from closer_tf.common.values import BOUNDS, check_settings
from closer_tf.config import parse_config
from closer_tf.data import load_data
from closer_tf.data.samples import make_samples
from closer_tf.data.simulated import simulate_session
from closer_tf.errors import ConfigError
from closer_tf.graphs import InteractionGraph, random_graph
from closer_tf.nn.distilled import DistilledLoss
from closer_tf.nn.objectives import closer_terms
from closer_tf.nn.temporal import TERMS, TemporalLoss
from closer_tf.readout.probes import knn_probe, linear_probe

GRID = masks.custom_masks(np.ones((2, 4, 4)))
FEATURES = {key: np.random.default_rng(0).standard_normal((9, 2)) for key in ("train", "validation", "test")}
LABELS = {key: np.arange(9) % 2 for key in FEATURES}


def tiny_encoder(i, shape):
    return mlp(shape, hidden=(), embedding_dim=2, init_seed=i)


def patches(**settings):
    return masks.random_patch_masks((8, 8), **{"num_encoders": 2, "fraction": 0.5, "patch_size": 2, **settings})


def contiguous(**settings):
    return masks.contiguous_patch_masks((8, 8), **{"num_encoders": 2, "fraction": 0.5, "patch_size": 2, **settings})


HELD = {
    "num_encoders": [lambda v: InteractionGraph(v, [(0, 1)])],
    "hidden": [lambda v: mlp((4, 1), hidden=[8, v], embedding_dim=2)],
    "embedding_dim": [lambda v: mlp((4, 1), hidden=[], embedding_dim=v), lambda v: vit_lite((4, 1), embedding_dim=v)],
    "blocks": [lambda v: vit_lite((4, 1), blocks=v)],
    "heads": [lambda v: vit_lite((4, 1), heads=v)],
    "key_dim": [lambda v: vit_lite((4, 1), key_dim=v)],
    "mlp_dim": [lambda v: vit_lite((4, 1), mlp_dim=v)],
    "dropout": [lambda v: mlp((4, 1), hidden=[2], dropout=v), lambda v: vit_lite((4, 1), dropout=v)],
    "l1": [lambda v: mlp((4, 1), hidden=[2], l1=v)],
    "l2": [lambda v: mlp((4, 1), hidden=[2], l2=v)],
    "fraction": [lambda v: masks.gaussian_masks((8, 8), 2, v), lambda v: patches(fraction=v), lambda v: contiguous(fraction=v)],
    "sigma": [lambda v: masks.gaussian_masks((8, 8), 2, 0.5, v)],
    "patch_size": [
        lambda v: patches(patch_size=v),
        lambda v: contiguous(patch_size=v),
        lambda v: masks.custom_masks(np.ones((2, 4, 4)), v),
    ],
    "slope": [lambda v: masks.retinotopic_centres((8, 8), 4, slope=v)],
    "e2": [lambda v: masks.retinotopic_centres((8, 8), 4, "foveal", e2=v)],
    "jitter": [lambda v: masks.retinotopic_centres((8, 8), 4, jitter=v)],
    "num_edges": [
        lambda v: random_graph(4, v),
        lambda v: graphs.spatial(4, v, 1.0, np.eye(4)[:, :2]),
        lambda v: graphs.small_world(4, v),
        lambda v: graphs.clustered(4, v),
        lambda v: graphs.scale_free(4, v),
    ],
    "length": [lambda v: graphs.spatial(4, 3, v, np.eye(4)[:, :2])],
    "rewiring": [lambda v: graphs.small_world(4, 3, v)],
    "clusters": [lambda v: graphs.clustered(4, 3, v)],
    "inside": [lambda v: graphs.clustered(4, 3, 2, v)],
    "window": [lambda v: make_samples(simulate_session(0, (1,), (4, 5), (4, 4)), window=v)],
    "temperature": [
        lambda v: CLoSeRLoss(temperature=v),
        lambda v: closer_terms(np.zeros((3, 2, 2), np.float32), temperature=v),
    ],
    "momentum": [lambda v: DistilledLoss(momentum=v)],
    "push_weight": [lambda v: CLoSeRLoss(push_weight=v)],
    "max_memory_mb": [lambda v: CLoSeRLoss(max_memory_mb=v)],
    "input_scale": [lambda v: build_ensemble((4, 4, 1), GRID, tiny_encoder, input_scale=v)],
    "rotation": [lambda v: RandomAffine(rotation=v)],
    "zoom": [lambda v: RandomAffine(zoom=v)],
    "learning_rate": [lambda v: Nadam(learning_rate=v)],
    "beta_1": [lambda v: Nadam(beta_1=v)],
    "beta_2": [lambda v: Nadam(beta_2=v)],
    "epsilon": [lambda v: Nadam(epsilon=v)],
    "schedule_decay": [lambda v: Nadam(schedule_decay=v)],
    **{term: [lambda v, term=term: TemporalLoss({"cont": 1.0, term: v})] for term in TERMS},
    "test_fraction": [lambda v: load_data("digits", test_fraction=v)],
    "validation_fraction": [lambda v: load_data("digits", validation_fraction=v)],
    "C": [lambda v: linear_probe(FEATURES, LABELS, C=[v])],
    "segments": [lambda v: make_samples(simulate_session(0, (1,), (4, 5), (4, 4)), label="segment", segments=v)],
    **{
        name: [lambda v, name=name: make_samples(simulate_session(0, (1,), (4, 5), (4, 4)), **{name: v})]
        for name in ("lag", "folds", "fold", "period")
    },
    "knn_neighbours": [lambda v: knn_probe(FEATURES, LABELS, v)],
    "max_iter": [lambda v: linear_probe(FEATURES, LABELS, max_iter=v)],
}


def outside(name):
    """Values just out of a setting's bounds, and some that are no such numbers."""
    wrong = [float("nan"), float("inf"), True, "1"]
    for kind, bound in BOUNDS[name].items():
        wrong.append({"ge": bound - 1, "le": bound + 1}.get(kind, bound))
    return wrong


@pytest.mark.parametrize("name", HELD)
def test_functions_refuse_what_the_config_refuses(name):
    for make in HELD[name]:
        for wrong in outside(name):
            with pytest.raises(ValueError, match=f"^{name}: expected a (whole )?number .*, found "):
                make(wrong)


def test_none_is_left_out():
    """`CLoSeR.fit` and the estimator hold batch_size and epochs: see their tests."""
    assert set(BOUNDS) - set(HELD) == {"layers", "epochs", "batch_size"}
    with pytest.raises(ValueError, match="layers: expected a whole number of at least 0 and of at most 100, found 101"):
        mlp((4, 1), hidden=[1] * 101)
    with pytest.raises(ValueError, match="num_encoders: expected a whole number of at least 2 and of at most 1,000, found 1"):
        build_ensemble((4, 4, 1), masks.custom_masks(np.ones((1, 4, 4))), tiny_encoder)
    with pytest.raises(ValueError, match="at least one encoder, found none"):
        masks.gaussian_masks((8, 8), 0, 0.5)


@pytest.mark.parametrize(
    "section, name",
    [
        ("encoder", "dropout"),
        ("masks", "fraction"),
        ("masks", "sigma"),
        ("augmentation", "zoom"),
        ("optimizer", "learning_rate"),
        ("training", "batch_size"),
        ("objective", "temperature"),
        ("dataset", "input_scale"),
    ],
)
def test_the_config_takes_its_bounds_from_here(section, name, tiny_config):
    kind, bound = next(iter(BOUNDS[name].items()))
    wrong = bound - 1 if kind == "ge" else bound
    tiny_config[section] = {**tiny_config.get(section, {}), name: wrong}
    with pytest.raises(ConfigError, match=f"{section}.{name}: expected"):
        parse_config(tiny_config)


def test_what_is_within_passes():
    check_settings(fraction=1, dropout=0, hidden=np.array([4, 8]), epochs=np.int64(0), learning_rate=np.float32(0.1), C=[])
    Nadam(learning_rate=lambda: 0.1)


def test_positions_are_not_rounded():
    with pytest.raises(ValueError, match="edges: expected pairs of integers"):
        InteractionGraph(3, [(0, 1.7)])
    with pytest.raises(ValueError, match="edges: expected pairs of integers"):
        InteractionGraph(3, [(0, 1, 2, 1)])
    with pytest.raises(ValueError, match="encoder 1: expected the positions of its cells, found float64"):
        masks.ReceptiveFields(([0, 1], [0.6, 1.2]), (2, 2))
    with pytest.raises(ValueError, match="encoder 0: expected .* found bool; `custom_masks` takes booleans"):
        masks.ReceptiveFields((np.array([True, False, True]),), (1, 3))
