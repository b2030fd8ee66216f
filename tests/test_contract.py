"""One contract for everything that is registered with Keras: it builds, differentiates, follows the dtype policy, comes back
from its config and from a file as it was, and computes the same under TensorFlow and JAX.

What is registered, Keras itself says; an object without a row in the tables below fails. A row is called by the object's name,
and what comes after a blank tells rows of one object apart.

`python tests/test_contract.py` writes the file of outputs and gradients that both backends are held against (committed: those
of TensorFlow 2.17).
"""

from pathlib import Path

import keras
import numpy as np
import pytest
from gradients import value_and_gradient, weight_gradients

import closer_tf.nn  # noqa: F401  registers
from closer_tf.graphs import bidirectional_ring, directional_ring
from closer_tf.masks import gaussian_masks, random_patch_masks
from closer_tf.nn.distilled import DistilledLoss
from closer_tf.nn.encoders import ClassTokenAndPositions, FirstToken, SelfAttention, gelu, mlp, vit_lite
from closer_tf.nn.ensemble import Stack, build_ensemble, with_heads
from closer_tf.nn.layer_local import LayerLocal
from closer_tf.nn.layers import Cells, Dropout, Heads, RandomAffine, ReceptiveField, affine
from closer_tf.nn.objectives import CLoSeRLoss, Objective, StepNumber, SupervisedLoss, training_model
from closer_tf.nn.optimizers import Nadam
from closer_tf.nn.temporal import TemporalLoss

FILE = Path(__file__).with_name("contract.npz")
REGISTERED = {name.partition(">")[2]: it for name, it in keras.saving.get_custom_objects().items() if "closer_tf>" in name}


def of_mlps():
    fields = gaussian_masks((6, 6), 2, 0.25, seed=1)
    augmentation = RandomAffine(True, 0.1, 0.2, seed=3, name="augmentation")

    def encoder(i, shape):
        return mlp(shape, hidden=(5,), embedding_dim=4, dropout=0.2, l1=1e-3, init_seed=i, dropout_seed=i)

    return build_ensemble((6, 6, 2), fields, encoder, 0.5, ([0.1, 0.2], [1.0, 0.0]), augmentation)


def of_transformers():
    def encoder(i, shape):
        return vit_lite(shape, embedding_dim=4, blocks=1, heads=2, key_dim=3, mlp_dim=5, init_seed=i, dropout_seed=i)

    return build_ensemble((6, 6, 1), random_patch_masks((6, 6), 2, 0.5, patch_size=2, seed=1), encoder)


LAYERS = {
    "CLoSeR": (of_mlps, (5, 6, 6, 2)),
    "CLoSeR of transformers": (of_transformers, (5, 6, 6, 1)),
    "CLoSeR with heads": (lambda: with_heads(of_mlps(), 3, seed=1), (5, 6, 6, 2)),
    "Cells": (lambda: Cells(2), (5, 4, 6, 2)),
    "Cells of units": (Cells, (5, 7)),
    "ClassTokenAndPositions": (lambda: ClassTokenAndPositions(seed=1), (5, 3, 4)),
    "Dropout": (lambda: Dropout(0.25, seed=2), (5, 40)),
    "FirstToken": (FirstToken, (5, 3, 4)),
    "Heads": (lambda: Heads(6, seed=1), (5, 3, 4)),
    "RandomAffine": (lambda: RandomAffine(True, 0.1, 0.2, seed=3), (5, 6, 7, 2)),
    "ReceptiveField": (lambda: ReceptiveField([0, 2, 5]), (5, 6, 2)),
    "SelfAttention": (lambda: SelfAttention(2, 3, 0.2, 1, 2), (5, 3, 4)),
    "SelfAttention of the first": (lambda: SelfAttention(2, 3, 0.2, 1, 2, first_only=True), (5, 3, 4)),
    "Stack": (Stack, [(5, 4), (5, 4), (5, 4)]),
    "gelu": (lambda: keras.layers.Activation(gelu), (5, 40)),
}
"""row -> (what makes a layer or model, shape of its input, or list of shapes)"""

ALL_TERMS = {"tpull": 2.0, "pull": 0.5, "cont": 1.0, "var": 1.0, "cov": 10.0}
LOSSES = {
    "CLoSeRLoss": (lambda: CLoSeRLoss(3.0, directional_ring(4), True, 100.0, name="mine"), (7, 4, 5), None),
    "CLoSeRLoss by default": (CLoSeRLoss, (7, 4, 5), None),
    "CLoSeRLoss that pushes": (
        lambda: CLoSeRLoss(3.0, directional_ring(4), push=bidirectional_ring(4), push_weight=0.5),
        (7, 4, 5),
        None,
    ),
    "DistilledLoss": (
        lambda: DistilledLoss(directional_ring(4), hidden=3, name="mine"),
        (7, 4, 5),
        lambda x: {"embeddings": x, "predictions": keras.ops.flip(x, 0)},
    ),
    "LayerLocal": (
        lambda: LayerLocal(CLoSeRLoss(3.0, directional_ring(4)), 2, name="mine"),
        (7, 4, 5),
        lambda x: {"embeddings": x, "layers": [2 * x, x]},
    ),
    "SupervisedLoss": (lambda: SupervisedLoss(name="mine"), (7, 4, 3), lambda x: {"logits": x}),
    "TemporalLoss": (
        lambda: TemporalLoss(ALL_TERMS),
        (7, 2, 4, 5),
        None,
    ),
    "TemporalLoss on a graph": (lambda: TemporalLoss({"pull": 1.0}, directional_ring(4)), (7, 4, 5), None),
}
"""row -> (what makes a loss, shape of an array, function of it that gives what the loss takes where that is a dict)"""

STATES = {"StepNumber": StepNumber}
"""row -> what makes a layer that holds a state and lets no gradient through"""

OPTIMIZERS = {"Nadam": lambda: Nadam(0.01, 0.8, 0.99, 1e-5, 0.1)}
"""row -> what makes an optimizer"""


def test_every_registered_object_has_a_row():
    rows = {row.partition(" ")[0] for table in (LAYERS, LOSSES, STATES, OPTIMIZERS) for row in table}
    assert rows == set(REGISTERED)
    for kind, table in ((keras.losses.Loss, LOSSES), (keras.optimizers.Optimizer, OPTIMIZERS)):
        of_kind = {name for name, it in REGISTERED.items() if isinstance(it, type) and issubclass(it, kind)}
        assert of_kind == {row.partition(" ")[0] for row in table}


@pytest.fixture
def policy():
    """Sets the dtype policy; it is as it was afterwards."""
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")


def numbers(shape, seed=0):
    """Float32 array of a shape, or a list of them."""
    if isinstance(shape, list):
        return [numbers(each, seed + k) for k, each in enumerate(shape)]
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def symbolic(shape):
    return [symbolic(each) for each in shape] if isinstance(shape, list) else keras.Input(shape[1:], batch_size=shape[0])


def made(row):
    """(layer, the model that it is or is alone in, input)."""
    make, shape = LAYERS[row]
    layer = make()
    name = row.partition(" ")[0]
    assert layer.activation is REGISTERED[name] if name == "gelu" else type(layer) is REGISTERED[name]
    return layer, layer if isinstance(layer, keras.Model) else in_model(layer, shape), numbers(shape)


def in_model(layer, shape):
    inputs = symbolic(shape)
    return keras.Model(inputs, layer(inputs))


def arrays(outputs):
    """List of all of a model's outputs, as float32 arrays."""
    return [np.asarray(keras.ops.cast(each, "float32")) for each in keras.tree.flatten(outputs)]


def give_weights(layer):
    """Give a layer weights that are the same under every backend."""
    for k, weight in enumerate(layer.trainable_variables):
        weight.assign(0.3 * numbers(tuple(weight.shape), seed=k))


def assert_equal(found, expected):
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one, other)


def assert_close(found, expected):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("row", LAYERS)
def test_shapes_are_as_announced(row):
    layer, model, x = made(row)
    shape = LAYERS[row][1]
    found = [y.shape for y in arrays(model(x))]
    announced = layer.compute_output_shape(shape)
    announced = announced.values() if isinstance(announced, dict) else [announced]
    assert [tuple(each) for each in announced] == found
    specified = keras.tree.flatten(layer.compute_output_spec(symbolic(shape)))
    assert [tuple(each.shape) for each in specified] == found
    assert {each.dtype for each in specified} == {"float32"}


@pytest.mark.parametrize("row", LAYERS)
def test_gradients_are_finite_and_of_the_weights_shapes(row):
    layer, model, x = made(row)
    of_weights, of_inputs = weight_gradients(model, x, training=True)
    assert [g.shape for g in of_weights] == [tuple(weight.shape) for weight in layer.trainable_variables]
    assert [g.shape for g in of_inputs] == [each.shape for each in keras.tree.flatten(x)]
    for gradient in (*of_weights, *of_inputs):
        assert np.isfinite(gradient).all() and np.any(gradient)


@pytest.mark.parametrize("row", LAYERS)
@pytest.mark.parametrize("name", ["float32", "mixed_bfloat16"])
def test_the_dtype_policy_holds(policy, row, name):
    _, exact, x = made(row)
    give_weights(exact)
    policy(name)
    layer, model, _ = made(row)
    give_weights(model)
    assert layer.dtype_policy.name == name
    assert {keras.backend.standardize_dtype(weight.dtype) for weight in layer.trainable_variables} <= {"float32"}
    for y in keras.tree.flatten(model(x, training=True)):
        assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype == name.removeprefix("mixed_")
    for found, expected in zip(arrays(model(x)), arrays(exact(x))):
        np.testing.assert_allclose(found, expected, atol=0.03 * np.abs(expected).max() if name == "mixed_bfloat16" else 0)


@pytest.mark.parametrize("row", LAYERS)
def test_its_config_makes_it_again(row):
    layer, model, x = made(row)
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    of_again = again if isinstance(again, keras.Model) else in_model(again, LAYERS[row][1])
    for training in (False, True):  # weights and chance follow from seeds in the config
        assert_equal(arrays(of_again(x, training=training)), arrays(model(x, training=training)))


@pytest.mark.parametrize("row", LAYERS)
def test_a_file_keeps_it(row, tmp_path):
    _, model, x = made(row)
    give_weights(model)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert_equal(arrays(again(x)), arrays(model(x)))
    assert_equal(arrays(again(x, training=True)), arrays(model(x, training=True)))
    assert [type(layer) for layer in again.layers] == [type(layer) for layer in model.layers]


def layer_numbers(row):
    """dict of the outputs of a layer and the gradients of its weights and inputs, outside training."""
    _, model, x = made(row)
    give_weights(model)
    of_weights, of_inputs = weight_gradients(model, x, training=False)
    return {"outputs": arrays(model(x)), "weights": of_weights, "inputs": of_inputs}


@pytest.mark.parametrize("row", LAYERS)
def test_layers_compute_the_same_under_both_backends(row):
    hold_against_file(row, layer_numbers(row))


def changed_images():
    """What `RandomAffine` does to images, as far as it does not depend on chance."""
    return {"outputs": [np.asarray(affine(numbers((5, 6, 7, 2)), *(1 + 0.2 * numbers((4, 5)))))]}


def test_images_are_changed_the_same_under_both_backends():
    hold_against_file("affine", changed_images())


def loss_of(row):
    """(loss, function of a tensor, point, labels)."""
    make, shape, outputs = LOSSES[row]
    loss, labels = make(), np.arange(shape[0]) % shape[-1]
    assert type(loss) is REGISTERED[row.partition(" ")[0]]
    return loss, outputs or (lambda point: point), numbers(shape), labels.astype(np.int32)


@pytest.mark.parametrize("row", LOSSES)
def test_a_loss_says_what_it_consists_of(row):
    loss, outputs, point, labels = loss_of(row)
    terms = loss.terms(outputs(point), labels)
    assert set(terms) == {"loss", *loss.term_names}
    assert all(np.shape(term) == () and np.isfinite(float(term)) for term in terms.values())
    assert float(loss(labels, outputs(point))) == float(terms["loss"])


@pytest.mark.parametrize("row", LOSSES)
def test_a_loss_has_a_finite_gradient(row):
    loss, outputs, point, labels = loss_of(row)
    value, gradient = value_and_gradient(lambda x: loss(labels, outputs(x)), point)
    assert np.isfinite(value) and gradient.shape == point.shape and np.isfinite(gradient).all() and np.any(gradient)


@pytest.mark.parametrize("row", LOSSES)
def test_a_loss_comes_back_from_its_config_and_a_file(row, tmp_path):
    loss, outputs, point, labels = loss_of(row)
    model = with_heads(of_mlps(), 3) if LOSSES[row][2] else of_mlps()
    model.compile("sgd", loss)
    model.save(tmp_path / "model.keras")
    for again in (type(loss).from_config(loss.get_config()), keras.saving.load_model(tmp_path / "model.keras").loss):
        assert type(again) is type(loss) and again.get_config() == loss.get_config()
        assert float(again(labels, outputs(point))) == float(loss(labels, outputs(point)))


def loss_numbers(row):
    """dict of a loss's value and gradient."""
    loss, outputs, point, labels = loss_of(row)
    value, gradient = value_and_gradient(lambda x: loss(labels, outputs(x)), point)
    return {"value": [np.array(value)], "gradient": [gradient]}


@pytest.mark.parametrize("row", LOSSES)
def test_losses_compute_the_same_under_both_backends(row):
    hold_against_file(row, loss_numbers(row))


@pytest.mark.parametrize("row", LOSSES)
def test_a_loss_is_an_objective_with_a_model_to_fit(row):
    loss, outputs, point, labels = loss_of(row)
    assert isinstance(loss, Objective)
    ensemble = of_mlps()
    model = training_model(loss, ensemble, 3, seed=1)
    assert model is ensemble if LOSSES[row][2] is None else set(loss.needs_outputs) < set(model.output)
    shared = {id(weight) for weight in model.weights}
    assert all(id(weight) in shared for weight in ensemble.weights)
    before = model.get_weights()
    model.compile("sgd", loss)
    loss.after_step(model)
    assert_equal(model.get_weights(), before)


@pytest.mark.parametrize("row", STATES)
def test_a_state_is_a_weight_that_is_not_trained_and_is_kept_in_files(row, tmp_path):
    layer = STATES[row]()
    model = in_model(layer, (5, 3))
    assert not layer.trainable_variables and layer.non_trainable_variables
    x = numbers((5, 3))
    assert arrays(model(x))[0].shape == tuple(layer.compute_output_spec(symbolic((5, 3))).shape) == (5,)
    layer.advance()
    layer.advance()
    assert_equal(arrays(model(x)), [np.full(5, 2.0)])
    model.save(tmp_path / "model.keras")
    assert_equal(arrays(keras.saving.load_model(tmp_path / "model.keras")(x)), arrays(model(x)))


def stepped(row, steps):
    """A compiled model whose weights were moved by an optimizer so many times."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    give_weights(model)
    optimizer = OPTIMIZERS[row]()
    assert type(optimizer) is REGISTERED[row.partition(" ")[0]]
    model.compile(optimizer, "mse")
    optimizer.build(model.trainable_variables)
    for step in range(steps):
        take_step(model, step)
    return model


def take_step(model, step):
    gradients = [numbers(tuple(weight.shape), seed=step) for weight in model.trainable_variables]
    model.optimizer.apply([keras.ops.convert_to_tensor(each) for each in gradients], model.trainable_variables)


@pytest.mark.parametrize("row", OPTIMIZERS)
def test_a_step_moves_every_weight(row):
    before, after = (stepped(row, steps) for steps in (0, 1))
    assert int(after.optimizer.iterations) == 1
    for one, other in zip(before.get_weights(), after.get_weights()):
        assert np.isfinite(other).all() and np.all(one != other)


@pytest.mark.parametrize("row", OPTIMIZERS)
def test_an_optimizer_comes_back_from_its_config_and_a_file_with_its_state(row, tmp_path):
    model = stepped(row, 3)
    again = type(model.optimizer).from_config(model.optimizer.get_config())
    assert again.get_config() == model.optimizer.get_config()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is type(model.optimizer) and loaded.optimizer.get_config() == model.optimizer.get_config()
    for each in (model, loaded):
        take_step(each, 3)
    assert_equal(loaded.get_weights(), model.get_weights())
    assert_equal([np.asarray(v) for v in loaded.optimizer.variables], [np.asarray(v) for v in model.optimizer.variables])


@pytest.mark.parametrize("row", OPTIMIZERS)
def test_optimizers_step_the_same_under_both_backends(row):
    hold_against_file(row, {"weights": stepped(row, 3).get_weights()})


def named(row, found):
    """dict name in the file -> array."""
    return {f"{row}: {what} {k}": array for what, several in found.items() for k, array in enumerate(several)}


def hold_against_file(row, found):
    stored = np.load(FILE)
    found = named(row, found)
    assert set(found) == {name for name in stored.files if name.startswith(f"{row}: ")}
    for name, array in found.items():
        assert_close(array, stored[name])


if __name__ == "__main__":
    content = named("affine", changed_images())
    for row in LAYERS:
        content |= named(row, layer_numbers(row))
    for row in LOSSES:
        content |= named(row, loss_numbers(row))
    for row in OPTIMIZERS:
        content |= named(row, {"weights": stepped(row, 3).get_weights()})
    np.savez_compressed(FILE, **content)
