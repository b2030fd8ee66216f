"""What a person sees of a sweep: one line of progress with the time left, and a table at the end."""

import statistics
import sys
import time
from pathlib import Path

from closer_tf.common.command import console, duration
from closer_tf.common.values import counted
from closer_tf.errors import RunError
from closer_tf.sweeps.points import progress_of
from closer_tf.training.runs import RunFolder

LOOK_SECONDS = 5.0  # between looks into the run folders of running points


class Watcher:
    """Shows one line that changes in a terminal, and one line per finished point elsewhere.

    Args:
        show: False keeps quiet.
        live: False has no line that changes, which needs standard output for itself.
    """

    def __init__(self, show=True, live=True):
        self.show, self.changes, self.looked, self.said = show, live, 0.0, {}
        self.live = None

    def __enter__(self):
        if self.show and self.changes and sys.stdout.isatty():
            from rich.live import Live

            self.live = Live("", console=console(), refresh_per_second=4, transient=True)
            self.live.start()
        return self

    def __exit__(self, *exception):
        if self.live is not None:
            self.live.stop()

    def __call__(self, sweep):
        """Show how far a sweep is."""
        if not self.show:
            return
        ended = [o for o in sweep.outcomes if o.tries and o.state not in ("running", "new", "interrupted")]
        news = [o for o in ended if self.said.get(o.point.name) != (o.state, o.tries)]
        self.said |= {o.point.name: (o.state, o.tries) for o in news}
        if not news and time.monotonic() - self.looked < LOOK_SECONDS:
            return
        self.looked = time.monotonic()
        line = self.line(sweep)
        screen = self.live.console if self.live is not None else console()
        for outcome in news:
            why = f": {outcome.error}" if outcome.error else ""
            screen.print(f"{outcome.state}: {outcome.point.label}, {duration(outcome.seconds)}{why}", markup=False)
        if self.live is not None:
            self.live.update(line)
        elif news:
            screen.print(line, markup=False)

    def line(self, sweep):
        """One line: how many points are in which state, and the time left."""
        counts = {state: len(sweep.of_state(state)) for state in ("running", "failed", "busy", "stopped")}
        parts = [f"{sweep.name}: {len(sweep.of_state('done'))} of {len(sweep.outcomes)} done"]
        parts += [f"{count} {state}" for state, count in counts.items() if count]
        left = time_left(sweep)
        return ", ".join(parts) + f"  left: {duration(left) if left is not None else 'not known yet'}"


def time_left(sweep):
    """Seconds until a running sweep is done, from the epochs that its runs have finished; None as long as there are none.

    Each running or waiting point counts with its own seconds per epoch, or else with the median of all; what a point takes
    beside its epochs, the readout above all, with the median of those that this command finished.
    """
    per_epoch, epochs_left = {}, {}
    for outcome in sweep.outcomes:
        config = outcome.point.config
        seconds = _epoch_seconds(sweep.runs_dir / outcome.point.name)
        if seconds:
            per_epoch[outcome.point.name] = statistics.median(seconds[1:] or seconds)  # the first epoch compiles
        if outcome.point.trained and outcome.state in ("running", "new", "interrupted"):
            epochs_left[outcome.point.name] = max(0, config.training.epochs - len(seconds))
    beside = [
        max(0.0, o.seconds - per_epoch.get(o.point.name, 0.0) * o.point.config.training.epochs * o.point.trained)
        for o in sweep.of_state("done")
        if o.tries and o.found == "new"
    ]
    if (epochs_left and not per_epoch) or not beside and not per_epoch:
        return None
    usual = statistics.median(per_epoch.values()) if per_epoch else 0.0
    unfinished = [o for o in sweep.outcomes if o.state in ("running", "new", "interrupted")]
    seconds = sum(epochs_left.get(o.point.name, 0) * per_epoch.get(o.point.name, usual) for o in unfinished)
    seconds += len(unfinished) * (statistics.median(beside) if beside else 0.0)
    return seconds / max(1, len(sweep.of_state("running")))


def _epoch_seconds(run_dir):
    try:
        return [row["seconds"] for row in RunFolder(run_dir).read_history()]
    except (RunError, KeyError):
        return []


def print_plan(sweep):
    """Print every point and what would be done with it; trains nothing."""
    for outcome in sweep.outcomes:
        what = {
            "done": "done, is skipped",
            "interrupted": f"goes on after epoch {progress_of(outcome.point, sweep.runs_dir)[1]}"
            if outcome.point.trained and outcome.found == "interrupted"
            else "is read out",
            "new": f"trains {counted(outcome.point.config.training.epochs)}" if outcome.point.trained else "is read out",
            "failed": f"cannot run: {outcome.error}",
        }[outcome.state]
        console().print(f"{outcome.point.name}: {outcome.point.label}: {what}", markup=False)
    trained = [o for o in sweep.outcomes if o.point.trained]
    left = [o for o in trained if o.state != "done"]
    console().print(
        f"{len(sweep.outcomes)} points: {len(trained)} trainings, {len(left)} of them to do; "
        f"{len(sweep.outcomes) - len(trained)} that only read out. Dry run: nothing was trained or written.",
        markup=False,
    )


def print_table(sweep):
    """Print a table of all points: state, epochs, accuracy."""
    from rich.table import Table

    table = Table(title=f"{sweep.name}: {len(sweep.of_state('done'))} of {len(sweep.outcomes)} points done")
    for name in ("point", "state", "epochs", "single encoder", "ensemble", "time", "tries"):
        table.add_column(name, justify="left" if name in ("point", "state") else "right", overflow="fold")
    for about in sweep.record()["points"]:
        found = about.get("accuracy", {}).get(about["condition"], {})
        cells = [f"{found[name]:.3f}" if name in found else "-" for name in ("single", "ensemble")]
        epochs = str(about["epochs"]) if "epochs" in about else "-"
        spent = duration(about["seconds"]) if about["tries"] else "-"
        state = ", ".join([about["state"], *([about["note"]] if "note" in about else [])])
        table.add_row(about["point"], state, epochs, *cells, spent, str(about["tries"]))
    console().print(table)
    for outcome in sweep.of_state("failed", "busy"):
        log = Path(sweep.runs_dir) / "logs" / f"{outcome.point.name}.log"
        console().print(f"{outcome.state}: {outcome.point.label}: {outcome.error} (log: {log})", markup=False)
