"""What embeddings say beyond decoding: class structure, alignment between encoders, agreement (paper: methods). NumPy alone."""

import numpy as np

from closer_tf.config.conditions import CONDITIONS


def pseudo_likelihood_temperature(condition: str, embedding_dim: int) -> float:
    """The temperature that the paper measures class pseudo-likelihoods with.

    Args:
        condition: its name.
        embedding_dim: D.

    Returns:
        float: 0.5 D untrained, 0.001 D supervised, 10 D otherwise.
    """
    return CONDITIONS[condition].pseudo_likelihood_temperature * embedding_dim


def conditional_pseudo_likelihood(embeddings: np.ndarray, temperature: float) -> np.ndarray:
    """p(x_k | x_b) within one encoder: a softmax of -squared distance / temperature over k != b.

    Args:
        embeddings: array (n, D).
        temperature: scale of the squared distances [tau].

    Returns:
        Float array (n, n), row b, column k; rows sum to 1, the diagonal is 0.
    """
    logits = -_squared_distances(embeddings) / temperature
    np.fill_diagonal(logits, -np.inf)
    likelihood = np.exp(logits - logits.max(axis=1, keepdims=True))
    return likelihood / likelihood.sum(axis=1, keepdims=True)


def class_pseudo_likelihood(
    embeddings: np.ndarray, labels: np.ndarray, temperature: float, per_class: int = 50, draws: int = 100, seed: int = 0
) -> np.ndarray:
    """Class mean conditional pseudo-likelihood of one encoder (paper: equation 13).

    Args:
        embeddings: array (n, D), test samples.
        labels: int array (n,), 0 .. classes - 1.
        temperature: scale of the squared distances [tau].
        per_class: samples drawn per class, without repeats; fewer where the smallest class has fewer.
        draws: draws that are averaged.
        seed: int.

    Returns:
        Float array (classes, classes): mean of p(x_k | x_b) over samples b of the row's class and k != b of the column's. Each
        row, weighted by the samples per class (one less in the own class), sums to 1.
    """
    classes = int(labels.max()) + 1
    members = [np.flatnonzero(labels == label) for label in range(classes)]
    count = min(per_class, min(len(indices) for indices in members))
    if count < 2:
        raise ValueError("at least two samples of every class are needed")
    pairs = np.full((classes, classes), count * count, dtype=np.float64)
    np.fill_diagonal(pairs, count * (count - 1))
    rng = np.random.default_rng(seed)
    total = np.zeros((classes, classes))
    for _ in range(draws):
        chosen = np.concatenate([rng.permutation(indices)[:count] for indices in members])
        likelihood = conditional_pseudo_likelihood(embeddings[chosen], temperature)
        total += likelihood.reshape(classes, count, classes, count).sum(axis=(1, 3)) / pairs
    return total / draws


def alignment(embeddings: np.ndarray, batches: int = 50, batch_size: int = 128, seed: int = 0) -> np.ndarray:
    """Alignment of embedding maps (paper: equations 17 and 18).

    For each batch and pair of encoders: the Pearson correlation, over pairs of samples, of the Euclidean distances that the two
    encoders give them.

    Args:
        embeddings: array (n, N, D), test samples.
        batches: batches that are averaged.
        batch_size: samples per batch, without repeats; at most n.
        seed: int.

    Returns:
        Float array (N, N), symmetric, ones on the diagonal; NaN where an encoder's distances are all equal, and everywhere
        with fewer than 3 samples, which have no two distances.
        Its off-diagonal mean is the paper's score.
    """
    size = min(batch_size, len(embeddings))
    if size < 3:
        return np.full((embeddings.shape[1],) * 2, np.nan)
    upper = np.triu_indices(size, k=1)
    total = np.zeros((embeddings.shape[1],) * 2)
    for chosen in _batches(embeddings, batches, size, seed):
        distances = [np.sqrt(_squared_distances(chosen[:, i])[upper]) for i in range(chosen.shape[1])]
        with np.errstate(invalid="ignore"):  # an encoder that gives all samples one embedding correlates with nothing
            total += np.corrcoef(distances)
    return total / batches


def agreement(embeddings: np.ndarray, batches: int = 50, batch_size: int = 128, seed: int = 0) -> np.ndarray:
    """Agreement score: how often a sample's nearest partner in another encoder's embeddings of the batch is itself.

    Args:
        embeddings: array (n, N, D), test samples.
        batches: batches that are averaged.
        batch_size: samples per batch, without repeats; at most n.
        seed: int.

    Returns:
        Float array (N, N), row i, column j: the share of samples of encoder i whose nearest embedding by encoder j is of the
        same sample. Ones on the diagonal, unless samples share an embedding.
    """
    size = min(batch_size, len(embeddings))
    encoders = embeddings.shape[1]
    total = np.zeros((encoders, encoders))
    for chosen in _batches(embeddings, batches, size, seed):
        for i in range(encoders):
            for j in range(encoders):
                nearest = _squared_distances(chosen[:, i], chosen[:, j]).argmin(axis=1)
                total[i, j] += (nearest == np.arange(size)).mean()
    return total / batches


def _batches(embeddings, batches, size, seed):
    """Batches of `size` samples each, without repeats within a batch, from one seed."""
    rng = np.random.default_rng(seed)
    for _ in range(batches):
        yield np.asarray(embeddings[rng.permutation(len(embeddings))[:size]], dtype=np.float64)


def off_diagonal_mean(matrix: np.ndarray) -> float:
    """Mean over the ordered pairs i != j of a square matrix."""
    return float(matrix[~np.eye(len(matrix), dtype=bool)].mean())


def _squared_distances(a, b=None):
    """Squared Euclidean distances (n, m) between rows, from inner products about a common centre."""
    a = np.asarray(a, dtype=np.float64)
    b = a if b is None else np.asarray(b, dtype=np.float64)
    centre = a.mean(axis=0)
    a, b = a - centre, b - centre
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T
    return np.maximum(squared, 0)
