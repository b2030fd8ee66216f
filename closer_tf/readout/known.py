"""What of a stored results.json still holds, and is not read out again."""

from closer_tf.readout.protocol import protocol, sample_counts
from closer_tf.results import Protocol, Results, write
from closer_tf.versions import versions


def begin_results(run, config, data, trained, stored):
    """The `Results` that this readout adds to: the stored ones as far as they are of the same weights, data and protocol.

    Args:
        run: `RunFolder`.
        config: resolved `RunConfig`.
        data: `Splits`.
        trained: `Trained`.
        stored: `Results` of results.json, or None.
    """
    from closer_tf.training.devices import computed_with

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
    if all(before.get(key) == value for key, value in compared.items()):
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


def is_done(condition, results, options):
    """Whether `Results` hold a condition, with as many draws as asked for; `options`: the config's `readout`."""
    measured = results.measures.get(condition)
    likelihood = measured and measured.class_pseudo_likelihood
    drawn = likelihood is None or likelihood.draws == options.pseudo_likelihood_draws
    return condition in results.accuracy and drawn


def has_whitened(accuracy, options):
    """Whether a condition's scores (dict readout -> `Score`) hold those of whitened features, if `options` ask for them."""
    return not options.whiten or "whitened_ensemble" in accuracy


def has_neighbours(accuracy, options):
    """Whether a condition's scores (dict readout -> `Score`) hold the nearest neighbours, if `options` ask for them."""
    return options.knn_neighbours is None or "knn_ensemble" in accuracy


def has_layers(accuracy, config):
    """Whether a condition's scores (dict readout -> `Score`) hold those of hidden layers, if they are asked for and there are
    any."""
    there_are = getattr(config.each_encoder()[0], "hidden", None) != []
    return not config.readout.layers or not there_are or "layer_1_ensemble" in accuracy
