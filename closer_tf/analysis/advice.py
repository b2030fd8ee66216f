"""What a reader of a readout should be told of a training that went wrong without failing, and what to try."""

import math

from closer_tf.config.conditions import CONDITIONS, UNTRAINED, title_of
from closer_tf.results import READOUTS, BestEpoch
from closer_tf.training.best_epoch import advice_on_it, best_epoch, describe, has_passed_its_best

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
    notes, passed = [], has_passed_its_best(history, config.training.epochs)
    if passed:
        notes.append(f"{describe(history)}: {advice_on_it(config, history)}")
    if below:
        says = f"{name} is below untrained after {results.epochs} epochs ({', '.join(below)})"
        if not passed:
            climbs = "Accuracy falls at the beginning of most trainings and climbs later"
            notes.append(f"{says}. {climbs}: {_longer(config)}{_softer(config, 'or ')}")
        elif config.training.keep == "best":
            notes.append(
                f"{says}, at its best epoch: closer_tf diagnose says whether its receptive fields share what is read out"
            )
        else:
            notes.append(f"{says}, past its best epoch")
    rank = history[-1].get("effective_rank") if history else None
    if rank is not None and rank < ON_A_LINE:
        notes.append(
            f"the effective rank of the embeddings is {rank:.2f} after {len(history)} epochs: they lie on a line, nearly, "
            f"and tell little apart: {_longer(config)}{_softer(config, 'or ')}"
        )
    return notes


def best_of(trained, history):
    """Where the validation loss of a training was lowest.

    Args:
        trained: `Trained`, what is read out.
        history: rows of history.csv.

    Returns:
        `BestEpoch`, or None without a validation loss.
    """
    history = history[: trained.epochs]
    best = best_epoch(history)
    if best is None:
        return None
    last = history[-1]["val_loss"]
    return BestEpoch(
        epoch=int(best["epoch"]),
        val_loss=best["val_loss"],
        last_epoch=len(history),
        last_val_loss=last if math.isfinite(last) else None,
        kept=trained.kept is not None,
    )


def _longer(config):
    now = config.training.epochs
    return f"train longer (--set training.epochs={max(2 * now, 10)}, now {now}: the run goes on)"


def _softer(config, before):
    """A lower temperature in a new folder, for objectives that have one."""
    if "temperature" not in CONDITIONS[config.condition].objective:
        return ""
    now = config.objective.temperature
    return f", {before}try a lower temperature in a new folder (--set objective.temperature={now / 4:g}, now {now:g})"
