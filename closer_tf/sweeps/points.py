"""What a sweep asks for: one run folder per point, baselines counted once, and how far each of them is."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from closer_tf.common.files import given_path
from closer_tf.config import RecordingSource, RunConfig, parse_config
from closer_tf.config.conditions import CONDITIONS
from closer_tf.config.identity import data_named, run_name
from closer_tf.data import load_data
from closer_tf.errors import ConfigError, DataError, RunError
from closer_tf.readout.features import protocol
from closer_tf.readout.scores import has_layers, has_whitened
from closer_tf.results import read
from closer_tf.sweeps.config import run_configs
from closer_tf.training.checkpoints import checkpoint_files, moment_of
from closer_tf.training.runs import RunFolder


@dataclass(frozen=True)
class Point:
    """One run of a sweep.

    Args:
        name: the name of its run folder; follows from the config alone, so that sweeps share runs.
        label: what tells it apart in the sweep.
        config: resolved `RunConfig`.
        baseline: it trains nothing and is there for others to be compared with.
    """

    name: str
    label: str
    config: RunConfig
    baseline: bool = False

    @property
    def trained(self):
        """Whether there is something to train."""
        return self.config.trains


def sweep_points(sweep, source="sweep", overrides=(), seeds=None):
    """All points of a sweep: those of the file, then the baselines that they share.

    A point reads out its own condition alone, whatever `readout.conditions` says; each of the sweep's baselines is read out in
    a run that trains nothing, once for all points whose result it would be.

    Args:
        sweep, source, overrides, seeds: as for `run_configs`.

    Returns:
        List of `Point`, without repeats.

    Raises:
        ConfigError: a point is no valid run config, or two points would share a folder and be read out differently.
    """
    points, compared = {}, []
    for label, config, baselines in run_configs(sweep, source, overrides, seeds):
        config = _read_out_alone(config)
        _add(points, Point(run_name(config), label, config), source)
        if config.trains:
            compared += [(condition, config, label) for condition in baselines]
    for condition, config, label in compared:
        config = baseline_config(config, condition)
        _add(points, Point(run_name(config), f"{condition} of {label}", config, baseline=True), source)
    return list(points.values())


def _add(points, point, source):
    known = points.setdefault(point.name, point)
    if known.config.to_dict() | {"description": ""} != point.config.to_dict() | {"description": ""}:
        raise ConfigError(
            f"{source}: points '{known.label}' and '{point.label}' are the same training and differ in 'readout', in where the "
            f"data lies or in when checkpoints are written; expected one of them (read out again with closer_tf.evaluate)"
        )


def _read_out_alone(config):
    """The config with a readout of its own condition alone; what it is compared with has runs of its own."""
    return config.model_copy(update={"readout": config.readout.model_copy(update={"conditions": []})})


def baseline_config(config, condition):
    """The config of the run that reads out what others are compared with.

    What the result does not follow from is at its default, so that all runs that share a baseline have the same one.

    Args:
        config: the resolved `RunConfig` of a point.
        condition: one that trains nothing.

    Returns:
        Resolved `RunConfig`.
    """
    content, reads = config.to_dict(), CONDITIONS[condition].reads
    for section in ("augmentation", "objective", "optimizer"):
        del content[section]
    content["compute"] = {"precision": config.compute.precision} if reads == "encoders" else {}
    content["condition"], content["description"] = condition, ""
    content["training"] = {"epochs": 0, "batch_size": 2, "validation_fraction": config.training.validation_fraction}
    content["readout"] |= {"conditions": [], "after_training": True, "at_epochs": []}
    content["seeds"] |= dict.fromkeys(("graph", "dropout", "augmentation", "data_order"))
    if reads != "encoders":
        content |= {"encoder": {"type": "mlp"}, "encoders": None}
        if reads == "principal components":
            content["encoder"]["embedding_dim"] = config.each_encoder()[0].embedding_dim
        content["seeds"]["initialization"] = None
    if reads == "input":
        by_area = isinstance(config.dataset, RecordingSource)
        content["masks"] = {"scheme": "areas" if by_area else "gaussian"}
        content["num_encoders"] = 2
        content["seeds"]["masks"] = None
    return parse_config(content, f"{condition} of the point").resolved()


def progress_of(point, runs_dir):
    """How far a point is.

    Args:
        point: `Point`.
        runs_dir: the folder of all run folders.

    Returns:
        (state, epochs): state is 'done', 'interrupted' (a checkpoint is there, or the readout is missing) or 'new'; epochs
        is the whole epochs that are done.

    Raises:
        RunError: the run folder is damaged or holds another run.
    """
    run = RunFolder(given_path(runs_dir) / point.name)
    if not run.check(point.config):
        return "new", 0
    if is_finished(run, point.config):
        return "done", point.config.training.epochs if point.trained else 0
    files = checkpoint_files(run.checkpoints)
    return ("interrupted" if files or not point.trained else "new"), max(0, moment_of(files[0].name)[0]) if files else 0


def is_finished(run, config):
    """Whether a run folder holds all that a config asks for: the last epoch, and its readout by the same protocol where the
    data has labels.

    Args:
        run: `RunFolder`.
        config: resolved `RunConfig`.
    """
    epochs = config.training.epochs if config.trains else 0
    if not config.readout.after_training or not run.has_labels(config):
        return run.ensemble_file.exists() and (not epochs or any(_ends(path, epochs) for path in _files(run)))
    try:
        results = read(run.results_file)
    except RunError:
        return False  # is read out again
    own = [config.condition] if epochs or not config.trains else []  # 0 epochs are read out as untrained, if at all
    asked = [*config.readout.conditions, *own]
    if not asked and results is None:
        return run.ensemble_file.exists()
    return (
        run.ensemble_file.exists()
        and results is not None
        and results.config_digest == config.digest()
        and (results.epochs, results.step) == (epochs, 0)
        and results.protocol.to_dict() == protocol(config)
        and all(condition in results.accuracy for condition in asked)
        and all(has_whitened(results.accuracy[condition], config.readout) for condition in asked)
        and all(has_layers(results.accuracy[name], config) for name in asked if CONDITIONS[name].embeds)
        and {*config.read_out_at()} <= {*results.over_epochs(), *results.not_kept}
    )


def _files(run):
    return checkpoint_files(run.checkpoints)


def _ends(path, epochs):
    return path.name.startswith(f"epoch-{epochs:05d}-")


def check_data(point, run, loaded):
    """Refuse a finished run whose data files have changed since: it is no result of what the config names now.

    Only sources that are files of your own are read, each once; a file that is gone cannot be compared.

    Args:
        point: `Point`.
        run: its `RunFolder`.
        loaded: dict that keeps what was read for further points.

    Raises:
        RunError: the data differs.
    """
    options = point.config.dataset.model_dump(exclude={"input_scale", "standardise"})
    if "path" not in options or run.read_data() is None:
        return
    key = json.dumps(options, sort_keys=True)
    if key not in loaded:
        loaded[key] = None
        with contextlib.suppress(DataError):
            loaded[key] = SimpleNamespace(identity=load_data(**options).identity)  # which is enough
    if loaded[key] is not None:
        run.check_data(loaded[key], point.config)


def mixed_data(points, runs_dir):
    """What to say of a sweep whose runs name the same data and were trained on different content, or None.

    Args:
        points: list of `Point`.
        runs_dir: the folder of all run folders.
    """
    first = {}
    for point in points:
        stored = RunFolder(Path(runs_dir) / point.name).read_data()
        if stored is None:
            continue
        named = json.dumps(data_named(point.config), sort_keys=True)
        name, fingerprint = first.setdefault(named, (point.name, stored["fingerprint"]))
        if fingerprint != stored["fingerprint"]:
            return (
                f"runs {name} and {point.name} were trained on different content under one name: they are not to be compared; "
                f"remove those of the data that is not meant, and run this again"
            )
    return None


def finished_runs(folders):
    """The finished runs below some folders.

    Args:
        folders: folders of run folders.

    Returns:
        dict name -> (`RunFolder`, `RunConfig`), by the name that `run_name` gives their configs.
    """
    found = {}
    for folder in folders:
        for file in sorted(given_path(folder).glob("*/config.json")):
            run = RunFolder(file.parent)
            try:
                config = run.load_config()
                if is_finished(run, config):
                    found.setdefault(run_name(config), (run, config))
            except (RunError, ConfigError):
                continue  # from before, or being written: of no use here
    return found
