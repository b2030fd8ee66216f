"""Accuracy over epochs: the readout of a run as it was after the epochs of `readout.at_epochs`.

In results.json, `at_epochs` is a dict epoch -> `accuracy` and `probes` as those of a condition, `seconds`, `config_digest` and
a checksum of the `weights`; `not_kept` lists the epochs that are over and whose weights are not there. Both are absent where
they would be empty.
"""

import time

from closer_tf.common.backend import peak_memory_gb
from closer_tf.common.values import counted
from closer_tf.config.conditions import UNTRAINED, title_of
from closer_tf.readout.features import embeddings_of, features_of
from closer_tf.readout.scores import has_whitened, probe
from closer_tf.results import READOUTS, AtEpoch, cells, each_encoder, peak_so_far, write
from closer_tf.training.checkpoints import load_weights, restore_weights, weights_checksum


def read_out(run, config, data, trained, results):
    """Read out the run's own condition at those epochs that are asked for, whose weights are there, and that are new.

    Args:
        run: `RunFolder`.
        config: resolved `RunConfig`.
        data: `Splits` of single bins or images.
        trained: `Trained`, whose model takes the weights of one epoch after the other, and its own again in the end.
        results: `Results` after the readout of the conditions; they get the epochs, and are written after each.
    """
    before = results.at_epochs, results.not_kept  # some may be of an attempt that the run went back from
    results.absent("at_epochs", "not_kept")
    known = {epoch: it for epoch, it in before[0].items() if it.config_digest == run.digest_at(config, int(epoch))}
    own_weights = trained.model.get_weights() if config.read_out_at() else None
    for epoch in config.read_out_at():
        weights = _restore(run, config, trained.model, epoch)
        if weights is not None and not _is_known(known.get(str(epoch)), weights, config.readout):
            found = _outcome(run, config, data, trained, results, epoch)
            known[str(epoch)] = AtEpoch(**found, config_digest=run.digest_at(config, epoch), weights=weights)
            results.at_epochs = _in_order(known)
            results.peak_memory_gb = max(peak_so_far(run.results_file), peak_memory_gb())
            write(run.results_file, results)
    if own_weights is not None:
        trained.model.set_weights(own_weights)
    not_kept = [epoch for epoch in config.read_out_at() if str(epoch) not in known and epoch <= results.epochs]
    if known:
        results.at_epochs = _in_order(known)
    if not_kept:
        results.not_kept = not_kept
    if (known, not_kept) != before:
        write(run.results_file, results)


def _is_known(found, weights, options):
    return found is not None and found.weights == weights and has_whitened(found.accuracy, options)


def _in_order(known):
    return {epoch: known[epoch] for epoch in sorted(known, key=int)}


def _restore(run, config, model, epoch):
    """Give the model its weights of an epoch; returns a checksum of them, or None where they are not there."""
    if epoch == 0:
        return "at initialisation"
    checkpoint = load_weights(run, config, epoch)
    if checkpoint is None:
        return None
    restore_weights(model, checkpoint)
    return weights_checksum(model)


def _outcome(run, config, data, trained, results, epoch):
    """dict with `accuracy`, `probes` and `seconds` of the ensemble of `Trained` with its weights of an epoch."""
    from closer_tf.training.experiment import make_ensemble

    is_read_out = (epoch, 0) == trained.moment
    condition = UNTRAINED if epoch == 0 else config.condition if is_read_out else None
    if condition in results.accuracy:  # the same weights
        return {key: getattr(results, key)[condition] for key in ("accuracy", "probes", "seconds")}
    began = time.perf_counter()
    ensemble = trained.ensemble
    if epoch == 0:
        ensemble = trained.untrained or make_ensemble(config, run.load_masks(), data)
    features = features_of(embeddings_of(ensemble, config, data))
    accuracy, probes = probe(features, config, data, f"{title_of(config.condition)} after {counted(epoch)}")
    return {"accuracy": accuracy, "probes": probes, "seconds": round(time.perf_counter() - began, 1)}


def curves(results):
    """The test accuracies of `Results`: dict readout ('single', 'ensemble') -> dict epoch (int) -> accuracy."""
    found = results.over_epochs()
    of = {name: {epoch: it[name].test for epoch, it in found.items() if name in it} for name in READOUTS}
    return {name: values for name, values in of.items() if values}


def draw(run, config, results, figures=()):
    """Draw accuracy_over_epochs.png beside chance, the untrained ensemble and the published value, where there is a curve.

    Args:
        run: `RunFolder`.
        config: resolved `RunConfig`.
        results: `Results`.
        figures: formats to write beside PNG.
    """
    from closer_tf import plots
    from closer_tf.analysis.published import published_values

    found = {name: {epoch: [value] for epoch, value in values.items()} for name, values in curves(results).items()}
    if not any(epoch for values in found.values() for epoch in values):
        return
    each = {epoch: each_encoder(accuracy) for epoch, accuracy in results.over_epochs().items()}
    last = max(results.epochs, *each)
    so_far = " so far" * (last < config.training.epochs)
    simulated = ", simulated data" if results.simulated else ""
    figure = plots.plot_accuracy_over_epochs(
        {config.condition: found},
        chance=results.chance_level,
        untrained={name: score.test for name, score in results.accuracy.get(UNTRAINED, {}).items()},
        published={config.condition: published_values(config, config.condition, results.protocol.to_dict())},
        title=f"{title_of(config.condition)}, seed {config.seed}, {counted(last)}{so_far}{simulated}",
        score=results.score,
        per_encoder=each,
    )
    plots.save(figure, run.figures / "accuracy_over_epochs.png", figures)


def print_table(config, results):
    """Print the accuracies over epochs, the published value below, and which epochs are missing and why.

    Args:
        config: the run's resolved `RunConfig`.
        results: `Results`.
    """
    from rich.table import Table

    from closer_tf.analysis.published import published_values
    from closer_tf.common.command import console

    if results.at_epochs:
        simulated = ", simulated data" if results.simulated else ""
        name = title_of(config.condition)
        table = Table(title=f"test {results.score} of {name} over epochs (chance {results.chance:.3f}{simulated})")
        for column in ("epochs", "single encoder", "ensemble"):
            table.add_column(column, justify="right")
        for epoch, accuracy in results.over_epochs().items():
            table.add_row(str(epoch or "0 (untrained)"), *cells(accuracy))
        published = published_values(config, config.condition, results.protocol.to_dict())
        for epochs in sorted({it["epochs"] for it in published.values()}):
            means = (f"{published[name]['mean']:.3f}" if name in published else "-" for name in READOUTS)
            table.add_row(f"published: {epochs}", *means)
        console().print(table)
    for line in missing(config, results):
        console().print(line)


def missing(config, results=None):
    """Why epochs of `readout.at_epochs` are not read out: list of lines.

    Args:
        config: a resolved `RunConfig`.
        results: `Results`, or None before the first readout.
    """
    asked, lines = config.read_out_at(), []
    left_out = [epoch for epoch in config.readout.at_epochs if epoch not in asked]
    if left_out:
        length = f"past the {counted(config.training.epochs)} of the training (training.epochs)"
        why = length if config.trains else f"condition '{config.condition}' trains nothing"
        lines.append(f"readout.at_epochs: {_listed(left_out)} left out: {why}")
    if results is None:
        return lines
    to_come = [epoch for epoch in asked if epoch > results.epochs and epoch not in results.over_epochs()]
    if results.not_kept:
        lines.append(
            f"readout.at_epochs: {_listed(results.not_kept)} cannot be read out: trained before readout.at_epochs asked for "
            f"them, or the weights are damaged or gone"
        )
    if to_come:
        lines.append(f"readout.at_epochs: {_listed(to_come)} not reached yet, after {counted(results.epochs)}")
    return lines


def _listed(epochs):
    return ", ".join(map(str, epochs))
