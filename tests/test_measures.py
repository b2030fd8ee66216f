import numpy as np
import pytest

from closer_tf.readout import scores


def embeddings(n=40, encoders=3, dim=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, encoders, dim))


def test_pseudo_likelihood_by_loops():
    mu = embeddings(6)[:, 0]
    found = scores.conditional_pseudo_likelihood(mu, 1.7)
    for b in range(6):
        psi = [0 if k == b else np.exp(-np.sum((mu[b] - mu[k]) ** 2) / 1.7) for k in range(6)]
        np.testing.assert_allclose(found[b], np.array(psi) / sum(psi), rtol=1e-10)


def test_pseudo_likelihood_sums_to_one_even_where_everything_underflows():
    mu = 1e3 * embeddings()[:, 0]
    found = scores.conditional_pseudo_likelihood(mu, 1e-3)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (np.diag(found) == 0).all()


def test_class_rows_weighted_by_their_counts_sum_to_one():
    labels = np.repeat(np.arange(4), 10)
    matrix = scores.class_pseudo_likelihood(embeddings()[:, 0], labels, 2.0, per_class=7, draws=5)
    counts = np.full((4, 4), 7.0) - np.eye(4)
    np.testing.assert_allclose((matrix * counts).sum(axis=1), 1)


def test_class_means_by_loops():
    labels = np.array([0, 1, 1, 0, 1, 0])
    mu = embeddings(6)[:, 0]
    p = scores.conditional_pseudo_likelihood(mu, 2.0)
    expected = np.zeros((2, 2))
    for c in range(2):
        for d in range(2):
            values = [p[b, k] for b in range(6) for k in range(6) if b != k and (labels[b], labels[k]) == (c, d)]
            expected[c, d] = np.mean(values)
    np.testing.assert_allclose(scores.class_pseudo_likelihood(mu, labels, 2.0, per_class=3, draws=4), expected)


def test_classes_apart_show_on_the_diagonal():
    labels = np.repeat(np.arange(3), 20)
    mu = embeddings(60)[:, 0] + 10 * np.eye(4)[labels]
    matrix = scores.class_pseudo_likelihood(mu, labels, 4.0)
    assert (np.diag(matrix) > 20 * (matrix - np.diag(np.diag(matrix))).max()).all()


def test_one_sample_per_class_is_too_few():
    with pytest.raises(ValueError, match="at least two samples of every class"):
        scores.class_pseudo_likelihood(embeddings(3)[:, 0], np.arange(3), 1.0)


def test_alignment_is_the_correlation_of_distances():
    mu = embeddings(10)
    found = scores.alignment(mu, batches=3, batch_size=10)

    def distances(i):
        return [np.linalg.norm(mu[b, i] - mu[k, i]) for b in range(10) for k in range(b + 1, 10)]

    assert found[0, 2] == pytest.approx(np.corrcoef(distances(0), distances(2))[0, 1])
    np.testing.assert_allclose(np.diag(found), 1)
    np.testing.assert_allclose(found, found.T)


def test_alignment_does_not_see_rotations_shifts_and_scales():
    mu = embeddings(40, encoders=1)[:, 0]
    rotation = np.linalg.qr(embeddings(4, encoders=1)[:, 0])[0]
    both = np.stack([mu, 3 * mu @ rotation + 100], axis=1)
    assert scores.alignment(both, batches=2)[0, 1] == pytest.approx(1)


def test_agreement():
    mu = embeddings(50)
    same = np.stack([mu[:, 0], mu[:, 0] + 1e-3, mu[:, 1]], axis=1)
    found = scores.agreement(same, batches=3, batch_size=20)
    assert found[0, 1] == found[1, 0] == 1 and found[0, 2] < 0.4


def test_off_diagonal_mean():
    assert scores.off_diagonal_mean(np.array([[9.0, 1], [2, 9]])) == 1.5


def test_temperatures_of_the_paper():
    found = [scores.pseudo_likelihood_temperature(c, 256) for c in ("closer", "untrained", "supervised", "tcloser")]
    assert found == [2560, 128, 0.256, 2560]
