import keras
import numpy as np
import pytest
from gradients import value_and_gradient

from closer_tf.nn.encoders import ClassTokenAndPositions, SelfAttention, gelu, vit_lite


def test_parameters_of_the_papers_vit():
    assert vit_lite((3, 48)).count_params() == 1_068_544


def test_attention_is_that_of_keras():
    ours = SelfAttention(heads=2, key_dim=3, dropout=0.0)
    x = np.random.default_rng(0).normal(size=(4, 5, 8)).astype(np.float32)
    ours(x)
    ours.qkv_bias.assign(np.arange(18) / 10)
    theirs = keras.layers.MultiHeadAttention(2, 3)
    theirs(x, x)
    qkv, bias, out, out_bias = ours.get_weights()
    parts = [p for w, b in zip(np.split(qkv, 3, axis=1), np.split(bias, 3)) for p in (w.reshape(8, 2, 3), b.reshape(2, 3))]
    theirs.set_weights([*parts, out.reshape(2, 3, 8), out_bias])
    np.testing.assert_allclose(ours(x), theirs(x, x), atol=1e-6)


def test_the_initialisation_is_that_of_tensorflow_2_6():
    layer = SelfAttention(heads=4, key_dim=64, init_seed=5)
    layer.build((None, 4, 256))
    q, k, v = np.split(layer.qkv_kernel.numpy(), 3, axis=1)
    for kernel, limit in ((q, (6 / 17408) ** 0.5), (k, (6 / 17408) ** 0.5), (layer.out_kernel.numpy(), (6 / 1280) ** 0.5)):
        assert 0.999 * limit < np.abs(kernel).max() <= limit
        assert kernel.std() == pytest.approx(limit / 3**0.5, rel=0.02)
    assert abs(np.corrcoef(q.ravel(), k.ravel())[0, 1]) < 0.02 and abs(np.corrcoef(q.ravel(), v.ravel())[0, 1]) < 0.02
    tokens = ClassTokenAndPositions(seed=1)
    tokens.build((None, 63, 256))
    assert tokens.class_token.numpy().std() == pytest.approx(0.05, rel=0.15)
    assert 0.0499 < np.abs(tokens.positions.numpy()).max() <= 0.05


def test_the_vit_by_hand():
    """Every step written out with NumPy, from the encoder's own weights."""
    from scipy.special import erf

    encoder = vit_lite((3, 5), embedding_dim=8, blocks=2, heads=2, key_dim=3, mlp_dim=7, init_seed=2)
    weights = {layer.name: layer.get_weights() for layer in encoder.layers}
    x = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)

    def norm(values, name):
        gamma, beta = weights[name]
        centred = values - values.mean(-1, keepdims=True)
        return gamma * centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-3) + beta

    def dense(values, name, activation=True):
        kernel, bias = weights[name]
        h = values @ kernel + bias
        return h * 0.5 * (1 + erf(h / np.sqrt(2))) if activation else h

    class_token, positions = weights["class_token_and_positions"]
    t = dense(x, "token", activation=False)
    t = np.concatenate([np.repeat(class_token, 4, axis=0), t], axis=1) + positions
    for k in range(2):
        kernel, bias, out, out_bias = weights[f"attention_{k}"]
        q, key, v = np.split(norm(t, f"norm_{k}a") @ kernel + bias, 3, axis=-1)
        heads = []
        for h in range(2):
            part = slice(3 * h, 3 * h + 3)
            scores = np.exp(q[..., part] @ key[..., part].transpose(0, 2, 1) / np.sqrt(3))
            heads.append(scores / scores.sum(-1, keepdims=True) @ v[..., part])
        t = t + np.concatenate(heads, axis=-1) @ out + out_bias
        t = t + dense(dense(norm(t, f"norm_{k}b"), f"mlp_{k}0"), f"mlp_{k}1")
    np.testing.assert_allclose(encoder(x), norm(t[:, 0], "embedding"), atol=2e-5)


def test_dropout_only_in_training_and_all_seeds_apart():
    encoder = vit_lite((3, 5), embedding_dim=8, key_dim=4, mlp_dim=8)
    x = np.ones((2, 3, 5), np.float32)
    np.testing.assert_array_equal(encoder(x), encoder(x, training=False))
    assert np.abs(np.array(encoder(x, training=True)) - np.array(encoder(x))).max() > 1e-3
    kernels = [w.numpy() for w in encoder.trainable_weights if w.shape == (8, 8) or w.shape == (8, 48)]
    assert all((a.shape != b.shape) or (a != b).any() for i, a in enumerate(kernels) for b in kernels[:i])


def test_gelu_and_its_gradient(double):
    from scipy.stats import norm

    x = np.linspace(-40, 40, 2001)
    _, slope = value_and_gradient(lambda x: keras.ops.sum(gelu(x)), x)
    np.testing.assert_allclose(gelu(keras.ops.convert_to_tensor(x)), x * norm.cdf(x), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(slope, norm.cdf(x) + x * norm.pdf(x), rtol=1e-12, atol=1e-14)
