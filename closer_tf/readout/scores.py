"""How well labels can be read out of features: probes of encoders and of the ensemble, combined probes, neighbours, probes of
whitened features."""

import numpy as np

from closer_tf.common.progress import bar, console
from closer_tf.readout.protocol import arranged
from closer_tf.results import READOUTS, Fit, Probe, Score


def probe(sets, config, data, name):
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


def neighbours_of(sets, config, data, name):
    """The readouts of named features by nearest neighbours alone; prints them after `name`.

    Args:
        sets, config, data, name: as for `probe`; `readout.knn_neighbours` of the config is a number.

    Returns:
        dict `knn_single` and `knn_ensemble`, or the latter alone, -> `Score`.
    """
    labels = arranged(config, data, lambda split: split.labels)
    found = by_neighbours(sets, labels, config.readout.knn_neighbours)
    said = ", ".join(f"{key.removeprefix('knn_')} {score.test:.3f}" for key, score in found.items())
    console().print(f"readout: {name}, {config.readout.knn_neighbours} nearest neighbours: {said}")
    return found


def whitened_of(sets, config, data, name):
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


def by_whitening(sets, labels, options, data):
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
    from closer_tf.readout.whitening import whitened

    found = {}
    for name, features in sets.items():
        whole = {name: whitened(features)}
        if data.label_names:
            found |= probe_all(whole, labels, options.C, options.max_iter, protocol=options.protocol)
        else:
            found |= ridge_all(whole, labels, options.C, data.period)
    ensemble = found.pop("ensemble")
    single = {"whitened_single": _single(list(found.values()))} if found else {}
    return single | {"whitened_ensemble": _score(ensemble)}


def by_neighbours(sets, labels, neighbours):
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
