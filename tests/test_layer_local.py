"""Layer-local learning: where gradients are exactly zero, what the layers minimise, and which encoders can learn so."""

import keras
import numpy as np
import pytest

from closer_tf import graphs
from closer_tf.config import parse_config
from closer_tf.errors import ConfigError
from closer_tf.masks import gaussian_masks
from closer_tf.nn.distilled import DistilledLoss
from closer_tf.nn.encoders import mlp, vit_lite
from closer_tf.nn.ensemble import build_ensemble
from closer_tf.nn.fused_model import why_not_fused
from closer_tf.nn.layer_local import LayerLocal
from closer_tf.nn.objectives import CLoSeRLoss
from closer_tf.nn.temporal import TemporalLoss
from closer_tf.training.experiment import make_objective

RING = graphs.directional_ring(3)
OBJECTIVES = {
    "closer": CLoSeRLoss(20.0, RING),
    "push": CLoSeRLoss(None, RING, True, push=graphs.star(3), push_weight=0.5),
    "notcloser": TemporalLoss({"pull": 2.0, "var": 1.0, "cov": 10.0}, RING),
    "lpl": TemporalLoss({"cont": 1.0, "var": 1.0, "cov": 10.0}),
    "tcloser": TemporalLoss({"tpull": 2.0, "var": 1.0, "cov": 10.0}),
}


def ensemble_of(hidden=(6, 5), dropout=0.0, encoder=mlp):
    fields = gaussian_masks((8, 8), 3, 0.25, seed=1)

    def make(i, shape):
        widths = hidden[i] if isinstance(hidden[0], tuple) else hidden
        return mlp(shape, widths, 4, dropout, init_seed=i, dropout_seed=i) if encoder is mlp else encoder(shape, 4)

    return build_ensemble((8, 8, 1), fields, make, 1 / 16)


def images_for(objective, count=7):
    rng = np.random.default_rng(0)
    return rng.integers(0, 17, (count, *((2,) if objective.needs_previous else ()), 8, 8, 1)).astype(np.float32)


def gradients(model, x, loss_of):
    """dict weight's id -> (its path, its gradient, zeros where there is none), of the trainable weights."""
    weights = model.trainable_variables
    if keras.backend.backend() == "jax":
        import jax

        others = [each.value for each in model.non_trainable_variables]

        def loss(values):
            return loss_of(model.stateless_call(values, others, x)[0])

        found = jax.grad(loss)([each.value for each in weights])
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = loss_of(model(x))
        found = tape.gradient(loss, [each.value for each in weights], unconnected_gradients="zero")
    return {id(weight): (weight.path, np.asarray(gradient)) for weight, gradient in zip(weights, found)}


def depth_of(path, hidden=2):
    """Which layer a weight belongs to, counted from 0."""
    name = path.split("/")[-2]
    return hidden if name == "embedding" else int(name.removeprefix("hidden_"))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_layers_loss_moves_that_layer_alone(name):
    objective = OBJECTIVES[name]
    x, model = images_for(objective), LayerLocal(objective, 3).training_model(ensemble_of())
    for layer in range(3):
        found = gradients(model, x, lambda outputs, layer=layer: objective.terms(outputs["layers"][layer])["loss"])
        assert len(found) == 18
        for path, gradient in found.values():
            assert np.any(gradient) == (depth_of(path) == layer) or path.endswith("bias"), path
            assert depth_of(path) == layer or np.all(gradient == 0), path


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_loss_is_the_sum_over_layers(name):
    objective = OBJECTIVES[name]
    loss, x = LayerLocal(objective, 3), images_for(objective)
    outputs = loss.training_model(ensemble_of())(x)
    terms = loss.terms(outputs)
    each = [float(terms[f"loss_of_layer_{depth}"]) for depth in (1, 2, 3)]
    assert float(terms["loss"]) == pytest.approx(sum(each), rel=1e-5)
    assert set(terms) == {"loss", *loss.term_names}
    alone = objective.terms(outputs["embeddings"])
    assert each[2] == float(alone["loss"]) and all(float(terms[part]) == float(alone[part]) for part in objective.term_names)
    if name == "closer":  # 20 for 4 dimensions is 30 for 6
        assert each[0] == float(CLoSeRLoss(30.0, RING).terms(outputs["layers"][0])["loss"])
    if name == "push":  # 10 D of each layer
        assert each[1] == pytest.approx(
            float(CLoSeRLoss(50.0, RING, True, push=graphs.star(3), push_weight=0.5).terms(outputs["layers"][1])["loss"])
        )


def test_the_last_layer_learns_as_it_does_end_to_end():
    ensemble = ensemble_of(hidden=(6,))
    objective, x = CLoSeRLoss(20.0, RING), images_for(CLoSeRLoss())
    loss = LayerLocal(objective, 2)
    local = gradients(loss.training_model(ensemble), x, lambda outputs: loss.terms(outputs)["loss"])
    whole = gradients(ensemble, x, lambda outputs: objective.terms(outputs)["loss"])
    assert set(local) == set(whole)
    for weight, (path, gradient) in whole.items():
        if depth_of(path, 1) == 1:
            np.testing.assert_allclose(local[weight][1], gradient, rtol=1e-5, atol=1e-7)
        elif path.endswith("kernel"):
            assert np.any(local[weight][1] != gradient)


def test_activities_are_taken_before_dropout():
    model = LayerLocal(CLoSeRLoss(), 3).training_model(ensemble_of(dropout=0.5))
    x = images_for(CLoSeRLoss())
    kept, dropped = model(x, training=False), model(x, training=True)
    np.testing.assert_array_equal(np.asarray(kept["layers"][0]), np.asarray(dropped["layers"][0]))
    assert np.any(np.asarray(kept["layers"][1]) != np.asarray(dropped["layers"][1]))


def test_it_trains_the_ensemble_itself_and_is_kept_in_files(tmp_path):
    ensemble, loss = ensemble_of(dropout=0.1), LayerLocal(CLoSeRLoss(20.0, RING), 3)
    before = ensemble.get_weights()
    model = loss.training_model(ensemble)
    model.compile(loss=loss)
    history = model.fit(images_for(loss), batch_size=4, epochs=2, verbose=0).history
    assert "loss_of_layer_2" in history and np.isfinite(history["loss"]).all()
    assert all(np.any(one != other) for one, other in zip(before, ensemble.get_weights()))
    assert why_not_fused(model).startswith("the objective LayerLocal owns more than heads")
    x = images_for(loss)
    np.testing.assert_array_equal(np.asarray(model(x)["embeddings"]), np.asarray(ensemble(x)))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.loss.term_names == loss.term_names and again.loss.objective.temperature == 20
    np.testing.assert_array_equal(np.asarray(again(x)["layers"][1]), np.asarray(model(x)["layers"][1]))


@pytest.mark.parametrize(
    "how, says",
    [
        ({"hidden": ((6, 5), (6, 5), (6, 7))}, r"layer 2 needs one width in all encoders, found \[5, 7\]"),
        ({"hidden": ((6, 5), (6,), (6, 5))}, r"layers: expected as many in every encoder, found \[2, 3\]"),
        ({"hidden": (6,)}, "layers: expected 3 in every encoder, found 2"),
        ({"encoder": vit_lite}, "layer '.*' of encoder 0 is a ClassTokenAndPositions"),
    ],
)
def test_encoders_that_do_not_compare(how, says):
    with pytest.raises(ValueError, match=says):
        LayerLocal(CLoSeRLoss(), 3).training_model(ensemble_of(**how))


def test_an_objective_that_owns_predictors():
    with pytest.raises(ValueError, match="expected one on embeddings alone, found DistilledLoss"):
        LayerLocal(DistilledLoss(), 2)


def test_a_config_makes_it():
    content = {"encoder": {"type": "mlp", "hidden": [8, 8]}, "objective": {"local": True}}
    loss = make_objective(parse_config(content).resolved())
    assert isinstance(loss, LayerLocal) and loss.num_layers == 3 and loss.objective.temperature == 2560
    assert parse_config(content).digest() != parse_config({**content, "objective": {}}).digest()
    lpl = make_objective(parse_config({**content, "condition": "lpl"}).resolved())
    assert lpl.needs_previous and lpl.objective.weights["cov"] == 10
    for wrong, says in (
        ({"condition": "supervised"}, "objective.local: 'supervised' is not trained layer by layer"),
        ({"encoder": {"type": "vit_lite"}}, "objective.local: expected encoders of type mlp, found 'vit_lite' .encoder 0."),
    ):
        with pytest.raises(ConfigError, match=says):
            parse_config({**content, **wrong})


def test_layers_are_read_out(tmp_path, capsys):
    from closer_tf.evaluate import evaluate_run
    from closer_tf.train import train_run

    content = {
        "num_encoders": 2,
        "masks": {"scheme": "gaussian", "fraction": 0.25},
        "encoder": {"type": "mlp", "hidden": [8, 6], "embedding_dim": 4},
        "objective": {"local": True},
        "training": {"epochs": 1, "batch_size": 256},
        "readout": {"C": [0.1], "max_iter": 20, "conditions": ["untrained", "masked_input"], "pseudo_likelihood_draws": 1},
    }
    before = train_run(content, tmp_path / "run")["accuracy"]
    found = evaluate_run(tmp_path / "run", overrides=["readout.layers=true"])["accuracy"]
    names = {f"layer_{depth}_{what}" for depth in (1, 2) for what in ("single", "ensemble")}
    for condition in ("untrained", "closer"):
        assert set(found[condition]) == set(before[condition]) | names
        assert len(found[condition]["layer_2_single"]["per_encoder"]) == 2
    assert found["masked_input"] == before["masked_input"]
    assert found["closer"]["layer_1_single"] != found["untrained"]["layer_1_single"]
    capsys.readouterr()
    assert evaluate_run(tmp_path / "run", overrides=["readout.layers=true"])["accuracy"] == found
    assert "new in this: nothing" in capsys.readouterr().out
