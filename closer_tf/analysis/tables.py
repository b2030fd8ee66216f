"""A readout as tables in the terminal."""

from rich.table import Table
from rich.text import Text

from closer_tf.common.command import printable
from closer_tf.common.progress import console
from closer_tf.config.conditions import title_of
from closer_tf.results import READOUTS


def print_table(results):
    """Print the accuracies of `Results`, single and ensemble, beside the chance level."""
    simulated = ", simulated data" if results.simulated else ""
    length = f"{results.epochs} epochs" + (f" and {results.step} steps" if results.step else "")
    if results.best is not None and results.best.kept:
        length += f", weights of epoch {results.best.epoch}"
    title = f"test {results.score} after {length} (chance {results.chance:.3f}{simulated})"
    table = Table(title=title)
    table.add_column("condition")
    columns = {"single": "single encoder", "ensemble": "ensemble"}
    neighbours = results.protocol.knn_neighbours
    if neighbours is not None:
        columns |= {"knn_single": f"single, {neighbours}-NN", "knn_ensemble": f"ensemble, {neighbours}-NN"}
    if any("whitened_ensemble" in found for found in results.accuracy.values()):
        columns |= {"whitened_single": "single, whitened", "whitened_ensemble": "ensemble, whitened"}
    for says in columns.values():
        table.add_column(says, justify="right")
    for condition, found in results.accuracy.items():
        table.add_row(title_of(condition), *cells(found, columns))
    console().print(table)
    fits = [fit for probes in results.probes.values() for probe in probes.values() for fit in probe.fits]
    stopped = sum(not fit.converged for fit in fits)
    name, limit = results.protocol.name, results.protocol.max_iter
    console().print(f"{name} probe: {stopped} of {len(fits)} fits stopped at {limit} iterations before they had converged.")


def cells(accuracy, names=READOUTS):
    """The test scores of some readouts as texts of a table, '-' where there is none.

    Args:
        accuracy: dict readout -> `Score`.
        names: the readouts.
    """
    return [f"{accuracy[name].test:.3f}" if name in accuracy else "-" for name in names]


def print_areas(results):
    """Print the accuracy of every single encoder of a recording's `Results` under its brain area."""
    values = {name: found["single"].per_encoder for name, found in results.accuracy.items() if "single" in found}
    if not results.areas or not values:
        return
    table = Table(title="single encoders, by area")
    table.add_column("area")
    for condition in values:
        table.add_column(title_of(condition), justify="right")
    for i, area in enumerate(results.areas):
        table.add_row(Text(printable(area)), *(f"{found[i]:.3f}" for found in values.values()))
    console().print(table)
