"""What results.json says of a condition: how well labels can be read out of features (probes of encoders and of the ensemble,
combined probes, neighbours, whitened features, hidden layers), measures of embeddings, and what of stored results still holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from closer_tf.common.backend import computed_with, versions
from closer_tf.common.command import bar, console
from closer_tf.common.values import load
from closer_tf.config.conditions import CONDITIONS
from closer_tf.readout.features import arranged, embeddings_of, features_of, protocol, sample_counts, whitened
from closer_tf.results import READOUTS, ClassPseudoLikelihood, Fit, Measures, Probe, Protocol, Results, Score, write

if TYPE_CHECKING:
    from closer_tf.config import RunConfig
    from closer_tf.config.readout import Readout
    from closer_tf.data.splits import Splits
    from closer_tf.nn.ensemble import CLoSeR
    from closer_tf.readout.features import Trained
    from closer_tf.training.runs import RunFolder

Sets = dict[str, dict[str, np.ndarray]]
"""Named features: name -> `train`, `validation` and `test`, arrays (n, d), as from `closer_tf.readout.features.features`."""


def probe(sets: Sets, config: RunConfig, data: Splits, name: str) -> tuple[dict[str, Score], dict[str, Probe]]:
    """Fit the probes of named features; prints the test scores after `name`.

    Args:
        sets: dict name -> features, as from `closer_tf.readout.features.features`.
        config: resolved `RunConfig`.
        data: `Splits`.
        name: what this is a readout of.

    Returns:
        (dict readout -> `Score`, dict name -> `Probe`), as results.json holds them.
    """
    accuracy, probes = _fit(sets, config, data, name)
    if config.readout.whiten:
        accuracy |= by_whitening(sets, arranged(config, data, lambda split: split.labels), config.readout, data)
    found = ", ".join(f"{key} {_said(accuracy[key])}" for key in READOUTS if key in accuracy)
    console().print(f"readout: {name}: {found}")
    return accuracy, probes


def _fit(sets, config, data, name):
    """As `probe`, with a progress bar in place of the line."""
    from closer_tf.readout.probes import COMBINATIONS, combine, probe_all, ridge_all

    labels = arranged(config, data, lambda split: split.labels)
    options = config.readout
    if not data.label_names:
        probes = ridge_all(sets, labels, options.C, data.period)
        accuracy = {"ensemble": _score(probes["ensemble"])}
        if len(probes) > 1:
            accuracy["single"] = _single([probe for name, probe in probes.items() if name != "ensemble"])
        return accuracy, _stored(probes)
    with bar(len(sets) * len(options.C), f"readout: {name}") as progress:
        probes, probabilities = probe_all(
            sets,
            labels,
            options.C,
            options.max_iter,
            progress=lambda: progress.advance(progress.task_ids[0]),
            return_probabilities=True,
            protocol=options.protocol,
            precision=options.precision,
        )
    accuracy = {"ensemble": _score(probes["ensemble"])}
    names = [key for key in sets if key != "ensemble"]
    if names:
        accuracy = {"single": _single([probes[name] for name in names]), **accuracy}
        said = np.stack([probabilities[name] for name in names])
        for method in COMBINATIONS:
            accuracy[method] = Score(test=float((combine(said, method) == labels["test"]).mean()))
    if options.knn_neighbours is not None:
        accuracy |= by_neighbours(sets, labels, options.knn_neighbours)
    return accuracy, _stored(probes)


def _stored(probes):
    """dict name -> `Probe` of a dict name -> `ProbeResult`."""
    found = {name: {key: value for key, value in vars(one).items() if value is not None} for name, one in probes.items()}
    return {name: Probe(**of_one | {"fits": [Fit(**fit) for fit in of_one["fits"]]}) for name, of_one in found.items()}


def _score(probe):
    error = {} if probe.angular_error is None else {"angular_error": probe.angular_error}
    return Score(test=probe.test, validation=probe.validation, **error)


def _single(probes):
    errors = [probe.angular_error for probe in probes if probe.angular_error is not None]
    return Score(
        test=float(np.mean([probe.test for probe in probes])),
        validation=float(np.mean([probe.validation for probe in probes])),
        per_encoder=[probe.test for probe in probes],
        **({"angular_error": float(np.mean(errors))} if errors else {}),
    )


def _said(score):
    return f"{score.test:.3f}" + ("" if score.angular_error is None else f" (angular error {score.angular_error:.3g})")


def neighbours_of(sets: Sets, config: RunConfig, data: Splits, name: str) -> dict[str, Score]:
    """The readouts of named features by nearest neighbours alone; prints them after `name`.

    Args:
        sets, config, data, name: as for `probe`; `readout.knn_neighbours` of the config is a number.

    Returns:
        dict `knn_single` and `knn_ensemble`, or the latter alone, -> `Score`.
    """
    labels = arranged(config, data, lambda split: split.labels)
    neighbours: Any = config.readout.knn_neighbours
    found = by_neighbours(sets, labels, neighbours)
    said = ", ".join(f"{key.removeprefix('knn_')} {score.test:.3f}" for key, score in found.items())
    console().print(f"readout: {name}, {neighbours} nearest neighbours: {said}")
    return found


def whitened_of(sets: Sets, config: RunConfig, data: Splits, name: str) -> dict[str, Score]:
    """The readouts of named features by probes of whitened features alone; prints them after `name`.

    Args:
        sets, config, data, name: as for `probe`.

    Returns:
        dict `whitened_single` and `whitened_ensemble`, or the latter alone, -> `Score`.
    """
    found = by_whitening(sets, arranged(config, data, lambda split: split.labels), config.readout, data)
    said = ", ".join(f"{key.removeprefix('whitened_')} {_said(score)}" for key, score in found.items())
    console().print(f"readout: {name}, whitened: {said}")
    return found


def by_whitening(sets: Sets, labels: dict[str, np.ndarray], options: Readout, data: Splits) -> dict[str, Score]:
    """The readouts of named features by probes of whitened features, one set in memory at a time.

    Args:
        sets: as for `probe`.
        labels: dict `train`, `validation`, `test` of arrays (n,).
        options: the config's `readout`.
        data: `Splits`, which says whether labels are classes, numbers or angles.

    Returns:
        As `whitened_of`.
    """
    from closer_tf.readout.probes import probe_all, ridge_all

    found: dict[str, Any] = {}
    for name, features in sets.items():
        whole = {name: whitened(features)}
        if data.label_names:
            found |= probe_all(
                whole, labels, options.C, options.max_iter, protocol=options.protocol, precision=options.precision
            )
        else:
            found |= ridge_all(whole, labels, options.C, data.period)
    ensemble = found.pop("ensemble")
    single = {"whitened_single": _single(list(found.values()))} if found else {}
    return single | {"whitened_ensemble": _score(ensemble)}


def by_neighbours(sets: Sets, labels: dict[str, np.ndarray], neighbours: int) -> dict[str, Score]:
    """The readouts of named features by nearest neighbours.

    Args:
        sets: as for `probe`.
        labels: dict `train`, `validation`, `test` of int arrays (n,).
        neighbours: k.

    Returns:
        As `neighbours_of`.
    """
    from closer_tf.readout.probes import knn_probe

    found = {name: knn_probe(features, labels, neighbours) for name, features in sets.items()}
    ensemble = {"knn_ensemble": Score(test=found.pop("ensemble"))}
    each = list(found.values())
    return ({"knn_single": Score(test=float(np.mean(each)), per_encoder=each)} if each else {}) | ensemble


def layers_of(ensemble: CLoSeR, config: RunConfig, data: Splits, name: str) -> dict[str, Score]:
    """The readouts of the hidden layers of an ensemble's encoders.

    Args:
        ensemble: `CLoSeR` model.
        config: resolved `RunConfig`.
        data: `Splits` of single bins or images.
        name: what this is a readout of.

    Returns:
        dict `layer_1_single`, `layer_1_ensemble`, ... -> `Score`; empty without hidden layers.
    """
    found: dict[str, Score] = {}
    for depth, activity in enumerate(load("closer_tf.nn.layer_local:layers_of")(ensemble)[:-1], start=1):
        sets = features_of(embeddings_of(type(ensemble)(ensemble.input, activity), config, data))
        accuracy, _ = probe(sets, config, data, f"{name}, layer {depth}")
        found |= {f"layer_{depth}_{readout}": accuracy[readout] for readout in ("single", "ensemble")}
    if not found:
        console().print(f"readout: {name}: no hidden layers")
    return found


def measures_of(
    condition: str, embeddings: np.ndarray, labels: np.ndarray, label_names: Sequence[str], config: RunConfig
) -> Measures:
    """The measures of test embeddings, as results.json holds them.

    Args:
        condition: what was embedded; gives the temperature of the pseudo-likelihood.
        embeddings: array (n, N, D).
        labels: array (n,), ints into `label_names`, or numbers.
        label_names: str per label; empty where labels are numbers.
        config: resolved `RunConfig`.

    Returns:
        `Measures`; without `class_pseudo_likelihood` where labels are numbers, or a class has a single sample.
    """
    seed: Any = config.seeds.readout  # a resolved config has one
    found = Measures(
        alignment=_finite(off_diagonal_mean(alignment(embeddings, seed=seed))),
        agreement=_finite(off_diagonal_mean(agreement(embeddings, seed=seed))),
    )
    if label_names and np.bincount(labels, minlength=len(label_names)).min() >= 2:
        temperature = pseudo_likelihood_temperature(condition, embeddings.shape[2])
        draws = config.readout.pseudo_likelihood_draws
        found.class_pseudo_likelihood = ClassPseudoLikelihood(
            temperature=temperature,
            draws=draws,
            per_encoder=[
                np.round(class_pseudo_likelihood(of_encoder, labels, temperature, draws=draws, seed=seed), 7).tolist()
                for of_encoder in np.moveaxis(embeddings, 1, 0)
            ],
        )
    return found


def _finite(value):
    return value if np.isfinite(value) else None


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


def begin_results(run: RunFolder, config: RunConfig, data: Splits, trained: Trained, stored: Results | None) -> Results:
    """The `Results` that this readout adds to: the stored ones as far as they are of the same weights, data and protocol.

    Args:
        run: `RunFolder`.
        config: resolved `RunConfig`.
        data: `Splits`.
        trained: `Trained`.
        stored: `Results` of results.json, or None.
    """
    about = {
        "config_digest": config.digest(),
        "changes": run.changes(),
        "epochs": trained.epochs,
        "step": trained.step,
        "protocol": protocol(config),
        "dataset": data.name,
        "simulated": data.simulated,
        "chance": data.chance,
        "samples": sample_counts(config, data),
        "data": data.identity and data.identity["fingerprint"],
    }
    before = stored.to_dict() if stored else {}
    if stored and _forgets_other_neighbours(stored, about["protocol"]):
        write(run.results_file, stored)
        before = stored.to_dict()
    compared = about if "data" in before else {key: value for key, value in about.items() if key != "data"}  # from before
    if stored and all(before.get(key) == value for key, value in compared.items()):
        return stored
    about |= {"versions": versions(), "compute": computed_with(config)}
    results = Results(**about | {"protocol": Protocol(**about["protocol"])}, accuracy={}, probes={}, measures={}, seconds={})
    if stored and _same_for_epochs(stored, about):
        results.at_epochs = stored.at_epochs
    return results


def _forgets_other_neighbours(results, now):
    """Take the nearest neighbours out, if these are all that is to be read out in another way; returns whether they are.

    Args:
        results: `Results`.
        now: the protocol as from `protocol`.
    """
    then = results.protocol.to_dict()
    if then == now or {**then, "knn_neighbours": None} != {**now, "knn_neighbours": None}:
        return False
    results.protocol = Protocol(**now)
    for condition, found in results.accuracy.items():
        results.accuracy[condition] = {name: score for name, score in found.items() if not name.startswith("knn_")}
    results.absent("at_epochs", "not_kept")  # these have them, too
    return True


def _same_for_epochs(results, about):
    """Whether what `Results` say of single epochs was found on the same data with the same protocol.

    Args:
        results: `Results`.
        about: dict with the `protocol`, `dataset`, `samples` and `data` of now.
    """
    before = results.to_dict()
    same = all(before.get(key) == about[key] for key in ("protocol", "dataset", "samples"))
    return same and before.get("data", about["data"]) == about["data"] and "at_epochs" in before


def is_done(condition: str, results: Results, options: Readout) -> bool:
    """Whether `Results` hold a condition, with as many draws as asked for; `options`: the config's `readout`."""
    measured = results.measures.get(condition)
    likelihood = None if measured is None else measured.class_pseudo_likelihood
    drawn = likelihood is None or likelihood.draws == options.pseudo_likelihood_draws
    return condition in results.accuracy and drawn


def has_whitened(accuracy: dict[str, Score], options: Readout) -> bool:
    """Whether a condition's scores (dict readout -> `Score`) hold those of whitened features, if `options` ask for them."""
    return not options.whiten or "whitened_ensemble" in accuracy


def has_neighbours(accuracy: dict[str, Score], options: Readout) -> bool:
    """Whether a condition's scores (dict readout -> `Score`) hold the nearest neighbours, if `options` ask for them."""
    return options.knn_neighbours is None or "knn_ensemble" in accuracy


def has_layers(accuracy: dict[str, Score], config: RunConfig) -> bool:
    """Whether a condition's scores (dict readout -> `Score`) hold those of hidden layers, if they are asked for and there are
    any."""
    there_are = getattr(config.each_encoder()[0], "hidden", None) != []
    return not config.readout.layers or not there_are or "layer_1_ensemble" in accuracy
