"""The contract for objectives: one that owns trained weights, a moving average and the step number trains, is saved and goes on
to the bit, in one class and without a word elsewhere."""

import keras
import numpy as np
import pytest
from keras import ops

from closer_tf.data import load_data
from closer_tf.graphs import InteractionGraph
from closer_tf.masks import gaussian_masks
from closer_tf.nn.distilled import DistilledLoss
from closer_tf.nn.encoders import mlp
from closer_tf.nn.ensemble import build_ensemble
from closer_tf.nn.layer_local import LayerLocal
from closer_tf.nn.layers import Heads
from closer_tf.nn.objectives import CLoSeRLoss, Objective, StepNumber, SupervisedLoss
from closer_tf.nn.optimizers import Nadam
from closer_tf.nn.temporal import TemporalLoss


@keras.saving.register_keras_serializable("tests")
class Average(keras.layers.Layer):
    """A moving average of the batches' mean embeddings (N, D), which it returns for each sample."""

    def build(self, input_shape):
        self.average = self.add_weight(shape=input_shape[1:], initializer="zeros", trainable=False, name="average")

    def call(self, embeddings):
        return ops.broadcast_to(self.average, ops.shape(embeddings))


@keras.saving.register_keras_serializable("tests")
class Guessing(Objective):
    """Guess the moving average of a trained weight, the more so the longer it has trained: no sense, all parts."""

    term_names = ("miss", "steps")
    needs_outputs = ("guesses", "average", "steps")
    learns_from_one = True

    def training_model(self, ensemble, num_labels=0, seed=0):
        embeddings = ensemble.output
        guesses = Heads(embeddings.shape[-1], seed, name="guesses")(embeddings)
        outputs = {"embeddings": embeddings, "guesses": guesses, "average": Average(name="average")(embeddings)}
        return type(ensemble)(ensemble.input, outputs | {"steps": StepNumber(name="steps")(embeddings)}, name="guessing")

    def terms(self, outputs, labels=None):
        miss = ops.mean(ops.square(outputs["guesses"] - outputs["average"] - 1.0))
        steps = ops.mean(outputs["steps"])
        return {"loss": miss * (1 + 0.1 * steps), "miss": miss, "steps": steps}

    def after_step(self, model):
        model.get_layer("steps").advance()
        average, bias = model.get_layer("average").average, model.get_layer("guesses").bias
        average.assign(0.9 * average + 0.1 * bias)


def ensemble_of(seed=0):
    fields = gaussian_masks((8, 8), 3, 0.25, seed=1)
    return build_ensemble(
        (8, 8, 1),
        fields,
        lambda i, shape: mlp(shape, (6,), 4, dropout=0.0, init_seed=10 * seed + i),
        1 / 16,
    )


@pytest.fixture(scope="module")
def images():
    return load_data("digits").train.inputs[:50]


def fitted(images, **how):
    ensemble = ensemble_of()
    model = Guessing().training_model(ensemble, seed=3)
    model.compile(Nadam(1e-2), Guessing())
    history = model.fit(images, batch_size=16, shuffle=False, verbose=0, **how)
    return ensemble, model, history.history


def state_of(model):
    found = {layer: model.get_layer(layer).get_weights() for layer in ("steps", "average", "guesses")}
    return {name: [np.asarray(value) for value in values] for name, values in found.items()}


def test_what_an_objective_owns_is_trained_and_kept_up_to_date(images):
    ensemble, model, history = fitted(images, epochs=2)
    before = ensemble_of().get_weights()
    assert any(np.any(one != other) for one, other in zip(before, ensemble.get_weights()))
    state = state_of(model)
    assert state["steps"][0] == 8  # 4 batches, twice
    np.testing.assert_allclose(history["steps"][0], (0 * 16 + 1 * 16 + 2 * 16 + 3 * 2) / 50, rtol=1e-6)  # weighed by samples
    assert np.any(state["guesses"][1]) and np.any(state["average"][0])


def test_the_average_follows_the_weights_after_each_step(images):
    _, model, _ = fitted(images, epochs=0)
    averages = np.zeros((3, 4))
    for _step in range(3):
        model.fit(images[:16], batch_size=16, shuffle=False, verbose=0)
        averages = 0.9 * averages + 0.1 * model.get_layer("guesses").bias.numpy()
        np.testing.assert_allclose(state_of(model)["average"][0], averages, rtol=1e-6, atol=1e-9)


def test_a_file_keeps_what_it_owns(images, tmp_path):
    _, model, _ = fitted(images, epochs=1)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for name, values in state_of(model).items():
        for one, other in zip(values, state_of(again)[name]):
            np.testing.assert_array_equal(one, other)
    for each in (model, again):
        each.fit(images, batch_size=16, shuffle=False, verbose=0)
    for one, other in zip(model.get_weights(), again.get_weights()):
        np.testing.assert_array_equal(one, other)


def test_a_batch_of_one_is_refused_unless_the_objective_learns_from_it(images):
    fitted(images[:3], epochs=1)[1].fit(images[:1], batch_size=1, verbose=0)
    model = ensemble_of()
    model.compile(loss=CLoSeRLoss())
    with pytest.raises(ValueError, match="holds one sample"):
        model.fit(images[:1], verbose=0)
    with pytest.raises(ValueError, match="batch_size"):
        model.fit(images, batch_size=1, verbose=0)


def test_an_ensemble_without_what_its_objective_needs(images):
    model = ensemble_of()
    model.compile(loss=SupervisedLoss())
    with pytest.raises(ValueError, match=r"SupervisedLoss needs the outputs logits, .*loss.training_model\(ensemble"):
        model.fit(images, np.zeros(len(images)), verbose=0)


def test_terms_are_to_be_written():
    with pytest.raises(NotImplementedError, match="Objective: an objective says what it minimises"):
        Objective().terms(np.zeros((2, 3, 4)))


def test_trainings_in_one_refuse_it(images):
    from closer_tf.errors import ConfigError
    from closer_tf.fused import _check_stackable
    from closer_tf.nn.fused_model import why_not_fused

    _, owner, _ = fitted(images, epochs=0)
    assert "Guessing owns more than heads: average, guesses, steps" in why_not_fused(owner)
    with pytest.raises(ConfigError, match="cannot be trained in one: the objective Guessing owns.*one by one"):
        _check_stackable([owner])
    model = ensemble_of()
    model.compile()
    assert why_not_fused(model) is None
    heads = SupervisedLoss().training_model(model, 10)
    heads.compile(loss=SupervisedLoss())
    assert why_not_fused(heads) is None


@pytest.mark.parametrize("outputs", [2, 1])
def test_an_encoder_with_other_outputs(outputs):
    def encoder(i, shape):
        inputs = keras.Input(shape)
        flat = keras.layers.Dense(3)(inputs)
        return keras.Model(inputs, [flat, flat][:outputs] if outputs > 1 else flat)

    found = "2 outputs" if outputs == 2 else "an output"
    with pytest.raises(ValueError, match=rf"encoder 0: expected a Keras model with one output .*found {found} of shape"):
        build_ensemble((8, 8, 1), gaussian_masks((8, 8), 2, 0.25), encoder)


def test_an_option_that_a_source_does_not_have():
    from closer_tf.errors import DataError

    with pytest.raises(DataError, match="dataset 'simulated' has no option 'windows'; expected some of seed, size, window, "):
        load_data("simulated", windows=6)
    with pytest.raises(ValueError, match="sigma: expected one number for all encoders"):
        gaussian_masks((8, 8), 3, 0.25, sigma=[1.0, 2.0, 3.0])


class Summed(CLoSeRLoss):
    """A subclass whose terms move every encoder."""

    term_names = ("size",)

    def terms(self, embeddings, labels=None):
        size = keras.ops.mean(keras.ops.square(embeddings))
        return {"loss": size, "size": size}


PAIR = InteractionGraph(4, [(0, 1), (1, 2)])
AT_REST = {
    "an edge moves its source": (CLoSeRLoss(graph=PAIR, stop_gradient=True), (2, 3)),
    "an edge moves both": (CLoSeRLoss(graph=PAIR), (3,)),
    "a push moves, too": (CLoSeRLoss(graph=PAIR, stop_gradient=True, push=InteractionGraph(4, [(2, 0)])), (3,)),
    "a push of no weight": (
        CLoSeRLoss(graph=PAIR, stop_gradient=True, push=InteractionGraph(4, [(2, 0)]), push_weight=0),
        (2, 3),
    ),
    "all-to-all": (CLoSeRLoss(stop_gradient=True), ()),
    "distilled": (DistilledLoss(PAIR, momentum=None, hidden=5), (2, 3)),
    "layer by layer": (LayerLocal(CLoSeRLoss(graph=PAIR, stop_gradient=True), 2), (2, 3)),
    "supervised": (SupervisedLoss(), ()),
    "temporal": (TemporalLoss({"pull": 1.0}, PAIR), (2, 3)),
    "temporal, with variance": (TemporalLoss({"pull": 1.0, "var": 1.0}, PAIR), ()),
    "terms of one's own": (Summed(graph=PAIR, stop_gradient=True), ()),
}


@pytest.mark.parametrize("case", AT_REST)
def test_encoders_that_nothing_moves_stay_at_their_initialisation_with_penalties_on_weights(case):
    objective, at_rest = AT_REST[case]
    assert objective.at_rest == at_rest
    fields = gaussian_masks((8, 8), 4, 0.25, seed=1)
    ensemble = build_ensemble(
        (8, 8, 1), fields, lambda i, shape: mlp(shape, (6,), 5, 0.1, l1=1e-2, l2=1e-2, init_seed=i), 1 / 16
    )
    model = objective.training_model(ensemble, 10)
    model.compile(Nadam(), objective)
    data, start = load_data("digits").train, [encoder.get_weights() for encoder in ensemble.encoders]
    logs = model.fit(data.inputs[:64], data.labels[:64], batch_size=16, verbose=0).history
    penalty = sum(
        float(np.sum(1e-2 * np.abs(weight) + 1e-2 * weight**2))
        for i, encoder in enumerate(ensemble.encoders)
        for weight in encoder.get_weights()
        if weight.ndim == 2 and i not in at_rest
    )
    assert logs["regularisation"][0] == pytest.approx(penalty, rel=0.1)
    for i, encoder in enumerate(ensemble.encoders):
        moved = [
            np.abs(weight - before).max() > 0 for weight, before in zip(encoder.get_weights(), start[i]) if weight.ndim == 2
        ]
        assert all(moved) if i not in at_rest else not any(moved)


def test_labels_of_the_supervised_condition(images):
    ensemble = build_ensemble(images.shape[1:], gaussian_masks(images.shape[1:3], 2, 0.2), lambda i, shape: mlp(shape, (), 2))
    model = SupervisedLoss().training_model(ensemble, 3)
    outputs, labels = model(images), np.arange(len(images)) % 3
    flat, column = (SupervisedLoss().terms(outputs, y) for y in (labels, labels[:, None]))  # Keras's CIFAR has a column
    assert float(flat["loss"]) == float(column["loss"]) and float(flat["accuracy"]) == float(column["accuracy"])
    with pytest.raises(ValueError, match="needs the labels of the samples"):
        SupervisedLoss().terms(outputs)
    with pytest.raises(ValueError, match=r"found shape \(.*, 3\); of one-hot rows take y.argmax"):
        SupervisedLoss().terms(outputs, np.eye(3)[labels])
