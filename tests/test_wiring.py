"""Models that compute something else are told apart, also where operations of `keras.ops` alone differ."""

from functools import partial, wraps

import keras
import numpy as np
import pytest

from closer_tf.common.wiring import described, is_of_known_parts
from closer_tf.data import load_data
from closer_tf.errors import ConfigError
from closer_tf.masks import gaussian_masks
from closer_tf.nn.encoders import mlp, vit_lite
from closer_tf.nn.ensemble import CLoSeR, build_ensemble
from closer_tf.nn.fused_model import FusedEnsembles, places, why_not_fused
from closer_tf.nn.layers import Heads
from closer_tf.nn.objectives import CLoSeRLoss, Objective, SupervisedLoss
from closer_tf.nn.optimizers import Nadam
from closer_tf.own_model import _copy_of, _fingerprint, train_model

pytestmark = [pytest.mark.jax, pytest.mark.stack]


def ensemble_of(end=lambda i, y: y, encoders=3, **options):
    """An ensemble of small encoders, each with what `end` (encoder, symbolic tensor) puts behind them."""

    def make_encoder(i, shape):
        inputs = keras.Input(shape)
        y = keras.layers.Dense(4, kernel_initializer=keras.initializers.GlorotUniform(seed=i))(keras.layers.Flatten()(inputs))
        return keras.Model(inputs, end(i, y))

    fields = gaussian_masks((8, 8), encoders, 0.2, 2.0, 0)
    return build_ensemble((8, 8, 1), fields, make_encoder, **options)


def compiled(model, loss=None):
    model.compile(Nadam(), loss or CLoSeRLoss())
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(20, 8, 8, 1)).astype("float32")


ENDS = {
    "a factor": lambda i, y: keras.ops.multiply(y, 1.0 + 9 * i),
    "a function": lambda i, y: (keras.ops.relu, keras.ops.tanh, keras.ops.exp)[i](y),
    "the order of arguments": lambda i, y: keras.ops.subtract(*((y, keras.ops.tanh(y)) if i else (keras.ops.tanh(y), y))),
    "what is taken twice": lambda i, y: keras.layers.Add()([y, y] if i == 1 else [y, keras.layers.Activation("linear")(y)]),
}


@pytest.mark.parametrize("end", ENDS)
def test_encoders_that_differ_in_operations_are_not_stacked(images, end):
    model = compiled(ensemble_of(ENDS[end]))
    assert len(places([model])) > 1
    assert why_not_fused(model) is None
    fused = np.asarray(FusedEnsembles([model])(images[None]))[0]
    np.testing.assert_allclose(fused, np.asarray(model(images)), rtol=1e-4, atol=1e-5)


def test_encoders_that_differ_in_names_and_weights_alone_are(images):
    model = compiled(ensemble_of(lambda i, y: keras.ops.relu(keras.layers.Dense(5, name=f"last_{i}")(y))))
    assert places([model, compiled(ensemble_of(lambda i, y: keras.ops.relu(keras.layers.Dense(5)(y))))]) == [
        [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    ]
    fused = np.asarray(FusedEnsembles([model])(images[None]))[0]
    np.testing.assert_allclose(fused, np.asarray(model(images)), rtol=1e-4, atol=1e-5)


def test_encoders_of_this_package_are_known():
    kinds = {
        "mlp": mlp((4,), hidden=[3], embedding_dim=2, init_seed=0, dropout_seed=0, l1=0.1),
        "vit": vit_lite((16, 48), embedding_dim=8, init_seed=0, dropout_seed=0),
    }
    assert [is_of_known_parts(encoder) for encoder in kinds.values()] == [True, True]
    recurrent = keras.Sequential([keras.Input((5, 6)), keras.layers.Bidirectional(keras.layers.GRU(4))])
    attention = keras.layers.MultiHeadAttention(2, 3)
    sequence = keras.Input((5, 6))
    assert is_of_known_parts(recurrent) and is_of_known_parts(keras.Model(sequence, attention(sequence, sequence)))


def test_the_same_number_of_cells():
    with pytest.raises(ValueError, match="encoder 0 of run 1 has another architecture"):
        places([compiled(ensemble_of()), compiled(ensemble_of(lambda i, y: keras.ops.relu(y)))])


def test_fingerprints_of_functions():
    functions = ("relu", "tanh", "negative")
    models = [ensemble_of(lambda i, y, name=name: getattr(keras.ops, name)(y)) for name in (*functions, "relu")]
    found = [_fingerprint(described(model)) for model in models]
    assert len(set(found)) == 3 and found[0] == found[3]


class Cosine(SupervisedLoss):
    """Heads on normalised embeddings."""

    def training_model(self, ensemble, num_labels=0, seed=0):
        embeddings = ensemble.output
        logits = Heads(num_labels, seed, name="heads")(keras.ops.normalize(embeddings, axis=-1))
        return type(ensemble)(ensemble.input, {"embeddings": embeddings, "logits": logits})


class Scaled(SupervisedLoss):
    """Logits are the heads' output times a number."""

    def training_model(self, ensemble, num_labels=0, seed=0):
        embeddings = ensemble.output
        logits = Heads(num_labels, seed, name="heads")(embeddings) * 20.0
        return type(ensemble)(ensemble.input, {"embeddings": embeddings, "logits": logits})


class Two(Objective):
    """Two layers of heads."""

    term_names = ()

    def training_model(self, ensemble, num_labels=0, seed=0):
        embeddings = ensemble.output
        heads = {name: Heads(3, seed, name=f"heads_{name}")(embeddings) for name in "ab"}
        return type(ensemble)(ensemble.input, {"embeddings": embeddings, **heads})

    def terms(self, outputs, labels=None):
        return {"loss": keras.ops.mean(outputs["a"] ** 2 + outputs["b"])}


class Further(SupervisedLoss):
    """A further output of what is there."""

    def training_model(self, ensemble, num_labels=0, seed=0):
        whole = super().training_model(ensemble, num_labels, seed)
        return type(ensemble)(whole.input, {**whole.output, "logits": whole.output["embeddings"]})


@pytest.mark.parametrize(
    "objective, says",
    [
        (Cosine, "owns more than heads"),
        (Scaled, "owns more than heads: multiply"),
        (Two, "owns more than heads: heads_a, heads_b"),
    ],
)
def test_objectives_with_operations_of_their_own_are_not_fused(objective, says):
    model = compiled(objective().training_model(ensemble_of(), 10), objective())
    assert says in why_not_fused(model)


def test_objectives_with_other_outputs_are_not_fused():
    assert "takes other outputs" in why_not_fused(compiled(Further().training_model(ensemble_of(), 4), Further()))


def test_weights_before_the_encoders_are_not_fused():
    model = compiled(ensemble_of(augmentation=keras.layers.BatchNormalization(name="stem")))
    assert why_not_fused(model) == "what comes before its encoders has weights to train: stem"


def test_encoders_that_share_weights_are_not_fused():
    shared = keras.layers.Dense(4)
    assert why_not_fused(compiled(ensemble_of(lambda i, y: shared(y)))) == "its encoders share weights"


def test_constraints_on_weights_are_not_fused():
    dense = keras.layers.Dense
    model = compiled(ensemble_of(lambda i, y: dense(4, kernel_constraint="max_norm")(y)))
    assert why_not_fused(model).startswith("there are constraints on weights")


def test_encoders_in_which_other_weights_are_trained_are_not_stacked(images):
    def end(i, y):
        layer = keras.layers.Dense(4, bias_initializer="ones")
        y = layer(y)
        layer.bias.trainable = i != 1
        return y

    model = compiled(ensemble_of(end))
    assert places([model]) == [[(0, 0), (0, 2)], [(0, 1)]]
    fused = np.asarray(FusedEnsembles([model])(images[None]))[0]
    np.testing.assert_allclose(fused, np.asarray(model(images)), rtol=1e-4, atol=1e-5)


def test_a_model_of_ones_own_is_not_fused():
    class Mine(CLoSeR):
        """Trains otherwise."""

    ensemble = ensemble_of()
    assert "the model is a Mine" in why_not_fused(compiled(Mine(ensemble.input, ensemble.output)))


class Inner(keras.Model):
    """Has a config that Keras makes up, which is that of its defaults."""

    def __init__(self, activation="relu", **kwargs):
        super().__init__(**kwargs)
        self.dense, self.factor = keras.layers.Dense(4, activation=activation), 1.0

    def call(self, x):
        return self.dense(x) * self.factor


class Times(keras.layers.Layer):
    """Has a config, which does not say what it is set to afterwards."""

    def __init__(self, factor=None, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return x * getattr(self.factor, "value", self.factor)

    def compute_output_shape(self, shape):
        return shape


class Factor:
    """What no config can hold."""

    def __init__(self, value):
        self.value = value


def times(factor):
    def scaled(x):
        return x * factor

    return scaled


def set_later(i):
    layer = Times()
    layer.factor = i + 1.0
    return layer


def adapted(i):
    layer = keras.layers.Normalization()
    layer.adapt(np.random.default_rng(i).normal(i, 1 + i, (50, 4)).astype("float32"))
    return layer


ACTIVATIONS = ("relu", "tanh", "sigmoid")
OWN = {
    "a model within": lambda i, y: Inner(ACTIVATIONS[i])(y),
    "a model within a sequential one": lambda i, y: keras.Sequential([Inner(ACTIVATIONS[i])])(y),
    "a function": lambda i, y: keras.layers.Activation(times(i + 1.0))(y),
    "a function in a Lambda": lambda i, y: keras.layers.Lambda(times(i + 1.0), output_shape=(4,))(y),
    "part of a function": lambda i, y: keras.layers.Activation(partial(keras.ops.leaky_relu, negative_slope=0.1 * i))(y),
    "a layer that was changed": lambda i, y: set_later(i)(y),
    "a layer without a config": lambda i, y: Times(Factor(i + 1.0))(y),
    "a function that an operation takes": lambda i, y: keras.ops.map(times(i + 1.0), y),
    "a function that passes for another": lambda i, y: keras.layers.Activation(wraps(keras.ops.tanh)(times(i + 1.0)))(y),
    "a method of another layer": lambda i, y: keras.layers.Activation(keras.layers.LeakyReLU(0.2 * i).call)(y),
    "a layer that was adapted": lambda i, y: adapted(i)(y),
    "a layer in a wrapper": lambda i, y: keras.layers.Reshape((4,))(
        keras.layers.TimeDistributed(set_later(i))(keras.layers.Reshape((4, 1))(y))
    ),
}


@pytest.mark.parametrize("end", OWN)
def test_encoders_with_parts_of_ones_own_are_computed_one_by_one(images, end):
    """Also where names and configs are the same."""
    model = compiled(ensemble_of(OWN[end]))
    assert why_not_fused(model) is None and places([model]) == [[(0, 0)], [(0, 1)], [(0, 2)]]
    fused = np.asarray(FusedEnsembles([model])(images[None]))[0]
    np.testing.assert_allclose(fused, np.asarray(model(images)), rtol=1e-4, atol=1e-5)


def test_subclassed_encoders_are_not_fused():
    class Encoder(keras.Model):
        def __init__(self):
            super().__init__()
            self.flatten, self.dense = keras.layers.Flatten(), keras.layers.Dense(4)

        def call(self, x):
            return self.dense(self.flatten(x))

    model = build_ensemble((8, 8, 1), gaussian_masks((8, 8), 2, 0.2, 2.0, 0), lambda i, shape: Encoder())
    assert "encoder 0 is a Encoder, no functional or sequential model" in why_not_fused(compiled(model))


def test_the_fingerprint_covers_what_is_within_models_of_ones_own():
    ends = (lambda i, y: Inner()(y), lambda i, y: Inner("tanh")(y), lambda i, y: Inner(name="other")(y))
    found = [_fingerprint(described(ensemble_of(end))) for end in ends]
    assert found[0] != found[1] and found[0] == found[2]


class Called(keras.layers.Layer):
    """Has settings of the names under which Keras keeps where a class is found."""

    def __init__(self, module, **kwargs):
        super().__init__(**kwargs)
        self.module = module

    def call(self, x):
        return getattr(keras.ops, self.module)(x)

    def get_config(self):
        return {**super().get_config(), "module": self.module}


def test_the_fingerprint_covers_settings_called_module():
    found = {_fingerprint(described(ensemble_of(lambda i, y, name=name: Called(name)(y)))) for name in ("relu", "tanh")}
    assert len(found) == 2


class Raw(keras.layers.Layer):
    """Its config holds a function as it is."""

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def call(self, x):
        return self.function(x)

    def get_config(self):
        return {**super().get_config(), "function": self.function}


class Odd(keras.layers.Layer):
    """Its config cannot be had."""

    def call(self, x):
        return x

    def get_config(self):
        return {**super().get_config(), "what": self.absent}


class Around(keras.Model):
    """Holds an odd layer."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.odd = Odd()

    def call(self, x):
        return self.odd(x)


def test_fingerprints_hold_no_addresses_and_need_no_config():
    def found(layer):
        return _fingerprint(described(ensemble_of(lambda i, y: layer()(y))))

    assert found(lambda: Raw(times(1.0))) == found(lambda: Raw(times(1.0)))
    assert found(Around) == found(Around)


def test_the_fingerprint_does_not_know_whether_an_encoder_was_compiled():
    model = ensemble_of()
    before = _fingerprint(described(model))
    model.encoders[0].compile("sgd", "mse")
    assert _fingerprint(described(model)) == before


def test_where_weights_begin_is_nothing_that_is_computed():
    start = keras.initializers.RandomNormal
    mine = type("Mine", (start,), {"__module__": __name__})
    assert len(places([compiled(ensemble_of(lambda i, y: keras.layers.Dense(3, kernel_initializer=mine())(y)))])) == 1


def test_the_copy_that_stays_untrained_computes_with_what_layers_were_adapted_to(images):
    model = ensemble_of(lambda i, y: adapted(i)(y))
    np.testing.assert_allclose(np.asarray(_copy_of(model)(images)), np.asarray(model(images)), rtol=1e-5, atol=1e-6)


def test_an_objective_without_a_config_is_refused(tmp_path):
    @keras.saving.register_keras_serializable("tests")
    class Unsaid(CLoSeRLoss):
        """Its config cannot be saved."""

        def get_config(self):
            return {**super().get_config(), "what": Factor(1.0)}

    with pytest.raises(ConfigError, match="its objective Unsaid gives no config that can be saved"):
        train_model(compiled(ensemble_of(), Unsaid()), load_data("digits"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("end", ["part of a function", "a layer without a config"])
def test_a_model_that_keras_cannot_make_again_is_refused(end, tmp_path):
    with pytest.raises(ConfigError, match="model: Keras cannot make it again from its config"):
        train_model(compiled(ensemble_of(OWN[end])), load_data("digits"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_sequential_encoders_are_fused(images):
    def encoder(i, shape):
        return keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(4)])

    model = compiled(build_ensemble((8, 8, 1), gaussian_masks((8, 8), 3, 0.2, 2.0, 0), encoder))
    assert why_not_fused(model) is None and len(places([model])) == 1
    fused = np.asarray(FusedEnsembles([model])(images[None]))[0]
    np.testing.assert_allclose(fused, np.asarray(model(images)), rtol=1e-4, atol=1e-5)
