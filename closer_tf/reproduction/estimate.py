"""How many trainings panels take, and how long they would take on this machine, from a few timed steps per architecture.

The steps are throw-away steps on random stimuli of the right shape, so that no data is needed.
"""

import statistics
import time

import numpy as np

from closer_tf.common.command import console, duration
from closer_tf.data.splits import held_out, steps_per_epoch

TRAINING_SAMPLES = {"cifar10": 50_000, "cifar100": 50_000, "digits": 1347, "session": 43_128}
"""Training and validation samples of each data set: 43,128 are those of a session with the paper's movies and trials."""
SESSION_VALIDATION = 0.25
UNITS = (137, 95, 78, 71, 55, 55, 49, 46, 44, 38)  # per area, of mouse 751348571
LARGEST = 0.3  # image fraction that is measured; larger ones are extrapolated


def count_and_estimate(chosen, of_file, missing, measure=None):
    """Trainings behind panels, and seconds on this machine.

    Args:
        chosen: list of (path, `PanelFile`, name, `Panel`).
        of_file: dict path -> list of `Point`.
        missing: dict name -> `Point`, those without a finished run.
        measure: function from a `RunConfig` to seconds per step. Default: `seconds_per_step`.

    Returns:
        (panels, total): panels is a list of dicts with `panel`, `trainings`, `to_do`, `only_read_out` and `seconds`; total a
        dict with the same but `panel`, where runs that panels share count once, and `measured`, a list of dicts with
        `architecture`, `image_fraction` and `seconds_per_step`. `only_read_out` counts the points of `missing` that train
        nothing. Seconds are those of one training after another, without readouts.
    """
    speeds = _Speeds([point.config for point in missing.values() if point.trained], measure or seconds_per_step)
    panels = []
    for path, _, name, _ in chosen:
        trained = {point.name: point for point in of_file[path] if point.trained}
        here = [missing[key] for key in dict.fromkeys(point.name for point in of_file[path]) if key in missing]
        panels.append({"panel": name, "trainings": len(trained)} | _to_do(here, speeds))
    every = {point.name for points in of_file.values() for point in points if point.trained}
    total = {"trainings": len(every)} | _to_do(missing.values(), speeds)
    return panels, total | {"measured": speeds.measured}


def _to_do(points, speeds):
    """How many of the points train, how many are only read out, and the seconds of the trainings."""
    left = [point for point in points if point.trained]
    seconds = sum(speeds.of_training(point.config) for point in left)
    return {"to_do": len(left), "only_read_out": len(points) - len(left), "seconds": round(seconds)}


def print_estimate(chosen, of_file, missing, scale):
    """Print what `count_and_estimate` finds, as a table; `scale` is 'quick' or 'full'."""
    from rich.table import Table

    panels, total = count_and_estimate(chosen, of_file, missing)
    table = Table(title=f"{scale} scale")
    for name in ("panel", "trainings", "to do", "only read out", "time on this machine"):
        table.add_column(name, justify="left" if name == "panel" else "right")
    for row in panels:
        table.add_row(row["panel"], *_cells(row))
    table.add_section()
    table.add_row("in all", *_cells(total))
    console().print(table)
    for one in total["measured"]:
        fraction = "" if one["image_fraction"] is None else f", q = {one['image_fraction']:g}"
        console().print(f"measured: {one['architecture']}{fraction}: {1000 * one['seconds_per_step']:.0f} ms per step")
    console().print(
        "Panels share runs; 'in all' counts each once. 'to do' are trainings, 'only read out' what trains nothing (untrained "
        "encoders, masked input). Times are for one training after another, readouts not counted. Dry run: nothing was run."
    )


def _cells(row):
    return [str(row[key]) for key in ("trainings", "to_do", "only_read_out")] + [duration(row["seconds"])]


class _Speeds:
    """Seconds per step, measured at two image fractions per architecture and taken to be linear in between."""

    def __init__(self, configs, measure):
        by_kind = {}
        for config in configs:
            by_kind.setdefault(_architecture(config), []).append(config)
        self.points, self.measured = {}, []
        for kind, of_kind in by_kind.items():
            fractions = sorted({getattr(config.masks, "fraction", None) for config in of_kind}, key=lambda q: q or 0)
            within = [q for q in fractions if q is None or q <= LARGEST] or fractions[:1]
            for q in dict.fromkeys([within[0], within[-1]]):
                config = next(config for config in of_kind if getattr(config.masks, "fraction", None) == q)
                seconds = measure(config)
                self.points.setdefault(kind, []).append((q, seconds))
                self.measured.append(
                    {"architecture": ", ".join(map(str, kind)), "image_fraction": q, "seconds_per_step": seconds}
                )

    def of_training(self, config):
        """Seconds that a whole training takes."""
        (first, slow), (last, fast) = self.points[_architecture(config)][0], self.points[_architecture(config)][-1]
        seconds = slow
        if last != first:
            seconds = slow + (fast - slow) * (config.masks.fraction - first) / (last - first)
        return max(seconds, 0.0) * steps_of(config) * config.training.epochs


def _architecture(config):
    return (config.dataset.name, config.encoder.type, config.condition, config.masks.scheme, f"N = {config.num_encoders}")


def steps_of(config):
    """Steps per epoch of a panel's training."""
    fraction = SESSION_VALIDATION if config.dataset.name == "session" else config.training.validation_fraction
    count = TRAINING_SAMPLES[config.dataset.name]
    return steps_per_epoch(count - held_out(count, fraction), config.training.batch_size)


def seconds_per_step(config, steps=4, repeats=2):
    """Time throw-away training steps on random stimuli; the first, which compiles, does not count.

    Args:
        config: resolved `RunConfig` of a panel's point.
        steps: steps that are timed at once.
        repeats: how often; the median counts.

    Returns:
        Seconds per step.
    """
    from closer_tf.common.backend import import_keras
    from closer_tf.data.streams import training_stream
    from closer_tf.training import experiment

    import_keras()
    data = random_data(config)
    fields = experiment.make_receptive_fields(config, data)
    model = experiment.make_training_model(config, experiment.make_ensemble(config, fields, data), len(data.label_names))
    stream = training_stream(data.train, config.training.batch_size, seed=0)
    model.fit(stream, steps_per_epoch=1, verbose=0, shuffle=False)
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        model.fit(stream, steps_per_epoch=steps, verbose=0, shuffle=False)
        times.append((time.perf_counter() - began) / steps)
    return statistics.median(times)


def random_data(config, batches=4):
    """Random stimuli of the shape that a panel's data has, as `Splits`."""
    from closer_tf.data import Split, Splits
    from closer_tf.training import experiment

    rng = np.random.default_rng(0)
    count, name = batches * config.training.batch_size, config.dataset.name
    if name == "session":
        areas = config.masks.areas
        unit_areas = tuple(area for area, size in zip(areas, UNITS) for _ in range(size))
        part = Split(rng.poisson(0.5, (count, 2, len(unit_areas))).astype(np.uint8), rng.integers(2, size=count))
        data = Splits(name, part, part, part, ("one", "three"), windowed=True, unit_areas=unit_areas)
        return experiment.for_encoders(config, data)
    shape, labels = ((8, 8, 1), 10) if name == "digits" else ((32, 32, 3), 100 if name == "cifar100" else 10)
    part = Split(rng.integers(0, 256, (count, *shape)).astype(np.uint8), rng.integers(labels, size=count))
    return Splits(name, part, part, part, tuple(map(str, range(labels))), 1 / 255)
