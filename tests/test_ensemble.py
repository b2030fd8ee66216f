import subprocess
import sys

import keras
import numpy as np
import pytest
import reference

from closer_tf import CLoSeR, CLoSeRLoss, Nadam, RandomAffine, build_ensemble, mlp
from closer_tf.ensemble import embed
from closer_tf.graphs import star
from closer_tf.masks import ReceptiveFields, gaussian_masks


def small_ensemble(n=3, augmentation=None, dropout=0.1):
    fields = gaussian_masks((8, 8), n, 0.25, seed=1)
    return build_ensemble(
        (8, 8, 1),
        fields,
        lambda i, shape: mlp(shape, [8], 4, dropout, init_seed=i, dropout_seed=i),
        input_scale=1 / 16,
        augmentation=augmentation,
    )


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 17, (40, 8, 8, 1)).astype(np.uint8)


def test_parameters_of_the_papers_mlp():
    model = build_ensemble((32, 32, 3), gaussian_masks((32, 32), 2, 0.1), lambda i, shape: mlp(shape))
    assert [encoder.count_params() for encoder in model.encoders] == [1_036_288] * 2


def test_embeddings_are_those_of_the_single_encoders(images):
    model, fields = small_ensemble(), gaussian_masks((8, 8), 3, 0.25, seed=1)
    embeddings = embed(model, images)
    assert embeddings.shape == (40, 3, 4)
    for i, encoder in enumerate(model.encoders):
        seen = fields.apply(images, i) / 16
        np.testing.assert_allclose(encoder(seen[..., None]), embeddings[:, i], atol=1e-6)


def test_the_mlp_by_hand():
    encoder = mlp((4, 3), hidden=[5], embedding_dim=2, init_seed=3)
    (w1, b1), (w2, b2) = (layer.get_weights() for layer in encoder.layers if isinstance(layer, keras.layers.Dense))
    x = np.random.default_rng(0).normal(size=(6, 12))
    from scipy.special import erf

    h = x @ w1 + b1
    h = h * 0.5 * (1 + erf(h / np.sqrt(2)))
    np.testing.assert_allclose(encoder(x.reshape(6, 4, 3)), h @ w2 + b2, atol=1e-5)
    limit = np.sqrt(6 / (12 + 5))
    assert np.abs(w1).max() <= limit and np.abs(w1).max() > 0.8 * limit
    assert not b1.any() and not b2.any()


def test_encoders_do_not_share_weights_or_seeds():
    model = small_ensemble()
    first = [encoder.get_weights()[0] for encoder in model.encoders]
    assert np.abs(first[0] - first[1]).min() > 0 or (first[0] != first[1]).any()
    assert len({id(w) for encoder in model.encoders for w in encoder.weights}) == len(model.weights)


def test_encoders_may_differ_in_everything_but_their_embeddings_width(images):
    fields = ReceptiveFields(([0, 1], list(range(9))), (8, 8))
    widths = [[3], [5, 6]]
    model = build_ensemble((8, 8, 1), fields, lambda i, shape: mlp(shape, widths[i], 4))
    assert embed(model, images).shape == (40, 2, 4)
    with pytest.raises(ValueError, match="same embedding dimension"):
        build_ensemble((8, 8, 1), fields, lambda i, shape: mlp(shape, [3], 4 + i))


def test_receptive_fields_must_fit_the_input():
    with pytest.raises(ValueError, match="do not fit"):
        build_ensemble((9, 8, 1), gaussian_masks((8, 8), 2, 0.25), lambda i, shape: mlp(shape, [3], 4))


def test_features_without_an_image():
    fields = ReceptiveFields(([0, 3], [1, 2, 4]), (1, 5))
    model = build_ensemble((5,), fields, lambda i, shape: mlp(shape, [3], 2))
    x = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    changed = x.copy()
    changed[:, 3] += 1
    before, after = embed(model, x), embed(model, changed)
    assert (before[:, 0] != after[:, 0]).any() and (before[:, 1] == after[:, 1]).all()


def test_fit_logs_the_loss_that_can_be_recomputed(images):
    model = small_ensemble(dropout=0.0)
    model.compile()
    expected = model.loss.terms(embed(model, images))
    history = model.fit(images, batch_size=40, epochs=1, verbose=0).history
    for name in ("loss", "attraction", "contrast"):
        assert history[name][0] == pytest.approx(float(expected[name]), rel=1e-5)
    assert history["loss"][0] == pytest.approx(history["attraction"][0] + history["contrast"][0], rel=1e-5)


def test_epoch_means_weigh_batches_by_their_size(images):
    model = small_ensemble(dropout=0.0)
    model.compile(Nadam(learning_rate=0.0))
    big, small = (float(model.loss(None, embed(model, part))) for part in (images[:32], images[32:]))
    history = model.fit(images, batch_size=32, shuffle=False, verbose=0).history
    assert history["loss"][0] == pytest.approx((32 * big + 8 * small) / 40, rel=1e-5)
    evaluated = model.evaluate(images, batch_size=32, verbose=0, return_dict=True)
    assert evaluated["loss"] == pytest.approx((32 * big + 8 * small) / 40, rel=1e-5)
    assert set(evaluated) == {"loss", "attraction", "contrast"}


def test_one_step_follows_the_gradient(images):
    import tensorflow as tf

    model = small_ensemble(dropout=0.0)
    model.compile(Nadam(learning_rate=0.01), CLoSeRLoss(4.0, star(3), stop_gradient=True))
    weights = [w.numpy() for w in model.trainable_weights]
    with tf.GradientTape() as tape:
        loss = model.loss(None, model(images.astype(np.float32)))
    gradients = tape.gradient(loss, model.trainable_weights)
    model.fit(images, batch_size=40, verbose=0)
    for before, gradient, after in zip(weights, gradients, model.trainable_weights):
        expected = reference.nadam_2_6([gradient.numpy()], before, learning_rate=0.01)[0]
        firm = np.abs(gradient.numpy()) > 1e-5  # the first step is close to the gradient's sign, which rounding decides at 0
        assert firm.any()
        np.testing.assert_allclose(after.numpy()[firm], expected[firm], atol=2e-5)


def test_labels_callbacks_and_validation_work_as_in_any_keras_model(images):
    labels = np.zeros(40, int)
    model = small_ensemble(augmentation=RandomAffine(True, 0.1, 0.2))
    model.compile()
    stop = keras.callbacks.EarlyStopping("val_loss", patience=0, min_delta=1e9)
    history = model.fit(images, labels, epochs=5, validation_split=0.5, callbacks=[stop], verbose=0)
    assert len(history.history["val_loss"]) == 2


def test_an_objective_is_needed():
    with pytest.raises(TypeError, match="objective such as CLoSeRLoss"):
        small_ensemble().compile(loss="mse")


@pytest.mark.parametrize("imports", ["import closer_tf, keras", "import keras, closer_tf"])
def test_save_and_load_in_a_fresh_process(tmp_path, images, imports):
    model = small_ensemble(augmentation=RandomAffine(True, 0.1, 0.2))
    model.compile(Nadam(learning_rate=0.003), CLoSeRLoss(4.0, star(3), stop_gradient=True))
    model.fit(images, verbose=0)
    model.save(tmp_path / "ensemble.keras")
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "embeddings.npy", embed(model, images))
    code = f"""
{imports}
import numpy as np
model = keras.saving.load_model(r"{tmp_path}/ensemble.keras")
assert type(model) is closer_tf.CLoSeR and len(model.encoders) == 3
found = model.predict(np.load(r"{tmp_path}/images.npy"), verbose=0)
assert np.array_equal(found, np.load(r"{tmp_path}/embeddings.npy"))
assert model.loss.temperature == 4.0 and model.loss.graph.family == "star" and model.loss.stop_gradient
assert float(model.optimizer.iterations) == 2 and abs(float(model.optimizer.learning_rate) - 0.003) < 1e-9
model.fit(np.load(r"{tmp_path}/images.npy"), verbose=0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_predictions_do_not_depend_on_training_mode_leaks(images):
    model = small_ensemble(augmentation=RandomAffine(True, 0.1, 0.2))
    np.testing.assert_array_equal(embed(model, images), embed(model, images))
    assert isinstance(model, CLoSeR)
