"""'Are these two runs the same but for ...?': what each of the six answers says of every key of the run config."""

import json
import types
from typing import Annotated, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from closer_tf.config import CONDITIONS, identity, parse_config
from closer_tf.config.run_config import RunConfig
from closer_tf.errors import RunError
from closer_tf.sweeps.config import parse_sweep
from closer_tf.sweeps.points import baseline_config, sweep_points
from closer_tf.training.runs import RunFolder

VIT, FOLDER = {"type": "vit_lite"}, {"name": "image_folder", "path": "/x/here", "test_path": "/x/test"}
SESSION = {"name": "session", "path": "/x/here.npz"}
SIMULATED = {"dataset": {"name": "simulated"}, "masks": {"scheme": "areas"}, "condition": "tcloser"}
GRAPH = {"objective": {"graph": {"family": "custom", "edges": [[0, 1], [1, 0]]}}, "num_encoders": 2}
TWO = {"num_encoders": 2, "encoders": [{"type": "mlp"}, {"type": "mlp"}]}
RNN, MAP = {"type": "rnn"}, {"scheme": "retinotopic"}
PUSH = {"objective": {"push": {"graph": {"family": "all_to_all"}}}}
OWN = {  # names and options of registered parts, which there are none of here
    "dataset.source",
    *(f"{section}.options" for section in ("dataset", "masks", "encoder", "objective", "objective.graph")),
    *(f"{section}.name" for section in ("masks", "encoder", "objective.graph")),
}


def drawn(family, **settings):
    return {"objective": {"graph": {"family": family, "num_edges": 9, **settings}}}


# key -> (config, another value of the key)
CHANGED = {
    "description": ({}, "x"),
    "seed": ({}, 1),
    "deterministic": ({}, True),
    "condition": ({}, "supervised"),
    "num_encoders": ({}, 9),
    "dataset": ({}, {"name": "cifar10"}),
    "dataset.name": ({"dataset": {"name": "cifar10"}}, "cifar100"),
    "dataset.test_fraction": ({}, 0.5),
    "dataset.input_scale": ({}, 1.0),
    "dataset.data_dir": ({"dataset": {"name": "cifar10"}}, "/x"),
    "dataset.path": ({"dataset": FOLDER}, "/x/there"),
    "dataset.test_path": ({"dataset": FOLDER}, "/x/there"),
    "dataset.image_size": ({"dataset": FOLDER}, [8, 8]),
    "dataset.background": ({"dataset": FOLDER}, [0, 0, 0]),
    "dataset.white_level": ({"dataset": FOLDER}, 255.0),
    "dataset.standardise": (SIMULATED, True),
    "dataset.stimuli": ({**SIMULATED, "dataset": SESSION}, ["a", "b"]),
    "dataset.label": (SIMULATED, "segment"),
    "dataset.segments": (SIMULATED, 5),
    "dataset.full_range": (SIMULATED, True),
    "dataset.window": (SIMULATED, 5),
    "dataset.lag": (SIMULATED, 2),
    "dataset.split": (SIMULATED, "blocks"),
    "dataset.folds": (SIMULATED, 4),
    "dataset.fold": (SIMULATED, 1),
    "dataset.split_label": ({**SIMULATED, "dataset": SESSION}, "part"),
    "dataset.regress": ({**SIMULATED, "dataset": SESSION}, True),
    "dataset.period": ({**SIMULATED, "dataset": {**SESSION, "label": "direction"}}, 360.0),
    "dataset.seed": (SIMULATED, 1),
    "dataset.size": (SIMULATED, "paper"),
    "augmentation.horizontal_flip": ({}, True),
    "augmentation.rotation": ({}, 0.1),
    "augmentation.zoom": ({}, 0.1),
    "masks": ({}, {"scheme": "random_patches"}),
    "masks.fraction": ({}, 0.5),
    "masks.sigma": ({}, 3.0),
    "masks.patch_size": ({"masks": {"scheme": "random_patches"}}, 2),
    "masks.centres": ({"masks": {"scheme": "contiguous_patches"}}, "published"),
    "masks.layout": ({"masks": MAP}, "foveal"),
    "masks.slope": ({"masks": MAP}, 0.3),
    "masks.e2": ({"masks": MAP}, 3.0),
    "masks.jitter": ({"masks": MAP}, 0.3),
    "masks.path": ({"masks": {"scheme": "custom", "path": "/x/a.npy"}}, "/x/b.npy"),
    "masks.areas": ({**SIMULATED, "num_encoders": 2}, ["a", "b"]),
    "encoder": ({}, VIT),
    "encoder.hidden": ({}, [7]),
    "encoder.embedding_dim": ({}, 7),
    "encoder.dropout": ({}, 0.3),
    "encoder.l1": ({}, 0.3),
    "encoder.l2": ({}, 0.3),
    "encoder.blocks": ({"encoder": VIT}, 3),
    "encoder.heads": ({"encoder": VIT}, 3),
    "encoder.key_dim": ({"encoder": VIT}, 3),
    "encoder.mlp_dim": ({"encoder": VIT}, 3),
    "encoder.cell": ({"encoder": RNN}, "simple"),
    "encoder.units": ({"encoder": RNN}, [7]),
    "encoders": (TWO, [{"type": "mlp"}, {"type": "mlp", "dropout": 0.5}]),
    "objective.temperature": ({}, 3.0),
    "objective.graph": ({}, {"family": "star"}),
    "objective.graph.family": ({}, "directional_ring"),
    "objective.graph.weighting": ({"objective": {"graph": {"family": "star"}}}, "per_target"),
    "objective.graph.num_edges": ({"objective": {"graph": {"family": "random", "num_edges": 9}}}, 8),
    "objective.graph.length": (drawn("spatial", length=2.0), 3.0),
    "objective.graph.rewiring": (drawn("small_world"), 0.3),
    "objective.graph.clusters": (drawn("clustered"), 3),
    "objective.graph.inside": (drawn("clustered"), 0.3),
    "objective.graph.edges": (GRAPH, [[0, 1]]),
    "objective.graph.weights": (GRAPH, [1.0, 2.0]),
    "objective.stop_gradient": ({}, True),
    "objective.push": ({}, {"graph": {"family": "all_to_all"}}),
    "objective.push.weight": (PUSH, 0.5),
    "objective.push.graph": (PUSH, {"family": "star"}),
    "objective.push.graph.family": (PUSH, "directional_ring"),
    "objective.local": ({}, True),
    "objective.momentum": ({"condition": "distilled"}, 0.9),
    "objective.predictor": ({"condition": "distilled"}, {"hidden": 7}),
    "objective.predictor.hidden": ({"condition": "distilled"}, 7),
    "objective.predictor.batch_norm": ({"condition": "distilled"}, True),
    "objective.weights.tpull": ({"condition": "tcloser"}, 3.0),
    "objective.weights.pull": ({"condition": "notcloser"}, 3.0),
    "objective.weights.cont": ({"condition": "lpl"}, 3.0),
    "objective.weights.var": ({"condition": "lpl"}, 3.0),
    "objective.weights.cov": ({"condition": "lpl"}, 3.0),
    "optimizer.learning_rate": ({}, 0.1),
    "optimizer.beta_1": ({}, 0.5),
    "optimizer.beta_2": ({}, 0.5),
    "optimizer.epsilon": ({}, 0.5),
    "optimizer.schedule_decay": ({}, 0.5),
    "training.epochs": ({}, 3),
    "training.batch_size": ({}, 3),
    "training.validation_fraction": ({}, 0.3),
    "training.checkpoint_every": ({}, 3),
    "training.checkpoint_minutes": ({}, 3.0),
    "training.keep": ({}, "best"),
    "training.keep_checkpoints": ({}, 3),
    "compute.precision": ({}, "bfloat16"),
    "compute.xla": ({}, True),
    "compute.distribution": ({}, "mirrored"),
    "compute.steps_per_execution": ({}, 3),
    "compute.loss_memory_mb": ({}, 3.0),
    **{f"seeds.{name}": ({}, 3) for name in RunConfig.model_fields["seeds"].annotation.model_fields},
    "readout.after_training": ({}, False),
    "readout.at_epochs": ({}, [1]),
    "readout.C": ({}, [0.5]),
    "readout.protocol": ({}, "converged"),
    "readout.max_iter": ({}, 3),
    "readout.precision": ({}, "float32"),
    "readout.validation_fraction": ({}, 0.3),
    "readout.conditions": ({}, []),
    "readout.pseudo_likelihood_draws": ({}, 3),
    "readout.knn_neighbours": ({}, 3),
    "readout.layers": ({}, True),
    "readout.whiten": ({}, True),
}

# What the roles are, said a second time: every other key is 'result'.
ROLES = {
    "text": {"description"},
    "seed": {"seed", *(key for key in CHANGED if key.startswith("seeds."))},
    "cost": {"deterministic", "compute.xla", "compute.loss_memory_mb"},
    "free": {
        "dataset.data_dir",
        "training.checkpoint_every",
        "training.checkpoint_minutes",
        "training.keep_checkpoints",
        "compute.distribution",
        "compute.steps_per_execution",
        "readout.precision",
    },
    "place": {"dataset.path", "dataset.test_path"},
    "readout": {f"readout.{name}" for name in ("C", "protocol", "max_iter", "validation_fraction", "knn_neighbours")},
    "shown": {
        f"readout.{name}"
        for name in ("after_training", "at_epochs", "conditions", "pseudo_likelihood_draws", "layers", "whiten")
    },
}


def keys_of(annotation, prefix=""):
    """Every key of the run config, as a path, and every section that is chosen among several."""
    for model in models_of(annotation):
        for name, field in model.model_fields.items():
            yield f"{prefix}{field.alias or name}"
            yield from keys_of(field.annotation, f"{prefix}{name}.")


def models_of(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, Annotated):
        return [model for part in get_args(annotation) for model in models_of(part)]
    return []


def pair(key):
    """Two resolved configs that differ in one key, in a training whose length is not the default."""
    content, value = CHANGED[key]
    one = json.loads(json.dumps({"training": {"epochs": 7}, **content}))
    other = json.loads(json.dumps(one))
    *parents, last = key.split(".")
    inner = other
    for parent in parents:
        inner = inner.setdefault(parent, {})
    if parents == ["encoder"] and "encoder" not in content:
        inner["type"] = "mlp"
    if parents == ["masks"] and "masks" not in content:
        inner["scheme"] = "gaussian"
    if parents == ["dataset"] and "dataset" not in content:
        inner["name"] = "digits"
    if parents == ["objective", "graph"]:
        inner.setdefault("family", "all_to_all")
    inner[last] = value
    return parse_config(one).resolved(), parse_config(other).resolved()


def test_every_key_of_the_schema_is_looked_at_and_has_a_role():
    keys = set(keys_of(RunConfig))
    for key in keys - {"readout", "training", "compute"}:  # whose keys differ in role
        assert identity.role(key), key
    one_value = {
        "base",
        "optimizer.name",
        "masks.scheme",
        "encoder.type",
        "$schema",
        "objective.graph.path",
    }  # or with their section
    sections = {"augmentation", "objective", "objective.weights", "optimizer", "training", "compute", "seeds", "readout"}
    pushed = {key for key in keys if key.startswith("objective.push.graph.")}  # as those of the graph that pulls
    assert keys - set(CHANGED) - pushed == one_value | sections | OWN
    with pytest.raises(KeyError, match="compute.new: has no role"):
        identity.role("compute.new")


@pytest.mark.parametrize("key", CHANGED)
def test_the_six_answers(key):
    one, other = pair(key)
    assert one.to_dict() != other.to_dict()
    role = next((name for name, keys in ROLES.items() if key in keys), "result")
    assert identity.role(key) == role
    condition = one.condition
    # 1, 2: the digest, and what a run may go on with
    counts = role in ("result", "seed", "cost")
    assert (one.digest() != other.digest()) == counts == (not identity.same_weights(one, other))
    assert identity.is_free(key) == (not counts) and bool(identity.differences(one, other)) == counts
    # 3: the summary
    results = identity.result_of(condition, one) != identity.result_of(condition, other)
    assert results == (role in ("result", "readout", "place") and key != "condition")
    # 4: names of run folders, and what baselines are shared by
    assert (identity.run_name(one) != identity.run_name(other)) == (counts or role == "place")
    for compared in ("masked_input", "full_input", "untrained"):
        key_of, its_key = (identity.baseline_of(config, compared) for config in (one, other))
        configs = [baseline_config(config, compared) for config in (one, other)]
        assert (key_of != its_key) == (tuple(identity.baseline_of(config, compared) for config in configs) != (key_of, key_of))
        assert identity.baseline_of(configs[0], compared) == key_of  # a point's baseline is what its own run would read out
        if key_of != its_key and role not in ("readout", "seed"):
            assert identity.run_name(configs[0]) != identity.run_name(configs[1])
    # 5: groups of a report
    grouped = identity.settings_of(one) != identity.settings_of(other)
    assert grouped == (role in ("result", "place"))
    # 6: trainings in one
    apart = {found for found, _, _ in identity.keys_apart(one, other)}
    together = role in ("text", "seed", "readout", "shown") or key.split(".")[0] in ("masks", "objective")
    assert bool(apart) == (not together)
    # and they agree
    same_training = one.digest() == other.digest()
    if results:
        assert not same_training or role in ("readout", "place")
    if not grouped:
        assert not results or role == "readout"
    if same_training and role != "place":
        assert identity.run_name(one) == identity.run_name(other) and not grouped


def test_a_result_follows_from_what_its_condition_has():
    def differs(condition, key):
        return len({identity.result_of(condition, config) for config in pair(key)}) > 1

    trained = {name for name, condition in CONDITIONS.items() if condition.trained}
    for key, having in {
        "objective.temperature": {"closer"},
        "objective.stop_gradient": {"closer"},
        "objective.graph.family": {"closer", "tcloser", "notcloser", "distilled"},
        "optimizer.learning_rate": trained,
        "compute.precision": {*trained, "untrained"},
        "encoder.hidden": {*trained, "untrained"},
        "masks.fraction": set(CONDITIONS) - {"full_input"},
        "dataset.test_fraction": set(CONDITIONS),
        "training.validation_fraction": set(CONDITIONS),
    }.items():
        assert {condition for condition in CONDITIONS if differs(condition, key)} == having, key


TINY = {
    "num_encoders": 3,
    "masks": {"scheme": "gaussian", "fraction": 0.25},
    "encoder": {"type": "mlp", "hidden": [8], "embedding_dim": 4, "dropout": 0.2},
    "training": {"epochs": 3, "batch_size": 256},
    "readout": {"C": [0.01, 1.0], "max_iter": 20, "pseudo_likelihood_draws": 2},
}
ARRAYS = {"dataset": {"name": "arrays", "path": "/x/a.npz"}, "compute": {"precision": "bfloat16"}, "deterministic": True}


@pytest.mark.parametrize(
    "content, digest, name",
    [
        ({}, "731462391ca26d09fd4df7e978b0c03108770e4a39147eb502642cebcb2c437f", "gaussian_q0.1_e100_s0_355a9698dd"),
        (TINY, "8229855598e0238a9fb89caf9cf05511ce03d8fc41b34ae774135572682868bf", "gaussian_q0.25_e3_s0_3ea7b781c1"),
        (TINY | {"condition": "lpl"}, "f44a6cc4e6b14865323c637e07adc46fbebd61fe2dd8a1e83a000d52eca64097", "e3_s0_af7cf53610"),
        ({"compute": {"xla": True}}, "5dc1424ab36694334f4b89fea7afdf57f68448736f1a1fb0fbab225652170c3c", "s0_00264c9fc2"),
        (ARRAYS, "83e2be8f9dada67a36a1ebd340daff036f60f12988bd55bfc8c4e86c8592f037", "s0_7cb83c1088"),
        (
            {"training": {"checkpoint_every": 5}},
            "5611e36ae618caa0966e7785ef51f03794e623e18f82ff4b49e265dbdf0177bc",
            "e100_s0_3550f2ce1b",
        ),
    ],
)
def test_digests_and_names_of_folders_from_before(content, digest, name):
    config = parse_config(content).resolved()
    assert config.digest() == digest and identity.run_name(config).endswith(name)


def test_a_folder_from_before_goes_on(tmp_path):
    """Its checkpoint holds the digest of then."""
    from closer_tf.train import train_run
    from closer_tf.training.checkpoints import checkpoint_files, load_checkpoint

    stopped = parse_config(TINY | {"training": {"epochs": 1, "batch_size": 256}, "readout": {"after_training": False}})
    train_run(stopped, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    checkpoint = load_checkpoint(checkpoint_files(run.checkpoints)[0])
    config = parse_config(TINY | {"readout": {"after_training": False}}).resolved()
    train_run(config, run.path)
    checkpoint = load_checkpoint(checkpoint_files(run.checkpoints)[0])
    assert checkpoint.digest == "8229855598e0238a9fb89caf9cf05511ce03d8fc41b34ae774135572682868bf"
    assert len(run.read_history()) == 3 and checkpoint.digest in run.digests(config)


def test_a_training_at_its_defaults_goes_on_with_other_checkpoints(tmp_path):
    """An empty section counts in the digest, as it always did; it keeps no run from going on."""
    often, seldom = (parse_config({"training": {"checkpoint_every": every}}).resolved() for every in (1, 5))
    (tmp_path / "config.json").write_text(often.to_json())
    run = RunFolder(tmp_path)
    assert run.check(seldom) and often.digest() in run.digests(seldom) and seldom.digest() in run.digests(often)
    longer = parse_config({"training": {"batch_size": 5}}).resolved()
    with pytest.raises(RunError, match=r"another config \(training.batch_size: there 128, here 5\)"):
        run.check(longer)


def test_a_point_in_bfloat16_has_baselines_in_bfloat16():
    base = {**TINY, "compute": {"loss_memory_mb": 9.0}}
    sweep = {"base": base, "grid": {"compute.precision": ["float32", "bfloat16"]}, "baselines": ["untrained", "masked_input"]}
    points = sweep_points(parse_sweep(sweep))
    # what is read out without encoders has no precision
    found = [(point.config.condition, point.config.compute.precision) for point in points if point.baseline]
    assert found == [
        ("untrained", "float32"),
        ("masked_input", "float32"),
        ("untrained", "bfloat16"),
    ]
    for point in points[:2]:
        untrained = next(p for p in points if p.baseline and p.config.compute.precision == point.config.compute.precision)
        assert identity.baseline_of(untrained.config, "untrained") == identity.baseline_of(point.config, "untrained")
