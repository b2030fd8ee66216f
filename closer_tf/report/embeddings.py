"""Embeddings of a run's test stimuli in two dimensions. The one part of the report that computes with Keras."""

from importlib.util import find_spec

import numpy as np

from closer_tf.config.conditions import CONDITIONS
from closer_tf.errors import ConfigError, RunError

METHODS = ("pca", "tsne", "umap", "none")
MOST_STIMULI = 500
ENCODERS = 2  # single encoders shown beside the ensemble


def check_method(method):
    """Refuse a method that is unknown or whose library is not installed.

    Raises:
        ConfigError: it is.
    """
    if method not in METHODS:
        raise ConfigError(f"--embeddings {method}: expected one of {', '.join(METHODS)}")
    if method == "umap" and find_spec("umap") is None:
        raise ConfigError("--embeddings umap: UMAP is not installed: pip install 'closer_tf[umap]', or take --embeddings tsne")


def embedding_panels(run, method):
    """The embeddings of at most 500 test stimuli, of the ensemble (all encoders' embeddings joined) and of the first encoders.

    Args:
        run: `Run`.
        method: 'pca', 'tsne' or 'umap'.

    Returns:
        dict: `panels`, a list of (title, array (n, 2), names of both axes),
            `labels` array (n,), `label_names` tuple of str, `stimuli` n.

    Raises:
        RunError, DataError, ConfigError: the run trains no encoders, its data or checkpoints cannot be read, or the data is not
            what it was trained on.
    """
    from closer_tf.nn.ensemble import embed
    from closer_tf.readout.features import trained_ensemble
    from closer_tf.training.experiment import check_units, load_splits

    if not CONDITIONS[run.config.condition].embeds:
        raise RunError("no encoders in this condition")
    if run.fields is None:
        raise RunError("the receptive fields cannot be read")
    data = load_splits(run.config).current()
    run.folder.check_data(data, run.config)
    check_units(run.fields, data)
    ensemble, _, _ = trained_ensemble(run.folder, run.config, data)
    chosen = np.random.default_rng(0).permutation(len(data.test))[:MOST_STIMULI]
    test = data.test[np.sort(chosen)]
    embedded = embed(ensemble, test.inputs)
    sets = {"ensemble": embedded.reshape(len(embedded), -1)}
    sets |= {name: embedded[:, i] for i, name in enumerate(run.encoders[:ENCODERS])}
    panels = []
    for name, vectors in sets.items():
        points, axes = in_two_dimensions(np.asarray(vectors, dtype=np.float64), method)
        panels.append((name, points, axes))
    names = data.label_names if data.labelled else ("no label",)  # the labels are -1, which is the last of one name
    return {"panels": panels, "labels": test.labels, "label_names": names, "stimuli": len(test)}


def in_two_dimensions(vectors, method):
    """Vectors in two dimensions.

    Args:
        vectors: float array (n, d).
        method: 'pca', 'tsne' or 'umap'; the latter two with seed 0.

    Returns:
        (array (n, 2), (name, name)): the points and what to call the axes; for PCA with the part of the variance of each.
    """
    if not np.isfinite(vectors).all():
        raise RunError("the embeddings are not finite")
    centred = vectors - vectors.mean(axis=0)
    if method == "pca":
        u, s, _ = np.linalg.svd(centred, full_matrices=False)
        points = np.zeros((len(vectors), 2))
        points[:, : min(2, len(s))] = (u * s)[:, :2]
        parts = np.zeros(2)
        parts[: min(2, len(s))] = (s**2 / ((s**2).sum() or 1))[:2]
        return points, tuple(f"PC {k} ({part:.0%} of the variance)" for k, part in enumerate(parts, start=1))
    if method == "umap":
        import umap

        return umap.UMAP(random_state=0).fit_transform(centred), ("UMAP 1", "UMAP 2")
    from sklearn.manifold import TSNE

    perplexity = min(30, max(1, (len(vectors) - 1) / 3))
    return TSNE(init="pca", random_state=0, perplexity=perplexity).fit_transform(centred), ("t-SNE 1", "t-SNE 2")
