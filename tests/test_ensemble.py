import subprocess
import sys

import keras
import numpy as np
import pytest
import reference

from closer_tf import CLoSeR, CLoSeRLoss, Nadam, RandomAffine, TemporalLoss, build_ensemble, mlp, vit_lite
from closer_tf.graphs import InteractionGraph, star
from closer_tf.masks import ReceptiveFields, gaussian_masks, random_patch_masks
from closer_tf.nn.ensemble import embed, with_heads
from closer_tf.nn.objectives import SupervisedLoss, collapse_gauge


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
    with pytest.raises(ValueError, match="patches of 2 x 2 pixels do not divide"):
        build_ensemble((9, 8, 1), random_patch_masks((8, 8), 2, 0.5, 2), lambda i, shape: mlp(shape, [3], 4))
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
    model.compile(keras.optimizers.SGD(0.0))
    big, small = (float(model.loss(None, embed(model, part))) for part in (images[:32], images[32:]))
    history = model.fit(images, batch_size=32, shuffle=False, verbose=0).history
    assert history["loss"][0] == pytest.approx((32 * big + 8 * small) / 40, rel=1e-5)
    evaluated = model.evaluate(images, batch_size=32, verbose=0, return_dict=True)
    assert evaluated["loss"] == pytest.approx((32 * big + 8 * small) / 40, rel=1e-5)
    assert set(evaluated) == {"loss", "attraction", "contrast", "embedding_sd", "effective_rank"}


@pytest.mark.tensorflow
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
    labels = np.zeros(40, np.int32)
    model = small_ensemble(augmentation=RandomAffine(True, 0.1, 0.2))
    model.compile()
    stop = keras.callbacks.EarlyStopping("val_loss", patience=0, min_delta=1e9)
    history = model.fit(images, labels, epochs=5, validation_split=0.5, callbacks=[stop], verbose=0)
    assert len(history.history["val_loss"]) == 2


def test_an_objective_is_needed_and_metrics_and_weights_are_refused(images):
    model = small_ensemble()
    with pytest.raises(TypeError, match="objective such as CLoSeRLoss"):
        model.compile(loss="mse")
    with pytest.raises(ValueError, match="embeddings have no targets"):
        model.compile(metrics=["mse"])
    model.compile()
    with pytest.raises(ValueError, match="cannot be weighted"):
        model.fit(images, np.zeros(40), sample_weight=np.zeros(40), verbose=0)


def test_compiling_again_leaves_nothing_behind(images):
    model = small_ensemble()
    model.compile()
    model.compile(loss=TemporalLoss({"pull": 1.0}))
    assert set(model.fit(images, verbose=0).history) == {"loss", "pull", "embedding_sd", "effective_rank"}
    assert len(model.metrics) == len({metric.name for metric in model.metrics})


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


@pytest.mark.tensorflow
def test_supervised_heads_learn_alone(images):
    """The heads' loss by hand; encoder i's gradient comes from head i alone."""
    import tensorflow as tf

    ensemble = small_ensemble(dropout=0.0)
    model = with_heads(ensemble, 5, seed=3)
    model.compile(loss=SupervisedLoss())
    labels = np.arange(40) % 5
    embeddings = embed(ensemble, images).astype(np.float64)
    kernel, bias = model.get_layer("heads").get_weights()
    assert not bias.any() and 0.7 < np.abs(kernel).max() <= (6 / 9) ** 0.5
    logits = np.einsum("bnd,ndc->bnc", embeddings, kernel)
    log_p = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
    expected = -np.mean([log_p[b, i, labels[b]] for b in range(40) for i in range(3)])
    found = model.evaluate(images, labels, batch_size=40, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    assert found["accuracy"] == pytest.approx((logits.argmax(axis=2) == labels[:, None]).mean(), abs=1e-6)
    with tf.GradientTape() as tape:
        log_p = keras.ops.log_softmax(model(images.astype(np.float32))["logits"])
        first = keras.ops.mean(log_p[:, 0])
    gradients = tape.gradient(first, [encoder.trainable_weights[0] for encoder in ensemble.encoders])
    assert gradients[0] is not None and np.abs(gradients[0]).max() > 0
    assert all(g is None or np.abs(g).max() == 0 for g in gradients[1:])


def test_supervised_training_trains_the_shared_ensemble(images):
    ensemble = small_ensemble()
    before = embed(ensemble, images)
    model = with_heads(ensemble, 2)
    model.compile(Nadam(learning_rate=0.01), SupervisedLoss())
    labels = (images.mean(axis=(1, 2, 3)) > 8).astype(np.int32)
    history = model.fit(images, labels, epochs=30, batch_size=20, verbose=0).history
    assert np.abs(embed(ensemble, images) - before).max() > 0.1
    assert history["accuracy"][-1] > history["accuracy"][0]


def test_collapse_gauge_by_hand():
    x = np.random.default_rng(0).normal(size=(30, 2, 4)) * [3.0, 1.0, 1.0, 0.5]
    found = collapse_gauge(x)
    sds, ranks = [], []
    for i in range(2):
        eigenvalues = np.linalg.eigvalsh(np.cov(x[:, i].T, ddof=0))
        ranks.append(eigenvalues.sum() ** 2 / (eigenvalues**2).sum())
        sds.append(x[:, i].std(axis=0).mean())
    assert float(found["embedding_sd"]) == pytest.approx(np.mean(sds), rel=1e-5)
    assert float(found["effective_rank"]) == pytest.approx(np.mean(ranks), rel=1e-5)
    line = np.outer(np.arange(30.0), [1, 2, 3, 4])[:, None]
    assert float(collapse_gauge(line)["effective_rank"]) == pytest.approx(1, rel=1e-5)
    point = np.ones((30, 2, 4))
    assert float(collapse_gauge(point)["embedding_sd"]) == 0 and np.isfinite(float(collapse_gauge(point)["effective_rank"]))


def test_a_graph_and_stop_gradient_leave_unpulled_encoders_where_they_were(images):
    model = small_ensemble()
    model.compile(Nadam(learning_rate=0.01), CLoSeRLoss(4.0, InteractionGraph(3, [(0, 2)]), stop_gradient=True))
    before = [encoder.get_weights() for encoder in model.encoders]
    model.fit(images, verbose=0)
    moved = [max(np.abs(a - b).max() for a, b in zip(x, e.get_weights())) for x, e in zip(before, model.encoders)]
    assert moved[0] > 0 and moved[1] == 0 and moved[2] == 0


def test_an_ensemble_of_transformers_and_mlps_saves_and_loads(tmp_path, images):
    fields = random_patch_masks((8, 8), 2, 0.5, 2)

    def make(i, shape):
        return mlp(shape, [6], 8) if i else vit_lite(shape, 8, heads=2, key_dim=4, mlp_dim=8)

    model = build_ensemble((8, 8, 1), fields, make)
    model.compile(loss=CLoSeRLoss(10.0))
    model.fit(images, verbose=0)
    model.save(tmp_path / "mixed.keras")
    np.testing.assert_array_equal(embed(keras.saving.load_model(tmp_path / "mixed.keras"), images), embed(model, images))


def test_weights_of_samples_are_refused_with_and_without_labels(images):
    model = small_ensemble()
    model.compile()
    weights, labels = np.ones(40), np.zeros(40)
    for given in ({"x": images, "sample_weight": weights}, {"x": images, "y": labels, "sample_weight": weights}):
        for use in (model.fit, model.evaluate):
            with pytest.raises(ValueError, match="sample_weight: the loss of a batch is one number"):
                use(**given, verbose=0)
    with pytest.raises(ValueError, match="sample_weight"):
        model.fit(images, class_weight={0: 1.0}, verbose=0)
    with pytest.raises(ValueError, match="sample_weight"):
        model.fit(images, validation_data=(images, None, weights), verbose=0)
    with pytest.raises(ValueError, match="sample_weight"):
        model.train_on_batch(images, sample_weight=weights)
    with pytest.raises(ValueError, match="loss_weights: there is but one loss"):
        model.compile(loss_weights=[2.0])


def test_batches_of_one_sample_are_refused_where_they_are_known(images):
    import tensorflow as tf

    model = small_ensemble()
    model.compile()
    one = tf.data.Dataset.from_tensor_slices(images).batch(1, drop_remainder=True)
    for given in ({"x": images, "batch_size": 1}, {"x": images[:1]}, {"x": one}, {"x": tf.constant(images[:1])}):
        for use in (model.fit, model.evaluate):
            with pytest.raises(
                ValueError, match="batch_size: expected a whole number of at least 2|expected at least 2, found 1"
            ):
                use(**given, verbose=0)
    for wrong in (0, -5, 2.5):
        with pytest.raises(ValueError, match="batch_size: expected a whole number of at least 2"):
            model.fit(images, batch_size=wrong)
    with pytest.raises(ValueError, match="epochs: expected a whole number of at least 0"):
        model.fit(images, None, 20, -1)
    with pytest.raises(ValueError, match="batch_size: expected"):
        model.fit(images, validation_data=(images, None), validation_batch_size=1, verbose=0)
    with pytest.raises(ValueError, match="validation_x: holds one sample"):
        model.fit(images, validation_data=(images[:1], None), verbose=0)


def test_a_last_batch_of_one_sample_moves_nothing(images):
    """Its loss is 0 and so is its gradient; the epoch's mean counts it as one sample among the others."""
    model = small_ensemble(dropout=0.0)
    model.compile(keras.optimizers.SGD(0.1))
    first = images[:32]
    model.fit(first, batch_size=32, shuffle=False, verbose=0)
    weights = model.get_weights()
    model.train_on_batch(images[32:33])
    for before, after in zip(weights, model.get_weights()):
        np.testing.assert_array_equal(after, before)
    alone = float(model.loss(None, embed(model, images[32:33])))
    history = model.fit(images[:33], batch_size=32, shuffle=False, verbose=0).history
    assert alone == pytest.approx(0, abs=1e-6) and np.isfinite(history["loss"][0]) and history["loss"][0] > 0


def test_predict_is_traced_once_for_all_batch_sizes(images):
    """TensorFlow warns of functions that are traced again and again, as for the last batches of several ensembles."""
    import logging

    import tensorflow as tf

    heard, traced = [], []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())
    tf.get_logger().addHandler(handler)
    try:
        for _ in range(6):
            model = small_ensemble()
            expected = np.asarray(model(images, training=False))
            step = model.predict_step
            model.predict_step = lambda data, step=step: traced.append(1) or step(data)
            for count in (3, 5, 7, 40):
                np.testing.assert_allclose(embed(model, images[:count]), expected[:count], atol=1e-6)
            np.testing.assert_allclose(model.predict(images, batch_size=16, verbose=0), expected, atol=1e-6)
            np.testing.assert_allclose(model.predict_on_batch(images), expected, atol=1e-6)
    finally:
        tf.get_logger().removeHandler(handler)
    assert heard == [] and len(traced) == 12  # once for arrays, once for tuples of arrays


@pytest.mark.jax
def test_penalties_on_activities_stay_where_an_encoder_is_at_rest():
    """Those on the weights of the encoder at rest go; under every backend."""

    def encoder(i, shape):
        penalties = {"activity_regularizer": keras.regularizers.L2(1e-2), "kernel_regularizer": keras.regularizers.L2(1e-2)}
        layers = [keras.layers.Flatten(), keras.layers.Dense(4, keras.activations.gelu, **penalties)]
        return keras.Sequential([keras.Input(shape), *layers])

    images = np.random.default_rng(0).integers(0, 255, (16, 8, 8, 1)).astype("uint8")
    ensemble = build_ensemble((8, 8, 1), gaussian_masks((8, 8), 3, 0.2), encoder, 1 / 255)
    ensemble.compile(loss=CLoSeRLoss(8.0, InteractionGraph(3, [(0, 1), (1, 0)]), True))
    on_weights = [1e-2 * float(np.sum(np.square(each.get_weights()[0]))) for each in ensemble.encoders]
    seen = keras.ops.convert_to_numpy(ensemble(images))
    on_activities = [1e-2 * float(np.sum(np.square(seen[:, i]))) / len(images) for i in range(3)]
    start = ensemble.encoders[2].get_weights()
    logs = ensemble.fit(images, epochs=1, batch_size=16, verbose=0).history
    activities = sum(on_activities[:2]) if keras.backend.backend() == "tensorflow" else sum(on_activities)
    assert logs["regularisation"][0] == pytest.approx(sum(on_weights[:2]) + activities, rel=1e-3)
    moved = any(np.any(now != then) for now, then in zip(ensemble.encoders[2].get_weights(), start))
    assert moved == (keras.backend.backend() != "tensorflow")  # by its activities alone


def test_stimuli_of_another_shape_are_refused_also_after_a_fit(images):
    model = small_ensemble()
    model.compile(Nadam(), CLoSeRLoss(4.0))
    model.fit(images, batch_size=4, verbose=0)
    for method in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=r"x: expected stimuli of shape \(samples, .*\), found \("):
            method(images[:, :4], batch_size=4, verbose=0)


@pytest.mark.tensorflow
def test_stimuli_under_a_name_or_in_a_list(images):
    import tensorflow as tf

    model = small_ensemble()
    expected = model.predict(images, verbose=0)
    np.testing.assert_allclose(model.predict([images], verbose=0), expected, atol=1e-6)
    model.compile(Nadam(), CLoSeRLoss(), run_eagerly=False)
    named = tf.data.Dataset.from_tensor_slices({"stimulus": images}).batch(10)
    assert np.isfinite(model.fit(named, shuffle=False, verbose=0).history["loss"]).all()
    with pytest.raises(ValueError, match="expected one input, the stimuli, found 2"):
        model([images, images])


def test_grey_images_need_no_axis_of_colours():
    grey = np.random.default_rng(0).random((12, 8, 8)).astype("float32")
    fields = gaussian_masks((8, 8), 3, 0.3, seed=1)
    model = build_ensemble((8, 8, 1), fields, lambda i, shape: mlp(shape, (5,), 4, 0.0, init_seed=i))
    model.compile(Nadam(), CLoSeRLoss(4.0))
    weights = model.get_weights()
    model.fit(grey, batch_size=4, shuffle=False, verbose=0)
    without, _ = model.get_weights(), model.set_weights(weights)
    model.compile(Nadam(), CLoSeRLoss(4.0))
    model.fit(grey[..., None], batch_size=4, shuffle=False, verbose=0)
    assert all(map(np.allclose, without, model.get_weights()))
    with pytest.raises(ValueError, match="x: expected stimuli of shape"):
        model.fit(np.repeat(grey[..., None], 3, axis=3), verbose=0)
