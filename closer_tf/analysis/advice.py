"""What a reader of a readout should be told of a training that went wrong without failing, and what to try."""

from closer_tf.config.conditions import CONDITIONS, UNTRAINED, title_of
from closer_tf.results import READOUTS

ON_A_LINE = 1.1  # an effective rank below this: the embeddings of a batch lie on a line, nearly


def advice(results, config, history):
    """Notes on a run's readout.

    Args:
        results: `Results`.
        config: the run's resolved `RunConfig`.
        history: rows of history.csv.

    Returns:
        List of str, empty where nothing is to be said.
    """
    if not config.trains:
        return []
    accuracy, name = results.accuracy, title_of(config.condition)
    trained, untrained = accuracy.get(config.condition, {}), accuracy.get(UNTRAINED, {})
    below = [
        f"{readout} {trained[readout].test:.3f} against {untrained[readout].test:.3f}"
        for readout in READOUTS
        if readout in trained and readout in untrained and trained[readout].test < untrained[readout].test
    ]
    notes = []
    if below:
        notes.append(
            f"{name} is below untrained after {results.epochs} epochs ({', '.join(below)}). Accuracy falls at the beginning "
            f"of most trainings and climbs later: {_longer(config)}{_softer(config, 'or ')}"
        )
    rank = history[-1].get("effective_rank") if history else None
    if rank is not None and rank < ON_A_LINE:
        notes.append(
            f"the effective rank of the embeddings is {rank:.2f} after {len(history)} epochs: they lie on a line, nearly, "
            f"and tell little apart: {_longer(config)}{_softer(config, 'or ')}"
        )
    return notes


def _longer(config):
    return f"train longer (--set training.epochs={max(2 * config.training.epochs, 10)}: the run goes on)"


def _softer(config, before):
    """A lower temperature in a new folder, for objectives that have one."""
    if "temperature" not in CONDITIONS[config.condition].objective:
        return ""
    now = config.objective.temperature
    return f", {before}try a lower temperature in a new folder (--set objective.temperature={now / 4:g}, now {now:g})"
