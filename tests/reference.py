"""The equations of the paper as plain float64 loops: what the fast code is held against."""

import numpy as np


def closer_loss(embeddings, temperature, edges, weights):
    """Equation 5: sum over edges of weight * mean over b of -log p(mu_i(x_b) | mu_j(x_b))."""
    mu = np.asarray(embeddings, dtype=np.float64)
    batch = len(mu)
    total = 0.0
    for (i, j), weight in zip(edges, weights):
        for b in range(batch):
            psi = np.array([np.exp(-np.sum((mu[m, i] - mu[b, j]) ** 2) / temperature) for m in range(batch)])
            total += weight * -np.log(psi[b] / psi.sum()) / batch
    return total


def closer_gradient(embeddings, temperature, edges, weights, stop_gradient):
    """Gradient of `closer_loss` by the chain rule, one term at a time; with stop-gradient encoder j gets none."""
    mu = np.asarray(embeddings, dtype=np.float64)
    batch = len(mu)
    gradient = np.zeros_like(mu)
    for (i, j), weight in zip(edges, weights):
        for b in range(batch):
            psi = np.array([np.exp(-np.sum((mu[m, i] - mu[b, j]) ** 2) / temperature) for m in range(batch)])
            p = psi / psi.sum()
            for m in range(batch):
                # d(-log p_b) / d(d2_mb) = ((m == b) - p_m) / tau, and d(d2_mb) / d(mu_i(m)) = 2 (mu_i(m) - mu_j(b))
                pull = weight / batch * ((m == b) - p[m]) / temperature * 2 * (mu[m, i] - mu[b, j])
                gradient[m, i] += pull
                if not stop_gradient:
                    gradient[b, j] -= pull
    return gradient


def finite_differences(function, point, step=1e-6):
    """Central differences of a scalar function at a float64 array."""
    point = np.array(point, dtype=np.float64)
    gradient = np.zeros_like(point)
    for index in np.ndindex(point.shape):
        moved = point.copy()
        moved[index] += step
        above = function(moved)
        moved[index] -= 2 * step
        gradient[index] = (above - function(moved)) / (2 * step)
    return gradient


def nadam_2_6(gradients, start, learning_rate=1e-3, beta_1=0.9, beta_2=0.999, epsilon=1e-7, decay=0.004):
    """Positions after each step of Nadam with the momentum schedule of TensorFlow 2.6, in float64."""
    x = np.array(start, dtype=np.float64)
    m, v, product, positions = np.zeros_like(x), np.zeros_like(x), 1.0, []
    for t, g in enumerate(gradients, start=1):
        mu = beta_1 * (1 - 0.5 * 0.96 ** (decay * t))
        mu_next = beta_1 * (1 - 0.5 * 0.96 ** (decay * (t + 1)))
        product *= mu
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        m_hat = m / (1 - product * mu_next)
        g_hat = g / (1 - product)
        v_hat = v / (1 - beta_2**t)
        x = x - learning_rate * ((1 - mu) * g_hat + mu_next * m_hat) / (np.sqrt(v_hat) + epsilon)
        positions.append(x.copy())
    return positions


def push_loss(pushed, targets, temperature, edges, weights):
    """Sum over edges of weight * mean over b of -log(1 - p(mu_i(x_b) | mu_j(x_b))), mu_j taken from `targets`."""
    mu, nu = (np.asarray(values, dtype=np.float64) for values in (pushed, targets))
    batch, total = len(mu), 0.0
    for (i, j), weight in zip(edges, weights):
        for b in range(batch):
            psi = np.array([np.exp(-np.sum((mu[m, i] - nu[b, j]) ** 2) / temperature) for m in range(batch)])
            total += weight * -np.log((psi.sum() - psi[b]) / psi.sum()) / batch
    return total
