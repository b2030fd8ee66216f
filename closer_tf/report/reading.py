"""Reading run folders for the report: what can be read of each, and which runs differ in nothing but seeds."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from closer_tf.common.files import given_path, read_text
from closer_tf.common.values import counted, last_part, shortened
from closer_tf.config import PATH_KEYS, build_graph
from closer_tf.config.conditions import CONDITIONS, title_of
from closer_tf.config.identity import settings_of
from closer_tf.errors import CloserError, RunError
from closer_tf.results import Results, read
from closer_tf.training.checkpoints import advice_on_it, describe_best, has_passed_its_best, kept_epoch
from closer_tf.training.runs import RunFolder


@dataclass(eq=False)
class Run:
    """What was found in one run folder.

    Args:
        folder: `RunFolder`.
        config: its `RunConfig`.
        history: list of dicts, the rows of history.csv.
        results: `Results`, None before the first readout.
        fields: `ReceptiveFields`, or None where they cannot be read.
        versions: dict library -> version of the training.
        notes: list of str, what a reader should know: unfinished, damaged in part, ...
        data: fingerprint of the data that it was trained on; None for runs from before those were kept.
    """

    folder: RunFolder
    config: object
    history: list
    results: Results | None
    fields: object
    versions: dict
    notes: list = field(default_factory=list)
    data: str | None = None

    @property
    def name(self):
        """The path as it was given."""
        return str(self.folder.path)

    @property
    def epochs(self):
        """Epochs that were trained."""
        return int(self.history[-1]["epoch"]) if self.history else 0

    @property
    def encoders(self):
        """The encoders' names: brain areas, or their numbers."""
        count = self.fields.num_encoders if self.fields is not None else self.config.num_encoders
        labels = self.fields.labels if self.fields is not None else ()
        return tuple(labels or (f"encoder {i}" for i in range(count)))

    @property
    def score(self):
        """'accuracy', or 'R^2' where labels are numbers."""
        return self.results.score if self.results else "accuracy"

    def graph(self):
        """The run's `InteractionGraph`, or None where it has none."""
        if "graph" not in CONDITIONS[self.config.condition].objective:
            return None
        try:
            centres = self.fields.centres() if self.fields is not None else None
            return build_graph(self.config.objective.graph, self.config.num_encoders, self.config.seeds.graph, centres)
        except (ValueError, CloserError):  # a matrix file that is gone
            return None


@dataclass(eq=False)
class Group:
    """Runs whose configs differ only in seeds, trained as long and read out in the same way.

    Args:
        number: int, counted from 1.
        runs: list of `Run`, the first in order of the command line first.
        settings: dict key.path -> value, what the runs have in common.
        notes: list of str.
        told: what tells the group apart from the others, '' where there are none.
        label: the same after the name of the condition.
    """

    number: int
    runs: list
    settings: dict
    notes: list = field(default_factory=list)
    told: str = ""
    label: str = ""

    @property
    def config(self):
        """The config of the first run."""
        return self.runs[0].config

    @property
    def folders(self):
        """The names of its runs' folders, of many the first three."""
        names = [run.folder.path.name if run.folder.path.name else run.name for run in self.runs]
        names = names if len(set(names)) == len(names) else [run.name for run in self.runs]
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    @property
    def is_read_out(self):
        """Whether its runs have a readout."""
        return self.runs[0].results is not None


def run_folders(paths):
    """The run folders that are meant: each path itself, or where it is no run but a folder of runs, those in it."""
    found = []
    for path in map(given_path, paths):
        inside = []
        if path.is_dir() and not (path / "config.json").exists():
            inside = sorted(child for child in path.iterdir() if (child / "config.json").exists())
        found += inside or [path]
    return list(dict.fromkeys(found))


def read_run(path):
    """One run, finished or not.

    Args:
        path: the run folder.

    Returns:
        `Run`. Parts that cannot be read are left out, and said in its notes.

    Raises:
        RunError: there is no run, or its config cannot be read.
    """
    folder = RunFolder(path)
    if not folder.path.exists():
        raise RunError(f"{folder.path}: no such folder")
    try:
        config = folder.load_config()
    except CloserError as error:
        raise RunError(str(error)) from None
    except OSError as error:
        raise RunError(f"{folder.path}: cannot be read: {error.strerror or error}") from None
    notes = []

    def part(read, without):
        try:
            return read()
        except (CloserError, OSError) as error:
            notes.append(str(error).replace(f"{folder.path}/", ""))
            return without

    history = part(folder.read_history, [])
    if not all(math.isfinite(row.get("epoch", math.nan)) for row in history):
        notes.append(f"{folder.history_file.name}: damaged: expected a number of the epoch in every row")
        history = []
    run = Run(
        folder,
        config,
        history,
        part(lambda: read(folder.results_file), None),
        part(folder.load_masks, None),
        part(lambda: _versions(folder), {}),
        notes,
        (part(folder.read_data, None) or {}).get("fingerprint"),
    )
    notes += _state(run)
    return run


def _versions(folder):
    path = folder.path / "versions.json"
    if not path.exists():
        return {}
    try:
        return {str(name): str(version) for name, version in json.loads(read_text(path)).items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise RunError(f"{path}: damaged: {error}") from None


def _state(run):
    """Notes on how far a run has come."""
    notes, wanted = [], run.config.training.epochs
    trains = run.config.trains
    if trains and run.epochs < wanted:
        notes.append(f"unfinished: {run.epochs} of {wanted} epochs")
    kept = kept_epoch(run.config, run.history)
    if kept is not None:
        notes.append(f"the weights are those after epoch {kept}, the best by val_loss")
    notes += _of_readout(run, trains) if run.results else _without_readout(run)
    if trains and has_passed_its_best(run.history, wanted):
        notes.append(f"{describe_best(run.history)}: {advice_on_it(run.config, run.history)}")
    for change in _changes(run.folder):
        if change["event"] == "not finite":
            notes.append(f"stopped in epoch {int(change['epoch']) + 1}, not finite")
        elif change["event"] == "learning rate":
            notes.append(f"learning rate {change['from']:g}, from epoch {int(change['epoch']) + 1} on {change['to']:g}")
        elif change["event"] == "epochs":
            notes.append(f"{change['to']} epochs in place of {change['from']}, decided after epoch {int(change['epoch'])}")
    return list(dict.fromkeys(notes))  # the readout has noted some of it


def _without_readout(run):
    """Notes on a run that has no readout."""
    try:
        labelled = run.folder.has_labels(run.config)
    except CloserError:  # said when data.json was read
        labelled = True
    return ["not read out yet" if labelled else "no labels: not read out"]


def _of_readout(run, trains):
    """Notes on a run's readout; `trains`: it is of a condition that is trained."""
    notes, results = [], run.results
    if trains and (results.epochs, results.step) != (run.epochs, 0):
        steps = f" and {results.step} steps" if results.step else ""
        notes.append(f"read out after {counted(results.epochs)}{steps}")
    if results.not_kept:
        notes.append(f"not read out after {', '.join(map(str, results.not_kept))} epochs: weights not kept")
    if results.config_digest not in (None, run.config.digest()):
        notes.append("read out under another config than it has now")
    return notes + results.notes


def _changes(folder):
    try:
        return folder.changes()
    except CloserError:  # said when the config was read
        return []


def group_runs(runs):
    """Put runs that differ only in seeds together.

    Args:
        runs: list of `Run`.

    Returns:
        List of `Group` in the order of their first runs, labelled by what tells them apart.
    """
    by_key = {}
    fingerprints = _fingerprints(runs)
    for run in runs:
        settings = _settings(run)
        if len(fingerprints[_key(settings)]) > 1:
            settings["data"] = run.data[:12] if run.data else "not known"
        by_key.setdefault(_key(settings), (settings, []))[1].append(run)
    groups = [Group(number, found, settings) for number, (settings, found) in enumerate(by_key.values(), start=1)]
    for group, told in zip(groups, _told_apart(groups)):
        group.told = ", ".join(told + ["not read out"] * (not group.is_read_out))
        group.label = ", ".join([title_of(group.config.condition), *([group.told] if group.told else [])])
        group.notes += _about_seeds(group)
        if "data" in group.settings:
            group.notes.append("set apart from runs of the same settings whose data has another content: see data.json in each")
    return groups


def _fingerprints(runs):
    """dict key of settings -> set of the known fingerprints of the data of its runs."""
    found = {}
    for run in runs:
        found.setdefault(_key(_settings(run)), set()).update({run.data} - {None})
    return found


def _key(settings):
    return json.dumps(settings, sort_keys=True)


def _settings(run):
    """What a run's group follows from: dict key.path -> value."""
    settings = settings_of(run.config)
    if run.results:
        settings["read out after epochs"] = run.results.epochs
        settings["read out after steps"] = run.results.step
        settings |= {f"readout.{key}": value for key, value in run.results.protocol.to_dict().items() if key != "seed"}
    else:
        settings["read out after epochs"] = "not yet"
    rates = [[change["epoch"], change["to"]] for change in _changes(run.folder) if change["event"] == "learning rate"]
    if rates:
        settings["learning rate changed at"] = rates
    return settings


def differing_keys(groups):
    """The keys whose values are not the same in all groups, in the order of the config; of how it was read out, in all groups
    that were."""
    differing = []
    for key in dict.fromkeys(key for group in groups for key in group.settings):
        of_readout = key.startswith(("readout.", "read out after"))
        having = [group for group in groups if group.is_read_out or not of_readout]
        if key == "read out after epochs" and all(
            group.settings[key] == group.settings["training.epochs"] for group in having if group.config.trains
        ):
            continue
        if len({json.dumps(group.settings.get(key, "absent")) for group in having}) > 1:
            differing.append(key)
    return differing


def _about_seeds(group):
    """Notes on what the seeds of a group's runs do and do not cover."""
    notes = []
    if len(group.runs) > 1:
        seeds = [run.config.seeds.model_dump() for run in group.runs]
        fixed = [name for name in seeds[0] if len({one[name] for one in seeds}) == 1]
        if fixed and len(fixed) < len(seeds[0]):
            notes.append(f"the same in all runs, so not part of the interval: seeds.{', seeds.'.join(fixed)}")
        first = {}
        for run, one in zip(group.runs, seeds):
            key = json.dumps(one)
            if key in first:
                notes.append(f"{run.name} has the seeds of {first[key]} and is counted once with it")
            first.setdefault(key, run.name)
    return notes


def one_per_seed(group):
    """The group's runs, of those with the same seeds only the first."""
    return list({json.dumps(run.config.seeds.model_dump()): run for run in reversed(group.runs)}.values())[::-1]


def _told_apart(groups):
    """What each group is told apart by from all others: a list of 'key=value' each, of as few keys as do.

    A key is taken when it parts most of the groups that the keys before it, and the condition, leave together.
    """
    shown = {"condition": [group.config.condition for group in groups]}
    shown |= {key: shown_values(groups, key, 40) for key in differing_keys(groups) if key != "condition"}
    chosen = ["condition"]
    while True:
        parts = {key: len(set(zip(*(shown[k] for k in [*chosen, key])))) for key in shown}
        best = max(parts, key=parts.get)  # of equal ones the first in the order of the config
        if parts[best] == parts["condition"]:
            break
        chosen.append(best)
    return [[f"{last_part(key)}={shown[key][k]}" for key in chosen[1:] if shown[key][k] != ABSENT] for k in range(len(groups))]


ABSENT = "–"


def shown_values(groups, key, most):
    """The groups' values of a key as texts of at most about `most` characters: two are the same only if the values are.

    Args:
        groups: list of `Group`.
        key: the key's path.
        most: int.

    Returns:
        List of str, `ABSENT` for a group without the key. Of a file's path the end is shown.
    """
    values = [group.settings.get(key, ABSENT) for group in groups]
    texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
    different = list(dict.fromkeys(texts))
    if last_part(key) in PATH_KEYS:
        ends = {text: _end_of_path(text, different) for text in different}
    else:
        cut = {text: shortened(text, most) for text in different}
        same = [text for text in different if list(cut.values()).count(cut[text]) > 1]
        ends = cut | {text: f"{cut[text]} ({number})" for number, text in enumerate(same, start=1)}
    return [ends[text] for text in texts]


def _end_of_path(path, others):
    """As many of a path's last parts as tell it from other paths."""
    parts = Path(path).parts
    for count in range(1, len(parts)):
        end = str(Path(*parts[-count:]))
        if sum(str(Path(*Path(other).parts[-count:])) == end for other in others) == 1:
            return end
    return path
