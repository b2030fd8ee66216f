"""The paper's panels again: `python -m closer_tf.reproduce fig3b`."""

import json
from pathlib import Path

from closer_tf.common.command import add_overrides, add_seeds, add_version, command_parser, run_command, seeds_of
from closer_tf.common.files import given_path, make_folder, read_text, write_atomically
from closer_tf.sweep import add_running, check_running, run_points, say_what_one_seed_is

EPILOG = """examples:
  python -m closer_tf.reproduce digits --workers 2
  python -m closer_tf.reproduce fig2b --data-dir ~/tensorflow_datasets
  python -m closer_tf.reproduce fig3b fig3c --scale full --scheduler tcp://10.0.0.5:8786
  python -m closer_tf.reproduce --all --dry-run
  python -m closer_tf.reproduce fig3 fig5 --scale full --conditions untrained,masked_input --set readout.precision=float32
  python -m closer_tf.reproduce fig5 --scale full --conditions untrained --only masks.fraction=0.1,0.25 --seeds 0-3
  python -m closer_tf.reproduce fig4 --no-run --from my_runs --from results/of_last_year.json

A panel's runs are made by the sweep engine in --runs-dir, where panels share them; what is finished is used. The picture shows
the published values beside ours, the table the difference in units of the joint standard error, with seeds and epochs. 'quick'
has fewer epochs, seeds and points than the paper, and says so. Ctrl-C stops; the same command goes on.
exit codes: as for closer_tf.sweep."""
PANELS = (
    "fig2a fig2b fig2c fig2d fig3b fig3c fig3e fig3f fig4b fig4c fig5c fig5d fig5f fig5g fig8a fig8b fig8c fig8d figS1b figS1c "
    "figS1e figS1f figS2a figS2b figS2c figS2d, some of them; a whole figure such as fig3; or digits, which needs no download"
)
BEGIN, END = "<!-- claims: begin -->", "<!-- claims: end -->"
"""What the table of claims stands between in a Markdown file."""


def main(arguments=None):
    """The command line; returns the exit code."""
    parser = command_parser(
        "python -m closer_tf.reproduce",
        "Run what is behind a panel of the paper, and draw it with the published values beside ours.",
        EPILOG,
    )
    parser.add_argument("panels", nargs="*", help=PANELS)
    parser.add_argument("--all", action="store_true", help="every panel of figures 2 to 5, 8, S1 and S2")
    parser.add_argument("--scale", choices=("quick", "full"), default="quick", help="(default: quick)")
    add_seeds(parser, "seeds in place of the scale's")
    parser.add_argument(
        "--conditions", metavar="NAMES", help="run these alone, such as untrained,masked_input, which train nothing"
    )
    parser.add_argument(
        "--only",
        metavar="KEY=VALUES",
        action="append",
        default=[],
        help="run those points alone whose config has one of these values, such as masks.fraction=0.1,0.25; can be repeated",
    )
    parser.add_argument("--out", default="results/figures", help="folder of pictures and tables (default: results/figures)")
    parser.add_argument("--claims", action="store_true", help="check the paper's orderings on finished runs; run nothing")
    parser.add_argument("--into", metavar="FILE", help="also put the table of --claims into this Markdown file")
    parser.add_argument("--no-run", action="store_true", help="draw what finished runs hold; run nothing")
    parser.add_argument(
        "--from",
        dest="others",
        metavar="PATH",
        action="append",
        default=[],
        help="also use the finished runs below a folder, or the results in a file of closer_tf.summary; can be repeated",
    )
    parser.add_argument("--data-dir", metavar="DIR", help="TensorFlow Datasets directory, for CIFAR")
    parser.add_argument("--sessions", metavar="DIR", help="folder of the session files, for figures 8 and S2")
    add_overrides(
        parser, "set a key that changes results by rounding at most, such as readout.precision=float32; can be repeated"
    )
    add_running(parser)
    add_version(parser)
    options = parser.parse_args(arguments)
    if bool(options.panels) == (options.all or options.claims):
        parser.error("expected panels, such as fig3b, or --all, or --claims")
    if options.into and not options.claims:
        parser.error("--into takes the table of --claims: give both")
    return run_command(lambda: _main(options), needs_keras=False)


def _main(options):
    """Do what the command line asks; returns the exit code."""
    from closer_tf.reproduction.panels import choose_panels
    from closer_tf.reproduction.results import Shelf
    from closer_tf.reproduction.selection import selected

    check_running(options)
    say_what_one_seed_is(options)
    chosen = choose_panels(options.panels)
    runs_dir = given_path(options.runs_dir).absolute()
    shelf = Shelf(runs_dir, options.others)
    of_file = {path: panel_points(path, file, options) for path, file, _, _ in chosen}
    asked = selected([point for points in of_file.values() for point in points], options.conditions, options.only)
    missing = {point.name: point for point in asked if shelf.find(point) is None}
    if options.claims:
        write_claims(chosen, of_file, shelf, options)
        return 0
    code = 0
    if options.dry_run:
        from closer_tf.reproduction.estimate import print_estimate

        names = {point.name for point in asked}
        of_those = {path: [point for point in points if point.name in names] for path, points in of_file.items()}
        print_estimate(chosen, of_those, missing, options.scale)
        return 0
    if missing and not options.no_run:
        name = "all" if options.all else "_".join(options.panels)
        code = run_points(f"{name}_{options.scale}", list(missing.values()), 2, options)
    rows = []
    for path, file, name, panel in chosen:
        rows += write_panel(name, panel, file, [one for point in of_file[path] if (one := shelf.find(point))], options)
    if len(chosen) > 1 and (said := agreement_note(rows)):
        print(f"all panels: {said}")
    absent = sum(shelf.find(point) is None for point in missing.values())
    if absent:
        print(f"{absent} of the runs behind these panels are not there; the pictures leave them out")
    return code


def panel_points(path, file, options):
    """The points of the sweep behind a panel file, at the scale and with the data that the options say.

    Args:
        path: the panel file.
        file: `PanelFile`.
        options: the command line's.

    Returns:
        List of `Point`.

    Raises:
        ConfigError: a key of `--set` is no key, or would have something else reproduced.
    """
    from closer_tf.config.composing import compose, read_layers
    from closer_tf.sweeps.points import sweep_points

    sweep = file.sweeps[options.scale]
    dataset = compose(read_layers(sweep.base, path.parent))["dataset"]
    overrides = [checked(override) for override in options.overrides]
    if dataset["name"].startswith("cifar") and options.data_dir:
        overrides.append(f"dataset.data_dir={json.dumps(options.data_dir)}")
    if dataset["name"] == "session" and options.sessions:
        overrides.append(f"dataset.path={json.dumps(str(given_path(options.sessions) / Path(dataset['path']).name))}")
    return sweep_points(sweep, str(path), overrides, seeds_of(options))


def checked(override):
    """An override 'key=value' of `--set`, if the key is one that a run may go on with another value of.

    Raises:
        ConfigError: it is not.
    """
    from closer_tf.config.identity import ROLES
    from closer_tf.errors import ConfigError

    free = [key for key, of_key in ROLES.items() if of_key == "free"]
    if override.partition("=")[0] in free:
        return override
    raise ConfigError(f"--set {override}: a panel's runs are as the paper's; expected one of the keys {', '.join(free)}")


def write_panel(name, panel, file, found, options):
    """Write a panel's picture (PNG, SVG) and table (JSON, Markdown, CSV) to OUT/figNAME_SCALE.*

    Args:
        name: the paper's name of it.
        panel: `Panel`.
        file: `PanelFile`.
        found: list of `Found`.
        options: the command line's.

    Returns:
        The table's rows.
    """
    from closer_tf import plots
    from closer_tf.analysis.published import reference
    from closer_tf.reproduction import matrices, table
    from closer_tf.reproduction.draw import draw
    from closer_tf.reproduction.panels import is_of_paper
    from closer_tf.reproduction.results import note_of_mixed_data

    rows = table.rows_of(panel, found)
    out = given_path(options.out) / f"{'fig' * is_of_paper(name)}{name}_{options.scale}"
    make_folder(out.parent, parents=True)
    of_paper = is_of_paper(name)
    title = f"Figure {name}: {panel.title}" if of_paper else panel.title
    scale = scale_note(found, rows, options.scale, panel.form)
    in_lines = scale.replace("; bars", "\nbars")
    for suffix in ("png", "svg"):
        plots.save(draw(panel, name, found, rows, f"{title}\n{in_lines}"), out.with_suffix(f".{suffix}"))
    notes = [file.about, scale]
    if said := agreement_note(rows):
        print(f"figure {name}: {said}")
        notes.append(f"{said[0].upper()}{said[1:]}.")
    if mixed := note_of_mixed_data(found):
        print(f"note: {mixed}")
        notes.append(mixed)
    if of_paper:
        notes.append(f"Published: {reference()['source']}")
    content = {
        "figure": name,
        "title": panel.title,
        "about": file.about,
        "scale": options.scale,
        "scale_note": scale,
        "published_source": reference()["source"] if of_paper else None,
        "readout": found[0].about["protocol"] if found else None,
        "versions": found[0].about["versions"] if found else None,
        "agreement": table.agreement(rows),
        "rows": rows,
    }
    shown, rows_in = rows, table
    if panel.form == "matrices":
        shown, rows_in = matrices.matrices_of(panel, found), matrices
        content["matrices"] = shown
    write_atomically(out.with_suffix(".json"), json.dumps(content, indent=1) + "\n")
    write_atomically(out.with_suffix(".md"), rows_in.to_markdown(shown, title, notes))
    write_atomically(out.with_suffix(".csv"), rows_in.to_csv(shown))
    print(f"{title}: {out}.png, .svg, .json, .md, .csv")
    return rows


def agreement_note(rows):
    """What to say of how a panel's points, or those of several, agree with the published ones; '' without any to compare."""
    from closer_tf.reproduction.table import agreement

    found = agreement(rows)
    if not found["points"]:
        return ""
    return f"{found['within_2']} of {found['points']} points lie within 2 joint standard errors of the published ones"


def write_claims(chosen, of_file, shelf, options):
    """Check every claim on finished runs; write OUT/claims_SCALE.json and .md, and print the table.

    Args:
        chosen: list of (path, `PanelFile`, name, `Panel`).
        of_file: dict path -> list of `Point`.
        shelf: `Shelf`.
        options: the command line's.

    Raises:
        RunError: the file of `--into` has no place for the table.
    """
    from closer_tf.reproduction.claims import check_all, load_claims, load_groups, note_on, to_dicts, to_markdown

    by_file = {path: [one for point in points if (one := shelf.find(point))] for path, points in of_file.items()}
    found = {name: by_file[path] for path, _, name, _ in chosen}
    panels = {name: panel for _, _, name, panel in chosen}
    verdicts = check_all(load_claims(), load_groups(), panels, found)
    note, table = note_on(verdicts, options.scale), to_markdown(verdicts)
    out = given_path(options.out) / f"claims_{options.scale}"
    make_folder(out.parent, parents=True)
    if options.into:
        put_between_marks(given_path(options.into), f"{note}\n\n{table}")
    write_atomically(out.with_suffix(".json"), json.dumps({"note": note, "claims": to_dicts(verdicts)}, indent=1) + "\n")
    write_atomically(out.with_suffix(".md"), f"# Orderings that the paper claims\n\n{note}\n\n{table}")
    for one in verdicts:
        print(f"{one.verdict}: {one.claim}: {one.why}, {one.seeds} seed{'s' * (one.seeds != 1)}")
    print(f"{out}.json, .md")


def put_between_marks(path, text):
    """Replace what stands between the lines `BEGIN` and `END` of a Markdown file.

    Args:
        path: the file.
        text: what is to stand there.

    Raises:
        RunError: the file cannot be read, or does not hold both lines, once and in that order.
    """
    from closer_tf.errors import RunError

    try:
        content = read_text(path)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from None
    before, begin, rest = content.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in after:
        raise RunError(f"{path}: expected the lines '{BEGIN}' and, below it, '{END}', once each; the table goes between them")
    write_atomically(path, f"{before}{begin}\n{text}\n{end}{after}")


def scale_note(found, rows, scale, form="lines"):
    """One sentence that says how much was trained for a picture, beside what the paper trained.

    Args:
        found: list of `Found`.
        rows: the panel's table.
        scale: 'quick' or 'full'.
        form: the panel's.
    """
    from closer_tf.common.values import counted

    if not found:
        return f"{scale} scale: no run is finished yet"
    seeds = sorted({row["ours_seeds"] for row in rows if row["ours_seeds"]})
    epochs = sorted({one.epochs for one in found if one.epochs})
    published = [(row["published_epochs"], row["published_seeds"]) for row in rows if row["published_epochs"]]
    points = sum(row["ours"] is not None for row in rows)
    there = sum(row["published"] is not None for row in rows)
    ours = f"{_range(epochs)} epochs" if epochs else "nothing trained"
    if published:
        ours += f" (published: {counted(published[0][0])})"
    ours += f", {_range(seeds)} seed{'s' * (seeds[-1:] != [1])}"
    if published:
        ours += f" (published: {published[0][1]})"
    shown = {"lines": "points", "violins": "distributions", "matrices": "matrices"}[form]
    ours += f", {points} {shown}" + (f" (published: {there})" if there else "")
    bars = "" if form == "matrices" else "; bars: 95% CI, from three seeds on"
    return f"{scale} scale: {ours}{bars}"


def _range(numbers):
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


if __name__ == "__main__":
    raise SystemExit(main())
