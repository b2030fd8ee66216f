"""What finished runs say about a panel: one number per series, x, readout and seed."""

import contextlib
import json
from dataclasses import dataclass

from closer_tf.analysis.summaries import read_summary
from closer_tf.common.files import given_path
from closer_tf.config import build_graph
from closer_tf.config.conditions import CONDITIONS, is_trained
from closer_tf.config.identity import baseline_of, data_named, run_name
from closer_tf.errors import RunError
from closer_tf.readout.features import protocol
from closer_tf.results import Measures, read
from closer_tf.sweeps.points import finished_runs, is_finished
from closer_tf.training.runs import RunFolder


@dataclass(frozen=True)
class Found:
    """The result of one run, or of one condition that its readout compares it with.

    Args:
        config: `RunConfig` of the point that asked for it.
        values: dict 'single', 'ensemble', 'mean_probability', ..., 'alignment' -> number; what there is.
        epochs: whole epochs that were trained.
        run: name of the run folder.
        matrices: class mean pseudo-likelihood per encoder (of a summary that of encoder 0 alone), or None.
        about: dict with `chance`, `protocol` and `versions` of the readout, the fingerprint of its `data` or None, and the
            `temperature` of the matrices or None.
    """

    config: object
    values: dict
    epochs: int
    run: str
    matrices: list | None
    about: dict


class Shelf:
    """Finished runs, by what they are results of.

    Args:
        runs_dir: where sweeps put their runs.
        others: what may be used beside, whatever made it: folders of run folders, and files of `closer_tf.summary`; folders
            come first, and of files that hold the same result the one that is named first counts.

    Raises:
        RunError: a file of `others` is no summary.
    """

    def __init__(self, runs_dir, others=()):
        self.runs_dir = runs_dir
        self.others, self.compared = {}, {}
        folders = [path for path in others if given_path(path).is_dir()]
        for run, config in finished_runs(folders).values():
            self._add(run.path.name, config, read(run.results_file))
        for file in (path for path in others if path not in folders):
            for name, (config, results) in read_summary(file).items():
                self._add(name, config, results)

    def _add(self, name, config, results):
        one = (name, results)
        self.others.setdefault(run_name(config), []).append(one)
        for condition in results.accuracy if results else ():
            if condition in CONDITIONS and not is_trained(condition):
                self.compared.setdefault(baseline_of(config, condition), one)

    def find(self, point):
        """The result that a point of a sweep asks for.

        Args:
            point: `Point`.

        Returns:
            `Found`, or None: no finished run holds it.
        """
        own = RunFolder(self.runs_dir / point.name)
        condition = point.config.condition
        with contextlib.suppress(RunError):  # a folder of that name that holds another run, or a damaged one, is no result
            if own.check(point.config) and is_finished(own, point.config):
                return _found(point, own.path.name, read(own.results_file))
        for name, results in self.others.get(run_name(point.config), []):
            known = {"name": "published"} | results.protocol.to_dict()  # older summaries knew no other name
            if known == protocol(point.config):
                return _found(point, name, results)
        if not is_trained(condition):
            key = baseline_of(point.config, condition)
            if key in self.compared:
                return _found(point, *self.compared[key])
        return None


def _found(point, run, results):
    condition = point.config.condition
    if results is None or condition not in results.accuracy:
        return None
    values = {key: score.test for key, score in results.accuracy[condition].items()}
    measures = results.measures.get(condition, Measures())
    if measures.alignment is not None:
        values["alignment"] = measures.alignment
    likelihood = measures.class_pseudo_likelihood
    matrices = likelihood.per_encoder if likelihood else None
    content = results.to_dict()
    about = {**{key: content[key] for key in ("chance", "protocol", "versions")}, "data": results.data}
    about["temperature"] = likelihood.temperature if likelihood else None
    epochs = results.epochs if is_trained(condition) else 0
    return Found(point.config, values, epochs, run, matrices, about)


def note_of_mixed_data(found):
    """What to say of results whose configs name the same data while its content differs; '' where all is of one data set.

    Args:
        found: list of `Found`.
    """
    kinds = {}
    for one in found:
        if one.about.get("data"):
            named = json.dumps(data_named(one.config), sort_keys=True)
            kinds.setdefault(named, {}).setdefault(one.about["data"], one.run)
    mixed = [", ".join(runs.values()) for runs in kinds.values() if len(runs) > 1]
    return f"Not of one data set: {mixed[0]} were read out on different content under one name." if mixed else ""


def of_series(found, series):
    """Those results that belong to a series.

    Args:
        found: list of `Found`.
        series: `Series`.
    """
    return [one for one in found if any(_has(one.config.to_dict(), wanted) for wanted in series.where)]


def by_x(found, panel, series, readout):
    """The results of a series, point by point.

    Args:
        found: list of `Found` of the panel's sweep.
        panel: `Panel`.
        series: `Series`.
        readout: 'single', 'ensemble' or 'alignment'.

    Returns:
        dict x -> dict seed -> `Found`, in ascending x; x is None where there is no axis or the series is constant.
    """
    points = {}
    for one in of_series(found, series):
        if readout in one.values:
            x = None if series.constant or not panel.x else x_of(one.config, panel.x)
            points.setdefault(x, {})[one.config.seed] = one
    return {x: dict(sorted(points[x].items())) for x in sorted(points, key=lambda x: (x is not None, x or 0))}


def x_of(config, key):
    """A config's position on a panel's horizontal axis."""
    if key == "density":
        if not config.trains:
            return 0.0
        graph = build_graph(config.objective.graph, config.num_encoders, config.seeds.graph)
        return graph.num_edges / (config.num_encoders * (config.num_encoders - 1))
    return _value(config.to_dict(), key)


def _has(content, wanted):
    return all(json.dumps(_value(content, key)) == json.dumps(value) for key, value in wanted.items())


def _value(content, key):
    for part in key.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    return content
