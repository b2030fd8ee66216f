"""Parts of one's own: named in a config when their module is given, refused in plain words otherwise; and runs of models that
were made in Python."""

import json
import sys

import keras
import numpy as np
import pytest

import closer_tf
from closer_tf import cli
from closer_tf.common import backend
from closer_tf.config import conditions, own_parts, parse_config
from closer_tf.data import load_data
from closer_tf.errors import ConfigError, DataError, RunError
from closer_tf.masks import gaussian_masks
from closer_tf.nn.encoders import mlp
from closer_tf.nn.ensemble import build_ensemble
from closer_tf.training.checkpoints import checkpoint_files, load_checkpoint
from closer_tf.training.experiment import make_objective
from closer_tf.training.runs import RunFolder

PARTS = '''
import closer_tf
import keras
import numpy as np
from closer_tf.data import Source, Split
from keras import ops


@closer_tf.register_objective("near_mean", title="near the mean", learns_from=("encoders",))
@keras.saving.register_keras_serializable("parts")
class NearMean(closer_tf.Objective):
    term_names = ("pull", "spread")

    def __init__(self, strength, graph=None, **kwargs):
        super().__init__(**kwargs)
        self.strength, self.pairs = strength, graph.num_edges if hasattr(graph, "num_edges") else graph

    def terms(self, outputs, labels=None):
        pull = ops.mean(ops.square(outputs - ops.stop_gradient(ops.mean(outputs, axis=1, keepdims=True))))
        spread = -ops.mean(ops.log(ops.var(outputs, axis=0) + 1e-4))
        return {"loss": self.strength * pull + spread, "pull": pull, "spread": spread}

    def get_config(self):
        return {**super().get_config(), "strength": self.strength, "graph": self.pairs}


@closer_tf.register_objective("forgetful")
class Forgetful(NearMean):
    """Not registered with Keras."""


@closer_tf.register_encoder("linear")
def linear(shape, embedding_dim, init_seed, extra=0):
    inputs = keras.Input(shape)
    kernel = keras.initializers.GlorotUniform(seed=init_seed)
    outputs = keras.layers.Dense(embedding_dim + extra, kernel_initializer=kernel)(keras.layers.Flatten()(inputs))
    return keras.Model(inputs, outputs)


@closer_tf.register_mask("stripes")
def stripes(image_size, num_encoders, width=2):
    cells = np.arange(image_size[0] * image_size[1]).reshape(image_size)
    return closer_tf.ReceptiveFields([np.sort(cells[:, i : i + width].ravel()) for i in range(num_encoders)], image_size)


@closer_tf.register_graph("chain")
def chain(num_encoders, seed):
    return closer_tf.InteractionGraph(num_encoders, [(i, i + 1) for i in range(num_encoders - 1)], family="chain")


@closer_tf.register_source("stripes")
def images(count=120):
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    x = rng.integers(0, 200, (count, 6, 6, 1)) + 50 * labels[:, None, None, None]
    samples = Split(x.astype(np.uint8), labels)
    return Source(samples[: count // 2], samples[count // 2 :], ("dark", "bright"), 1 / 255)
'''
CONFIG = {
    "condition": "near_mean",
    "num_encoders": 3,
    "dataset": {"name": "own", "source": "stripes", "options": {"count": 100}},
    "masks": {"scheme": "own", "name": "stripes", "options": {"width": 3}},
    "encoder": {"type": "own", "name": "linear", "embedding_dim": 4},
    "objective": {"graph": {"family": "own", "name": "chain"}, "options": {"strength": 0.5}},
    "training": {"epochs": 2, "batch_size": 20},
    "readout": {"C": [0.1], "max_iter": 20, "conditions": ["untrained"], "pseudo_likelihood_draws": 1},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a module of parts and a config that names them; what it registers is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(own_parts, "REGISTERED", {kind: dict(parts) for kind, parts in own_parts.REGISTERED.items()})
    before = dict(conditions.CONDITIONS)
    (tmp_path / "some_parts.py").write_text(PARTS)
    (tmp_path / "own.json").write_text(json.dumps(CONFIG))
    yield tmp_path
    for name in set(conditions.CONDITIONS) - set(before):
        del conditions.CONDITIONS[name]
    sys.modules.pop("some_parts", None)


@pytest.fixture
def parts(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    import some_parts

    return some_parts


def changed(**changes):
    content = json.loads(json.dumps(CONFIG))
    for key, value in changes.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    return content


def test_a_config_of_own_parts_is_a_run_like_others(folder, capsys):
    assert cli.main(["train", "own.json", "--run-dir", "run", "--plugin", "some_parts"]) == 0
    run = RunFolder(folder / "run")
    assert set(run.read_results()["accuracy"]) == {"untrained", "near_mean"}
    assert {"pull", "spread"} < set(run.read_history()[0])
    assert run.load_masks().cells().sum(axis=(1, 2)).tolist() == [18, 18, 18]
    assert run.load_ensemble().output_shape == (None, 3, 4)
    capsys.readouterr()
    assert cli.main(["evaluate", "run", "--plugin", "some_parts", "--set", "readout.knn_neighbours=3"]) == 0
    assert cli.main(["summary", "run", "--plugin", "some_parts", "-o", "out/run"]) == 0
    assert cli.main(["report", "run", "-o", "page.html", "--plugin", "some_parts"]) == 0
    assert "near the mean" in capsys.readouterr().out + (folder / "page.html").read_text()
    assert cli.main(["export", "run", "--to", "exported", "--keras-only", "--plugin", "some_parts"]) == 0


@pytest.mark.slow
def test_a_sweep_hands_the_module_to_each_training(folder, capsys):
    (folder / "both.json").write_text(json.dumps({"base": "own.json", "seeds": [0, 1], "baselines": []}))
    assert cli.main(["sweep", "both.json"]) == 2
    assert "--plugin MODULE" in capsys.readouterr().err and not (folder / "runs").exists()
    assert cli.main(["sweep", "both.json", "--plugin", "some_parts", "--workers", "1"]) == 0
    assert len(list((folder / "runs").glob("*/results.json"))) == 2


def test_without_its_module_a_part_is_not_known(folder, capsys):
    assert cli.main(["train", "own.json"]) == 2
    said = capsys.readouterr().err
    assert "own.json: condition: expected" in said and 'found "near_mean"' in said and "--plugin MODULE" in said
    for key, kind in (("encoder", "encoder"), ("masks", "mask"), ("dataset", "source")):
        with pytest.raises(ConfigError, match=rf"{key}\.\w+: no {kind} '\w+' is registered here\. One of .*--plugin MODULE"):
            parse_config({key: CONFIG[key]})
    with pytest.raises(ConfigError, match="objective.graph.name: no graph 'chain' is registered here"):
        parse_config({"objective": {"graph": CONFIG["objective"]["graph"]}})
    assert "some_parts" not in sys.modules and not (folder / "runs").exists()


@pytest.mark.parametrize(
    "module, says", [("some_parts.py", "expected the name of a module"), ("nowhere", "cannot be imported")]
)
def test_a_module_that_cannot_be(folder, capsys, monkeypatch, module, says):
    monkeypatch.setattr(backend, "import_keras", lambda: pytest.fail("Keras comes later"))
    assert cli.main(["train", "own.json", "--plugin", module]) == 2
    assert f"--plugin {module}: {says}" in capsys.readouterr().err


MISTAKES = [
    (changed(objective={"options": {}}), "objective.options: objective 'near_mean' needs the option 'strength'"),
    (
        changed(objective={"options": {"strenght": 1}}),
        "objective 'near_mean' has no option 'strenght'; expected some of strength",
    ),
    (changed(condition="forgetful"), "Forgetful is not registered with Keras"),
    (changed(encoder={"options": {"extra": 1}}), r"encoder: encoder 'linear': expected .*\(batch, 4\).*found \(None, 5\)"),
    (changed(masks={"options": {"height": 1}}), "masks: mask 'stripes' has no option 'height'"),
    (changed(encoder={"name": None}), "encoder: the encoder was made in Python"),
]


@pytest.mark.parametrize("content, says", MISTAKES)
def test_mistakes_are_found_before_anything_is_written(folder, parts, content, says):
    with pytest.raises(ConfigError, match=says):
        closer_tf.train_run(content, folder / "run")
    assert not (folder / "run").exists()


def test_a_source_that_does_not_take_an_option(folder, parts):
    with pytest.raises(DataError, match="dataset: source 'stripes' has no option 'size'; expected some of count"):
        load_data("own", source="stripes", options={"size": 2})


def test_built_in_conditions_keep_their_names(folder):
    with pytest.raises(ValueError, match="there is a condition 'closer' already"):
        closer_tf.register_objective("closer")(object)
    with pytest.raises(ValueError, match="expected a name of letters"):
        closer_tf.register_graph("a graph")
    with pytest.raises(ConfigError, match="objective.options: 'closer' has none"):
        parse_config({"objective": {"options": {"a": 1}}})


def model_of(parts, strength=0.5, width=4, objective=None, dropout=0.2):
    fields = gaussian_masks((8, 8), 3, 0.25, seed=1)

    def encoder(i, shape):
        return mlp(shape, (6,), width, dropout, init_seed=i, dropout_seed=i)

    model = build_ensemble((8, 8, 1), fields, encoder, 1 / 16)
    model.compile(keras.optimizers.Adam(1e-2), objective or parts.NearMean(strength))
    return model


READOUT = {"C": [0.1], "max_iter": 20, "pseudo_likelihood_draws": 1}


def test_a_model_made_in_python_gets_a_run(folder, parts, capsys):
    data, settings = load_data("digits"), {"epochs": 2, "batch_size": 256}
    model = model_of(parts)
    results = closer_tf.train_model(model, data, "whole", settings, {**READOUT, "at_epochs": [1]})
    assert set(results["accuracy"]) == {"masked_input", "untrained", "made_in_python"} and results["epochs"] == 2
    run = RunFolder(folder / "whole")
    assert {"pull", "spread"} < set(run.read_history()[0])
    for ours, stored in zip(model.get_weights(), run.load_ensemble().get_weights(), strict=True):
        np.testing.assert_array_equal(ours, stored)  # also after a readout at another epoch
    assert [len(cells) for cells in run.load_masks().indices] == [16] * 3
    # stopped after one epoch and gone on with, by a model made anew
    stop = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(stop.model, "stop_training", epoch == 0))
    assert closer_tf.train_model(model_of(parts), data, "parts", settings, READOUT, callbacks=[stop])["epochs"] == 1
    again = closer_tf.train_model(model_of(parts), data, "parts", settings, READOUT)
    assert again["accuracy"]["made_in_python"] == results["accuracy"]["made_in_python"]
    one, other = (load_checkpoint(checkpoint_files(folder / name / "checkpoints")[0]).arrays for name in ("whole", "parts"))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    # another model is another run
    for model in (model_of(parts, 0.7), model_of(parts, width=5), model_of(parts, dropout=0.1)):
        with pytest.raises(RunError, match="holds a run of another config"):
            closer_tf.train_model(model, data, "whole", settings, READOUT)
    # what others make of it
    capsys.readouterr()
    assert cli.main(["report", "whole", "-o", "page.html"]) == 0 and "own objective" in (folder / "page.html").read_text()
    assert cli.main(["summary", "whole", "-o", "out/whole"]) == 0
    assert cli.main(["export", "whole", "--to", "exported", "--keras-only"]) == 0
    assert cli.main(["evaluate", "whole"]) == 2
    assert "dataset: the source was made in Python; closer_tf.train_model" in capsys.readouterr().err


def test_a_loss_scale_around_a_schedule_goes_on(folder, parts):
    def model():
        made = model_of(parts)
        schedule = keras.optimizers.schedules.CosineDecay(1e-2, 100)
        made.compile(keras.optimizers.LossScaleOptimizer(closer_tf.Nadam(schedule)), parts.NearMean(0.5))
        return made

    data, settings = load_data("digits"), {"epochs": 2, "batch_size": 256}
    stop = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(stop.model, "stop_training", epoch == 0))
    closer_tf.train_model(model(), data, "parts", settings, {"after_training": False}, callbacks=[stop])
    closer_tf.train_model(model(), data, "parts", settings, {"after_training": False})
    closer_tf.train_model(model(), data, "whole", settings, {"after_training": False})
    whole, parts_of_it = (RunFolder(folder / name).load_ensemble().get_weights() for name in ("whole", "parts"))
    for a, b in zip(whole, parts_of_it, strict=True):
        np.testing.assert_array_equal(a, b)


def test_models_that_cannot_be_trained(folder, parts):
    data = load_data("digits")
    model, averaged = model_of(parts), model_of(parts)
    averaged.compile(keras.optimizers.Adam(1e-2, use_ema=True), parts.NearMean(0.5))
    unknown = parts.Forgetful(1.0)
    for wrong, says in (
        (keras.Sequential(), "model: expected a CLoSeR model"),
        (build_ensemble((8, 8, 1), gaussian_masks((8, 8), 2, 0.2), lambda i, shape: mlp(shape, (), 2)), "model: not compiled"),
        (averaged, "model: its optimizer has use_ema"),
        (model_of(parts, objective=unknown), "model: Forgetful is not registered with Keras"),
        (model_of(parts, objective=closer_tf.TemporalLoss()), "model: its objective needs consecutive bins"),
    ):
        with pytest.raises(ConfigError, match=says):
            closer_tf.train_model(wrong, data, "run")
    with pytest.raises(ConfigError, match="training.epochs"):
        closer_tf.train_model(model, data, "run", {"epochs": -1})
    with pytest.raises(ConfigError, match="training.keep: 'best' .* 0 validation samples"):
        closer_tf.train_model(model, load_data("digits", validation_fraction=0), "run", {"keep": "best"})
    assert not (folder / "run").exists()


def test_an_objective_gets_what_it_takes_of_the_config(parts):
    objective = make_objective(parse_config(changed()).resolved())
    assert objective.strength == 0.5 and objective.pairs == 2
