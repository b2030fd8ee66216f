"""One page that compares runs: `python -m closer_tf.report RUN_DIR ... -o report.html`.

The page is one HTML file with everything inside; it asks nothing of the network. Text from configs and folders is escaped.
`reading.py` reads run folders; `accuracy.py` and `published.py` have the numbers, `drawing.py` and `embeddings.py` the
pictures; `page.html`, `page.css` and `page.js` are the page.
"""

import os
import sys
import time

from closer_tf import __version__
from closer_tf.common.command import add_plugins, add_version, bar, command_parser, printable, run_command
from closer_tf.common.files import given_path, write_atomically
from closer_tf.common.values import shortened
from closer_tf.config.conditions import UNTRAINED, is_trained, title_of
from closer_tf.errors import CloserError, RunError
from closer_tf.report.embeddings import METHODS, check_method, embedding_panels
from closer_tf.report.reading import differing_keys, group_runs, one_per_seed, read_run, run_folders, shown_values
from closer_tf.results import READOUTS, each_encoder

DETAILS = 4  # groups whose receptive fields, graphs, maps and embeddings are drawn
TEST_SCORES = {"accuracy": "Test accuracy", "R^2": "Test R²"}
MOST_KEYS, MOST_CURVES, MOST_MASKS, MOST_MAPS, MOST_CLASSES = 40, 100, 24, 10, 20
METHOD_NAMES = {"pca": "principal components", "tsne": "t-SNE", "umap": "UMAP"}

EPILOG = """examples:
  python -m closer_tf.report runs/quickstart -o report.html
  python -m closer_tf.report runs/* -o report.html
  python -m closer_tf.report runs -o report.html --embeddings none

exit codes: 0 the page is written, also where some of the folders could not be read (it lists them with the reason);
2 no folder could be read, or another mistake that the message explains."""


def main(arguments=None):
    """The command line; returns the exit code."""
    parser = command_parser(
        "python -m closer_tf.report", "Compare runs, finished or not, on one self-contained HTML page.", EPILOG
    )
    parser.add_argument("run_dirs", nargs="+", metavar="RUN_DIR", help="run folders, or folders that hold run folders")
    parser.add_argument("-o", "--out", required=True, metavar="FILE", help="the HTML file to write")
    parser.add_argument("--title", default="CLoSeR runs", help="title of the page")
    parser.add_argument(
        "--embeddings",
        default="pca",
        choices=METHODS,
        help="how embeddings are drawn; reads data and checkpoints anew, for which Keras is loaded (default: pca)",
    )
    parser.add_argument(
        "--details",
        type=int,
        default=DETAILS,
        metavar="N",
        help=f"groups of runs whose receptive fields, graphs, maps and embeddings are drawn (default: {DETAILS})",
    )
    add_plugins(parser)
    add_version(parser)
    options = parser.parse_args(arguments)
    return run_command(lambda: _main(options), needs_keras=False, plugins=options.plugins)


def _main(options):
    found = write_report(options.run_dirs, options.out, options.title, options.embeddings, options.details)
    for path, reason in found["unreadable"]:
        print(printable(f"not read: {path}: {reason}"))
    size = given_path(options.out).stat().st_size / 2**20
    counts = " in ".join(f"{found[what]} {what.removesuffix('s') if found[what] == 1 else what}" for what in ("runs", "groups"))
    print(f"report: {options.out}, {counts}, {size:.2f} MB")


def write_report(run_dirs, out, title="CLoSeR runs", embeddings="pca", details=DETAILS):
    """Write the page.

    Args:
        run_dirs: run folders, or folders that hold run folders.
        out: the HTML file; replaced, completely or not at all.
        title: the page's title.
        embeddings: 'pca', 'tsne', 'umap' or 'none'.
        details: groups of runs whose receptive fields, graphs, maps and embeddings are drawn.

    Returns:
        dict: `runs` and `groups`, how many; `unreadable`, a list of (path, reason).

    Raises:
        RunError: no run could be read, or the page cannot be written.
        ConfigError: the method is unknown or not installed.
    """
    check_method(embeddings)
    out = given_path(out)
    if not out.parent.is_dir():
        raise RunError(f"{out}: there is no folder {out.parent}")
    if out.is_dir():
        raise RunError(f"{out}: is a folder; expected the name of the HTML file to write")
    runs, unreadable = _read(run_folders(run_dirs))
    if not runs:
        reasons = "\n".join(f"  {path}: {reason}" for path, reason in unreadable[:5])
        more = f"\n  and {len(unreadable) - 5} more" if len(unreadable) > 5 else ""
        raise RunError(f"none of the {len(unreadable)} folders is a run that can be read:\n{reasons}{more}")
    groups = group_runs(runs)
    page = _render(title, runs, groups, unreadable, embeddings, details)
    write_atomically(out, page.encode(errors="replace"))  # a folder's name may hold what is no text
    return {"runs": len(runs), "groups": len(groups), "unreadable": unreadable}


def _read(paths):
    """([Run], [(path, reason)])."""
    runs, unreadable = [], []
    with bar(len(paths), "reading runs") as progress:
        for path in paths:
            try:
                runs.append(read_run(path))
            except CloserError as error:
                reason = str(error).removeprefix(f"{path}: ")
                unreadable.append((str(path), reason))
            progress.advance(progress.task_ids[0])
    return runs, unreadable


def _render(title, runs, groups, unreadable, method, details):
    from closer_tf.analysis.published import reference
    from closer_tf.report import drawing
    from closer_tf.report.accuracy import accuracy_rows, epochs_rows

    rows = accuracy_rows(groups)
    over_epochs = epochs_rows(groups)
    for row in rows:
        row["epochs"] = _trained(row)
    names, many = drawing.Names(), len(groups) > 1
    scores = list(dict.fromkeys(row["score"] for row in rows))
    keys = differing_keys(groups)
    lines = max(1, sum(2 for run in runs if run.history))
    points = int(min(200, max(20, drawing.MOST_POINTS / lines)))
    curves = [
        (group, _curve(one_per_seed(group), "loss", points)) for group in groups if any(run.history for run in group.runs)
    ]
    return _template().render(
        title=title,
        runs=runs,
        groups=groups,
        unreadable=unreadable,
        simulated=any(row["simulated"] for row in rows),
        rows=rows,
        has_published=any(found["published"] for row in rows for found in row["readouts"].values()),
        published_source=reference()["source"],
        test_score=TEST_SCORES[scores[0]] if len(scores) == 1 else "Test score" if scores else "Test accuracy",
        strips=[(score, drawing.strips([row for row in rows if row["score"] == score], names, many)) for score in scores],
        other_readouts=sorted({name for row in rows for name in row["readouts"]} - {"single", "ensemble"}),
        over_epochs=over_epochs,
        over_epochs_pictures=_over_epochs(over_epochs, rows)[:MOST_CURVES],
        differing=[(key, shown_values(groups, key, 80)) for key in keys[:MOST_KEYS]],
        left_out_keys=len(keys[MOST_KEYS:]),
        curves=curves[:MOST_CURVES],
        left_out_curves=len(curves[MOST_CURVES:]),
        points=points,
        details=_details(groups[: max(0, details)], method, points),
        method_name=METHOD_NAMES.get(method, ""),
        table=[_about_run(run, group) for group in groups for run in group.runs],
        names=names.lists,
        version=__version__,
        made=time.strftime("%Y-%m-%d %H:%M"),
        command=_command(),
        versions=_versions(runs),
        protocols=list(dict.fromkeys(_protocol(run) for run in runs if run.results)),
    )


def _template():
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("closer_tf", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cut"] = shortened
    environment.filters["condition"] = title_of
    return environment.get_template("page.html")


def _trained(row):
    """After how many epochs a row's encoders were read out, as text."""
    if not is_trained(row["condition"]):
        return "–"
    group = row["group"]
    best = [run.results.best for run in group.runs if run.results and run.results.best is not None]
    kept = sorted({one.epoch for one in best if one.kept})
    which = f" (best: {kept[0]}" + (f" to {kept[-1]})" if len(kept) > 1 else ")") if kept else ""
    return f"{group.settings['read out after epochs']}{which}"


def _over_epochs(over_epochs, rows):
    """(group, [(readout, picture)]) of every group that was read out after an epoch of training."""
    from closer_tf.report import drawing

    pictures = []
    for group in dict.fromkeys(row["group"] for row in over_epochs):
        own = [row for row in over_epochs if row["group"] is group]
        start = [row for row in rows if row["group"] is group and row["condition"] == UNTRAINED]
        start += [row for row in own if row["epochs"] == 0]
        found = start[0]["readouts"] if start else {}
        untrained = {name: found[name]["mean"] for name in ("single", "ensemble") if name in found}
        if any(row["epochs"] for row in own):
            names = [name for name in ("single", "ensemble") if any(name in row["readouts"] for row in own)]
            pictures.append((group, [(name, drawing.over_epochs(own, name, untrained)) for name in names]))
    return pictures


def _curve(runs, quantity, points):
    from closer_tf.report import drawing

    series = []
    for run in runs:
        epochs = [row["epoch"] for row in run.history]
        for kind, column in (("training", quantity), ("validation", f"val_{quantity}")):
            if run.history and all(column in row for row in run.history):
                series.append((run.name, kind, epochs, [row[column] for row in run.history]))
    return drawing.curves(quantity, series, points) if series else ""


def _details(groups, method, points):
    """The heavy pictures of the first run of each group."""
    if not groups:
        return []
    if method != "none":
        from closer_tf.common.backend import import_keras

        import_keras()
    found = []
    with bar(len(groups), "drawing") as progress:
        for group in groups:
            run = group.runs[0]
            embedded = _embeddings(run, method)
            found.append(
                {
                    "group": group,
                    "run": run,
                    "fields": _fields(run),
                    "graph": _graph(run),
                    "curves": _other_curves(run, points),
                    "likelihoods": _likelihoods(run, embedded.get("label_names", ())),
                    "embeddings": embedded,
                }
            )
            progress.advance(progress.task_ids[0])
    return found


def _embeddings(run, method):
    """What the page shows of a run's embeddings: {} where none are asked for, `reason` where there are none."""
    from closer_tf.report import drawing

    if method == "none":
        return {}
    try:
        found = embedding_panels(run, method)
    except CloserError as error:
        return {"reason": shortened(error, 300)}
    names, labels = found["label_names"], found["labels"]
    pictures = []
    for name, at, axes in found["panels"]:
        says = f"{METHOD_NAMES[method]} of {found['stimuli']} embeddings, {name}, coloured by label."
        pictures.append((name, drawing.scatter(at, labels, names, says, axes)))
    about = {"stimuli": found["stimuli"], "named": bool(names), "label_names": names, "reason": ""}
    return {**about, "pictures": pictures, "key": drawing.key(names)}


def _fields(run):
    """The receptive fields' pictures, or the units of each area."""
    import numpy as np

    from closer_tf.plots.runs import map_of
    from closer_tf.report import drawing

    fields = run.fields
    if fields is None:
        return {"says": "They cannot be read.", "areas": [], "pictures": []}
    lengths = [len(cells) for cells in fields.indices]
    if fields.labels or fields.grid[0] == 1:
        names = fields.labels or [""] * len(lengths)
        seen = f"{sum(lengths)} of {fields.grid[1]} units are seen, each by one encoder." if fields.labels else ""
        return {"says": seen, "areas": list(zip(names, lengths)), "pictures": []}
    coverage, pixels = fields.coverage(), fields.pixels()
    shown = pixels[:MOST_MASKS]
    cells = "pixels" if fields.patch_size == 1 else f"patches of {fields.patch_size} x {fields.patch_size} pixels"
    count = f"{min(lengths)}" if min(lengths) == max(lengths) else f"{min(lengths)} to {max(lengths)}"
    rest = f" The first {len(shown)} are drawn." if len(shown) < len(pixels) else ""
    says = (
        f"Each of {fields.num_encoders} encoders sees {count} of {fields.grid[0] * fields.grid[1]} {cells}; together they see "
        f"{np.mean(coverage > 0):.0%} of the image, each pixel by {coverage.mean():.2g} encoders on average.{rest}"
    )
    pictures = [(drawing.mask(seen, f"What encoder {i} sees: {seen.sum()} pixels"), i) for i, seen in enumerate(shown)]
    low, high = coverage.min(), coverage.max()
    pictures.append((drawing.heat(coverage, f"Coverage: {low} to {high} encoders see a pixel"), f"coverage, {low} to {high}"))
    if (found := map_of(run.config, fields)) is not None:
        low, high = found[2].min(), found[2].max()
        picture = drawing.heat(found[2], f"Expected coverage: {low:.2g} to {high:.2g} encoders see a pixel on average")
        pictures.append((picture, f"expected coverage, {low:.2g} to {high:.2g}"))
    return {"says": says, "areas": [], "pictures": pictures}


def _graph(run):
    from closer_tf.report import drawing

    graph = run.graph()
    if graph is None:
        return None
    arrows = "An arrow from i to j: encoder i is pulled towards encoder j"
    moves = "; with stop-gradient, only i moves." if run.config.objective.stop_gradient else "."
    says = f"{graph.family.replace('_', ' ')}: {graph.num_edges} edges, density {graph.density:.2f}. {arrows}{moves}"
    names = run.fields.labels if run.fields is not None else ()
    return {"picture": drawing.graph(graph, names), "says": says, "measures": _measures(graph)}


def _measures(graph):
    """(name, value) of what describes a graph."""
    from closer_tf.graphs import measures

    found = measures(graph)
    shown = {name: f"{value:.3g}" for name, value in found.items()}
    return [
        ("edges", shown["edges"]),
        ("density", shown["density"]),
        ("reciprocity: edges whose way back is one too", shown["reciprocity"]),
        ("clustering coefficient, mean", shown["clustering"]),
        ("path length, mean", shown["path_length"]),
        ("pairs with a path", f"{found['reachable']:.0%}"),
        ("encoders that no edge pulls", shown["silent"]),
    ]


def _other_curves(run, points):
    """(name, picture) of every quantity that a run logged but the loss."""
    columns = run.history[0] if run.history else {}
    names = [name for name in columns if name not in ("epoch", "seconds", "loss") and not name.startswith("val_")]
    return [(name, _curve([run], name, points)) for name in names]


def _likelihoods(run, label_names):
    """The class mean pseudo-likelihoods that the readout measured, or None."""
    import numpy as np

    from closer_tf.report import drawing

    maps, told = {}, {}
    for condition, measures in (run.results.measures if run.results else {}).items():
        if measures.class_pseudo_likelihood is not None:
            maps[condition] = np.asarray(measures.class_pseudo_likelihood.per_encoder, dtype=np.float64)
            temperature = measures.class_pseudo_likelihood.temperature
            told[condition] = "" if temperature is None else f", τ = {temperature:.4g}"
    if not maps:
        return None
    largest, conditions = max(matrices.max() for matrices in maps.values()), []
    for condition, matrices in maps.items():
        classes = matrices.shape[1]
        names = label_names if len(label_names) == classes else [str(k) for k in range(classes)]
        diagonal = np.mean(np.diag(matrices[0]))
        encoder = run.encoders[0]
        says = f"{title_of(condition)}, {encoder}: {classes} classes; {diagonal:.4g} on average within a class."
        most = MOST_MAPS if classes <= MOST_CLASSES else 1
        rest = [(drawing.heat(matrix, name, 44, largest), name) for name, matrix in zip(run.encoders[1:most], matrices[1:most])]
        title = f"{title_of(condition)}{told[condition]}, {encoder}"
        conditions.append((title, drawing.labelled_heat(matrices[0], names, says, largest), rest))
    return {"largest": largest, "conditions": conditions}


def _about_run(run, group):
    found = run.results.accuracy.get(run.config.condition, {}) if run.results else {}
    shown = {name: f"{found[name].test:.3f}" if name in found else "–" for name in READOUTS}
    values = [f"{value:.3f}".removeprefix("0") for value in each_encoder(found)]
    if run.fields is not None and run.fields.labels and len(values) == len(run.encoders):
        values = [f"{area} {value}," for area, value in zip(run.encoders, values)]
    return {"run": run, "group": group, **shown, "per_encoder": " ".join(values).removesuffix(",")}


def _versions(runs):
    """[(library, [versions])] over all runs."""
    found = {}
    for run in runs:
        for name, version in run.versions.items():
            found.setdefault(name, dict.fromkeys([]))[version] = None
    return [(name, list(versions)) for name, versions in found.items()]


def _protocol(run):
    protocol = run.results.protocol.to_dict()
    return f"{protocol.get('name', '')}: {protocol.get('probe', '')}, at most {protocol.get('max_iter', '?')} iterations"


def _command():
    words = [os.path.basename(sys.argv[0]), *sys.argv[1:]] if sys.argv[0].endswith("closer_tf") else None
    if words is None:
        words = ["python -m closer_tf.report", *sys.argv[1:]]
    if len(words) > 14:
        words = [*words[:6], "...", *words[-7:]]
    return " ".join(words)
