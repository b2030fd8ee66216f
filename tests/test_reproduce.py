"""The paper's panels: their definitions, the published numbers, tables, pictures, claims, and the estimate of the time."""

import csv
import io
import json
import re
from argparse import Namespace
from dataclasses import replace

import numpy as np
import pytest

from closer_tf import reproduce
from closer_tf.analysis.published import reference
from closer_tf.analysis.statistics import estimate
from closer_tf.config import load_config
from closer_tf.config.shipped import shipped_names
from closer_tf.errors import ConfigError, RunError
from closer_tf.reproduction import claims, matrices
from closer_tf.reproduction.estimate import count_and_estimate, random_data, seconds_per_step, steps_of
from closer_tf.reproduction.panels import (
    PANELS,
    PanelFile,
    choose_panels,
    is_of_paper,
    panel_files,
    published_epochs,
    published_points,
)
from closer_tf.reproduction.results import Found, Shelf, by_x
from closer_tf.reproduction.table import COLUMNS, rows_of, to_csv, to_markdown
from closer_tf.summary import summarise
from closer_tf.sweeps.config import parse_sweep
from closer_tf.sweeps.points import sweep_points
from closer_tf.train import train_run

ABOUT = {"chance": 0.1, "protocol": {"name": "published"}, "versions": {}}


@pytest.fixture(scope="module")
def points():
    """All points of every panel file: dict (path, scale) -> list of `Point`."""
    return {
        (path, scale): sweep_points(sweep, str(path))
        for path, file in panel_files().items()
        for scale, sweep in file.sweeps.items()
    }


def invented(points, level=0.3, spread=0.01):
    """A result for every point, invented."""
    rng = np.random.default_rng(0)

    def one(point):
        values = {"single": level, "ensemble": level + 0.1, "alignment": 0.5, "mean_probability": 0.3, "max_probability": 0.3}
        if point.config.condition == "full_input":
            values = {"ensemble": 0.4}
        values = {key: value + spread * rng.standard_normal() for key, value in values.items()}
        epochs = point.config.training.epochs if point.trained else 0
        matrices = [np.full((10, 10), 0.002).tolist()]
        return Found(point.config, values, epochs, point.name, matrices, ABOUT)

    return [one(point) for point in points]


def test_every_panel_of_the_figures_is_there():
    names = [name for _, _, name, _ in choose_panels([])]
    assert names == [
        *("2a", "2b", "2c", "2d", "3b", "3c", "3e", "3f", "4b", "4c", "5c", "5d", "5f", "5g", "8a", "8b", "8c", "8d"),
        *("S1b", "S1c", "S1e", "S1f", "S2a", "S2b", "S2c", "S2d"),
    ]
    assert [name for *_, name, _ in choose_panels(["fig3", "4b", "figS1b"])] == ["3b", "3c", "3e", "3f", "4b", "S1b"]
    with pytest.raises(ConfigError, match="no panel 'fig3x'; expected one of fig2a, .* Did you mean 'fig3"):
        choose_panels(["fig3x"])


def test_the_panels_stand_on_run_configs_that_ship():
    bases = {sweep.base for file in panel_files().values() for sweep in file.sweeps.values()}
    assert bases <= set(shipped_names()) and len(bases) == 9


def test_the_full_scale_is_the_papers(points):
    trained = {point.name: point for (_, scale), found in points.items() if scale == "full" for point in found if point.trained}
    of_paper = [point for point in trained.values() if point.config.dataset.name != "digits"]
    assert len(of_paper) == 1980  # "some two thousand trainings"
    for point in of_paper:
        vit, mouse = point.config.encoder.type == "vit_lite", point.config.dataset.name == "session"
        assert point.config.training.epochs == (2000 if vit else 300 if mouse else 1000)
        graph = point.config.objective.graph.family
        assert point.config.condition != "closer" or graph == "all_to_all" or point.config.objective.stop_gradient
    assert {point.config.seed for point in of_paper if point.config.dataset.name == "session"} == set(range(30))


@pytest.mark.parametrize("scale", ["quick", "full"])
def test_every_series_has_runs_and_the_published_points_have_theirs(points, scale):
    for path, file in panel_files().items():
        found = invented(points[path, scale])
        for name, panel in file.panels.items():
            rows = rows_of(panel, found)
            for series in panel.series:
                ours = [row for row in rows if row["series"] == series.name and row["ours"] is not None]
                assert ours or scale == "quick", (name, series.name)
                if series.published is not None and panel.form != "matrices":
                    assert published_points(series, panel.readouts[0]), (name, series.name)
            if scale == "full" and panel.form != "matrices" and is_of_paper(name):
                lonely = [row for row in rows if row["published"] is not None and row["ours"] is None]
                assert not lonely, (name, lonely)


def test_published_numbers_are_found():
    panels = {name: panel for *_, name, panel in choose_panels([])}

    def point(panel, series, readout, x=None):
        (one,) = [each for each in panels[panel].series if each.name == series]
        return next(each for each in published_points(one, readout) if x is None or abs(each["x"] - x) < 1e-3)

    assert point("2b", "CLoSeR", "single")["mean"] == pytest.approx(0.432, abs=5e-4)
    assert point("2b", "CLoSeR", "single")["ci95"] == pytest.approx(0.007, abs=5e-4)
    assert point("2c", "supervised", "ensemble")["mean"] == pytest.approx(0.366, abs=1e-3)
    assert point("3b", "CLoSeR", "single", 0.25)["mean"] == pytest.approx(0.341, abs=5e-4)
    assert point("4b", "bidirectional ring", "single")["mean"] == pytest.approx(0.395, abs=5e-4)
    assert point("4b", "G_N^k", "single", 20 / 90)["mean"] == pytest.approx(0.370, abs=1e-3)
    assert point("5d", "CLoSeR", "ensemble", 0.1)["mean"] == pytest.approx(0.672, abs=5e-4)
    assert point("8a", "TCLoSeR", "ensemble")["mean"] == pytest.approx(0.919, abs=5e-4)
    assert point("S1b", "sigma = 5", "single", 0.1)["mean"] == pytest.approx(0.454, abs=5e-4)
    assert point("S1f", "2 x 2 patches", "ensemble")["seeds"] == 10
    assert published_points(panels["8a"].series[3], "single") == []  # NoTCLoSeR
    assert published_epochs(panels["5c"].series[1]) == 2000 and published_epochs(panels["2b"].series[0]) is None
    assert "vector graphics" in reference()["source"]


def test_a_row_holds_both_and_their_difference_in_joint_standard_errors(points):
    path, file, name, panel = choose_panels(["3b"])[0]
    found = [one for one in invented(points[path, "quick"]) if one.config.masks.fraction == 0.1]
    rows = {row["series"]: row for row in rows_of(panel, found) if row["x"] == 0.1}
    row, values = rows["CLoSeR"], [one.values["single"] for one in found if one.config.condition == "closer"]
    mean = estimate(values)
    assert row["values"] == values and row["seeds"] == [0, 1] and (row["ours_seeds"], row["ours_epochs"]) == (2, 20)
    assert (row["published_seeds"], row["published_epochs"]) == (10, 1000)
    joint = np.hypot(np.std(values, ddof=1) / 2**0.5, 0.0032523)
    assert row["difference"] == pytest.approx(np.mean(values) - 0.431951)
    assert row["difference_in_joint_standard_errors"] == pytest.approx((np.mean(values) - 0.431951) / joint)
    assert row["ours_ci95"] == pytest.approx(mean.ci95)
    alone = rows["supervised"]  # one seed: no standard error of ours
    assert alone["ours_seeds"] == 1 and alone["difference"] is not None
    assert alone["joint_standard_error"] is None and alone["difference_in_joint_standard_errors"] is None
    table = list(csv.DictReader(io.StringIO(to_csv(list(rows.values())))))
    assert list(table[0]) == list(COLUMNS) and float(table[1]["ours"]) == pytest.approx(mean.mean)
    text = to_markdown(rows_of(panel, found), "title", ["note"])
    assert f"| CLoSeR | single | 0.1 | {mean.mean:.4f} +- {mean.ci95:.4f} | 2 | 20 | 0.4320 +- 0.0074 | 10 | 1000 |" in text


def test_the_interaction_density_is_the_axis_of_figure_4(points):
    path, _, _, panel = choose_panels(["4b"])[0]
    found = invented(points[path, "full"])
    series = {each.name: each for each in panel.series}
    densities = list(by_x(found, panel, series["G_N^k"], "single"))
    assert densities == pytest.approx([k / 90 for k in range(0, 100, 10)])
    assert list(by_x(found, panel, series["star"], "single")) == [0.2]
    assert list(by_x(found, panel, series["all-to-all"], "single")) == [1.0]


@pytest.mark.parametrize("name", ["2a", "2b", "2d", "3c", "4b", "8a", "S2a"])
def test_every_form_is_drawn_and_says_its_scale(points, name, tmp_path):
    path, file, _, panel = choose_panels([name])[0]
    options = Namespace(out=str(tmp_path), scale="quick")
    reproduce.write_panel(name, panel, file, invented(points[path, "quick"]), options)
    for suffix in ("png", "svg", "json", "md", "csv"):
        assert (tmp_path / f"fig{name}_quick.{suffix}").stat().st_size > 100
    picture = (tmp_path / f"fig{name}_quick.svg").read_text()
    content = json.loads((tmp_path / f"fig{name}_quick.json").read_text())
    assert "quick scale: 20 epochs" in content["scale_note"] and "seed" in content["scale_note"]
    assert "<svg" in picture and content["rows"] and content["scale_note"] in (tmp_path / f"fig{name}_quick.md").read_text()
    if name == "2a":
        assert [one["ours"] is not None for one in content["matrices"]] == [True] * 3
        assert content["matrices"][0]["series"] in (tmp_path / f"fig{name}_quick.md").read_text()
    if name == "2b":
        assert "20 epochs (published: 1000 epochs), 1 to 2 seeds (published: 10)" in content["scale_note"]


def test_points_within_two_joint_standard_errors_are_counted(points, tmp_path, capsys):
    path, file, _, panel = choose_panels(["3b"])[0]
    rows = reproduce.write_panel("3b", panel, file, invented(points[path, "full"]), Namespace(out=str(tmp_path), scale="full"))
    sizes = [abs(row["difference"] / row["joint_standard_error"]) for row in rows if row["joint_standard_error"]]
    within = sum(size <= 2 for size in sizes)
    said = f"{within} of {len(sizes)} points lie within 2 joint standard errors of the published ones"
    assert 0 < within < len(sizes) and f"figure 3b: {said}" in capsys.readouterr().out
    agreement = json.loads((tmp_path / "fig3b_full.json").read_text())["agreement"]
    assert (agreement["points"], agreement["within_2"]) == (len(sizes), within) and said in (
        tmp_path / "fig3b_full.md"
    ).read_text()


def test_a_panel_without_runs_shows_the_published_alone(tmp_path):
    path, file, _, panel = choose_panels(["3b"])[0]
    reproduce.write_panel("3b", panel, file, [], Namespace(out=str(tmp_path), scale="full"))
    content = json.loads((tmp_path / "fig3b_full.json").read_text())
    assert content["scale_note"] == "full scale: no run is finished yet"
    assert all(row["ours"] is None and row["published"] is not None for row in content["rows"])


def test_finished_runs_of_other_commands_are_found(tiny_config, tmp_path):
    tiny_config["training"]["epochs"] = 1
    (tmp_path / "c.json").write_text(json.dumps(tiny_config))
    config = load_config(tmp_path / "c.json")
    results = train_run(config, tmp_path / "mine" / "whatever")  # reads out all conditions at once
    points = sweep_points(parse_sweep({"base": tiny_config}))
    other = sweep_points(parse_sweep({"base": tiny_config, "set": {"readout.max_iter": 5}}))
    shelf = Shelf(tmp_path / "runs", [tmp_path / "mine"])
    assert Shelf(tmp_path / "runs").find(points[0]) is None
    for point in points:
        found = shelf.find(point)
        condition = point.config.condition
        assert found.values["single"] == results["accuracy"][condition]["single"]["test"] and found.run == "whatever"
        assert found.epochs == (1 if condition == "closer" else 0)
    assert [shelf.find(point) for point in other] == [None] * 3  # another readout
    train_run(points[0].config, tmp_path / "runs" / points[0].name)
    assert Shelf(tmp_path / "runs").find(points[0]).run == points[0].name


def test_summaries_of_runs_are_results_too(tiny_config, tmp_path):
    tiny_config["training"]["epochs"] = 1
    graph = {"objective": {**tiny_config.get("objective", {}), "graph": {"family": "directional_ring"}}}
    runs = {}
    for name, content in {"one": tiny_config, "ring": tiny_config | graph, "later": tiny_config | {"seed": 5}}.items():
        (tmp_path / "c.json").write_text(json.dumps(content))
        runs[name] = train_run(load_config(tmp_path / "c.json"), tmp_path / "mine" / name)
    file = tmp_path / "kept.json"
    file.write_text(json.dumps(summarise(sorted((tmp_path / "mine").iterdir()))))
    shelf = Shelf(tmp_path / "runs", [str(file)])
    sweeps = {"one": {}, "ring": {"base": tiny_config | graph}, "later": {"seeds": [5]}}
    for name, sweep in sweeps.items():
        for point in sweep_points(parse_sweep({"base": tiny_config} | sweep)):
            condition, found = point.config.condition, shelf.find(point)
            expected = runs[name]["accuracy"][condition]
            assert found.values["single"] == expected["single"]["test"]
            assert found.values["ensemble"] == expected["ensemble"]["test"]
            assert found.values.get("alignment") == runs[name]["measures"].get(condition, {}).get("alignment")
            assert found.values.keys() - {"alignment"} == expected.keys()
            likelihood = runs[name]["measures"].get(condition, {}).get("class_pseudo_likelihood")
            assert found.matrices == (likelihood and likelihood["per_encoder"][:1])
            assert found.about["temperature"] == (likelihood and likelihood["temperature"])
            assert found.epochs == (1 if condition == "closer" else 0) and found.about["chance"] == runs[name]["chance"]
            assert found.run == name or condition != "closer"
    (point, *_) = sweep_points(parse_sweep({"base": tiny_config, "set": {"readout.max_iter": 5}}))
    assert shelf.find(point) is None  # another readout
    for content in ("{}", "[1]", "no JSON", '{"runs": {"a": {"config": {}}}}'):
        file.write_text(content)
        with pytest.raises(RunError, match="kept.json: expected a file written by python -m closer_tf.summary"):
            Shelf(tmp_path / "runs", [str(file)])


def test_the_estimate_counts_shared_runs_once(points):
    chosen = choose_panels([])
    of_file = {path: points[path, "quick"] for path, *_ in chosen}
    missing = {point.name: point for found in of_file.values() for point in found}
    measured = []

    def measure(config):
        measured.append(config)
        return 0.1 + config.masks.fraction if hasattr(config.masks, "fraction") else 0.01

    panels, total = count_and_estimate(chosen, of_file, missing, measure)
    rows = {row["panel"]: row for row in panels}
    assert rows["3b"]["trainings"] == 8 and rows["3b"]["to_do"] == 8
    assert rows["2b"]["seconds"] == pytest.approx(3 * 20 * 352 * 0.2, abs=1)
    assert rows["8a"]["seconds"] == pytest.approx(6 * 20 * 253 * 0.01, abs=1)
    assert total["to_do"] == total["trainings"] == len({p.name for p in missing.values() if p.trained}) == 56
    assert total["seconds"] < sum(row["seconds"] for row in panels) and len(measured) < 25
    assert total["only_read_out"] == sum(not point.trained for point in missing.values()) > 0
    assert rows["3b"]["only_read_out"] == sum(not p.trained for p in of_file[PANELS / "fig3_gaussian.json"]) > 0
    del missing[next(p.name for p in points[PANELS / "fig2_cifar10.json", "quick"] if p.trained)]
    assert count_and_estimate(chosen, of_file, missing, measure)[1]["to_do"] == 55


def test_steps_are_timed_on_random_stimuli(points):
    (point, *_) = points[PANELS / "digits.json", "quick"]
    assert 0 < seconds_per_step(point.config, steps=1, repeats=1) < 10 and steps_of(point.config) == 19
    mouse = next(point for point in points[PANELS / "fig8a.json", "quick"] if point.config.condition == "tcloser")
    assert random_data(mouse.config).train.inputs.shape[1:] == (2, 668) and steps_of(mouse.config) == 253


def some_claim(kind="above", compare="at x", margin=0.02):
    x = 0.1 if compare == "at x" else None
    sides = [{"panel": "3b", "series": name, "x": x} for name in ("CLoSeR", "untrained")]
    return claims.Claim(claim="one above the other", kind=kind, compare=compare, margin=margin, first=sides[0], second=sides[1])


@pytest.mark.parametrize(
    "first, second, kind, verdict, why",
    [
        (
            [0.43, 0.44, 0.42],
            [0.30, 0.312, 0.29],
            "above",
            "holds",
            "one-sided paired t-test, p = 1.3e-05, corrected 1.3e-05***",
        ),
        (
            [0.43, 0.45, 0.42],
            [0.30, 0.31, 0.29],
            "above",
            "holds",
            "one-sided paired t-test, p = 0.00031, corrected 0.00031***",
        ),
        ([0.30, 0.31, 0.29], [0.43, 0.45, 0.42], "above", "does not hold", "one-sided paired t-test, p = 1"),
        ([0.31, 0.30, 0.33], [0.30, 0.31, 0.29], "above", "cannot be seen yet", "one-sided paired t-test, p = 0.23"),
        (
            [0.43, 0.44],
            [0.30, 0.31],
            "above",
            "cannot be seen yet",
            "one-sided paired t-test, p = 0.25; 2 seeds settle nothing",
        ),
        ([0.30, 0.31], [0.43, 0.44], "above", "cannot be seen yet", "one-sided paired t-test, p = 1; 2 seeds settle nothing"),
        ([0.43], [0.30], "above", "cannot be seen yet", "one seed, in the direction claimed"),
        ([0.43], [0.30], "level", "cannot be seen yet", "one seed, outside the margin"),
        ([], [0.30], "above", "cannot be seen yet", "no runs of CLoSeR (single, 0.1)"),
        ([0.301, 0.312, 0.290], [0.300, 0.310, 0.291], "level", "holds", "95% CI of the difference"),
        ([0.36, 0.37, 0.35], [0.300, 0.311, 0.291], "level", "does not hold", "95% CI of the difference"),
        ([0.300, 0.311, 0.291], [0.36, 0.37, 0.35], "level", "does not hold", "95% CI of the difference"),
        ([0.33, 0.30, 0.29], [0.300, 0.310, 0.291], "level", "cannot be seen yet", "95% CI of the difference"),
    ],
)
def test_a_claim_is_judged(points, first, second, kind, verdict, why):
    path, _, name, panel = choose_panels(["3b"])[0]
    seeds = {("closer", k): value for k, value in enumerate(first)} | {("untrained", k): v for k, v in enumerate(second)}
    found = [
        replace(one, values={"single": seeds[one.config.condition, one.config.seed]})
        for one in invented(points[path, "full"])
        if one.config.masks.scheme == "gaussian"
        and one.config.masks.fraction == 0.1
        and (one.config.condition, one.config.seed) in seeds
    ]
    judged = claims.check(some_claim(kind), {"3b": panel}, {"3b": found})
    assert judged.verdict == verdict and judged.why.startswith(why)
    assert judged.seeds == min(len(first), len(second)) and judged.published_difference == pytest.approx(0.126669)
    assert judged.published == ("as claimed" if kind == "above" else "against the claim")
    assert judged.seeds_needed == (3 if kind == "above" else None)


def of_curves(points, curves):
    """Results of figure 3b with these values: dict condition -> dict q -> values of seeds 0, 1, ..."""
    path, _, _, panel = choose_panels(["3b"])[0]
    found = []
    for one in invented(points[path, "full"]):
        values = curves.get(one.config.condition, {}).get(one.config.masks.fraction, [])
        if one.config.seed < len(values):
            found.append(replace(one, values={"single": values[one.config.seed]}))
    return {"3b": panel}, {"3b": found}


def test_best_points_are_compared_seed_by_seed_where_both_have_them(points):
    closer = {0.05: [0.40, 0.41, 0.42], 0.1: [0.50, 0.41, 0.40], 0.15: [0.30, 0.52, 0.51], 0.2: [0.9, 0.9, 0.9]}
    untrained = {0.05: [0.31, 0.32, 0.33], 0.1: [0.30, 0.31, 0.30], 0.15: [0.29, 0.30, 0.30], 0.25: [0.8, 0.8, 0.8]}
    panels, found = of_curves(points, {"closer": closer, "untrained": untrained})
    where = claims.check(some_claim(compare="best x"), panels, found)
    assert where.difference == pytest.approx(np.mean([0.1, 0.15, 0.15]) - 0.05) and where.seeds == 3
    assert where.published_difference == pytest.approx(0.15 - 0.25) and where.published == "against the claim"
    value = claims.check(some_claim(compare="best value"), panels, found)
    assert value.difference == pytest.approx(np.mean([0.50 - 0.31, 0.52 - 0.32, 0.51 - 0.33]))
    assert value.published_difference == pytest.approx(0.438843 - 0.341755)
    agreed = {q: [values[0]] * 3 for q, values in closer.items()}  # three seeds at one place are no certainty
    agreed = claims.check(some_claim(compare="best x"), *of_curves(points, {"closer": agreed, "untrained": untrained}))
    assert agreed.verdict == "cannot be seen yet" and agreed.why.startswith("one-sided paired permutation test, p = 0.12")
    del untrained[0.15]
    few = claims.check(some_claim(compare="best x"), *of_curves(points, {"closer": closer, "untrained": untrained}))
    assert few.verdict == "cannot be seen yet" and few.why == "runs at 2 points of both, fewer than 3"


def test_claims_are_corrected_for_their_number_and_two_seeds_do_not_count(points):
    path, _, name, panel = choose_panels(["3b"])[0]
    curves = {"closer": {0.1: [0.33, 0.34, 0.337]}, "untrained": {0.1: [0.30, 0.325, 0.32]}}
    panels, found = of_curves(points, curves)
    alone = claims.check(some_claim(), panels, found)
    assert alone.verdict == "holds" and 0.02 < alone.p < 0.05 and alone.p_corrected == alone.p
    thrice = claims.check_all([some_claim()] * 3, [], panels, found)
    assert [one.p_corrected for one in thrice] == pytest.approx([3 * alone.p] * 3)
    assert [one.verdict for one in thrice] == ["cannot be seen yet"] * 3
    elsewhere = claims.Claim(
        claim="", first={"panel": "3b", "series": "CLoSeR", "x": 0.2}, second={"panel": "3b", "series": "untrained", "x": 0.2}
    )
    curves["closer"][0.2], curves["untrained"][0.2] = [0.4, 0.41], [0.3, 0.3]
    with_two = claims.check_all([some_claim(), elsewhere], [], *of_curves(points, curves))
    assert with_two[0].p_corrected == alone.p and with_two[1].p is not None and with_two[1].p_corrected is None


def test_what_counts_as_level_is_the_claims(points):
    level = {"closer": {0.1: [0.307, 0.308, 0.306]}, "untrained": {0.1: [0.300, 0.3005, 0.2995]}}
    wide, narrow = (claims.check(some_claim("level", margin=margin), *of_curves(points, level)) for margin in (0.02, 0.005))
    assert (wide.verdict, narrow.verdict) == ("holds", "does not hold") and "margin 0.005" in narrow.why


@pytest.mark.parametrize("good, bad, verdict", [(3, 1, "holds"), (2, 1, "cannot be seen yet"), (2, 2, "does not hold")])
def test_a_claim_on_several_counts_them(points, good, bad, verdict):
    series = {"closer": {}, "untrained": {}}
    places = (0.05, 0.1, 0.15, 0.2)
    for k, q in enumerate(places):
        level = 0.5 if k < good else 0.3 if k < good + bad else None
        series["closer"][q] = [] if level is None else [level, level + 0.011, level + 0.02]
        series["untrained"][q] = [0.4, 0.41, 0.42]
    sides = [
        {kind: {"panel": "3b", "series": name, "x": q} for kind, name in (("first", "CLoSeR"), ("second", "untrained"))}
        for q in places
    ]
    each = [claims.Claim(claim=f"at {q}", group="three of four", **both) for q, both in zip(places, sides)]
    group = claims.Group(claim="three of four", at_least=3)
    *_, judged = claims.check_all(each, [group], *of_curves(points, series))
    assert (judged.verdict, judged.published) == (verdict, "as claimed")
    assert judged.why == f"{good} of 4 hold, {bad} do not; published 4 of 4"


def test_the_full_image_is_measured_once_and_stands_beside_each_seed(points):
    path, _, _, panel = choose_panels(["3c"])[0]
    (claim,) = (
        one for one in claims.load_claims() if "above the full image, Gaussian" in one.claim and "ensemble" in one.claim
    )
    found = [one for one in invented(points[path, "full"]) if one.config.seed < 4]
    found = [one for one in found if one.config.condition != "full_input" or one.config.seed == 0]
    (full,) = {one.values["ensemble"] for one in found if one.config.condition == "full_input"}
    closer = [one for one in found if one.config.condition == "closer" and one.config.masks.fraction == 0.1]
    judged = claims.check(claim, {"3c": panel}, {"3c": found})
    assert judged.seeds == 4 and judged.published == "no numbers"
    assert judged.difference == pytest.approx(np.mean([one.values["ensemble"] for one in closer]) - full)


AGAINST = {
    "CIFAR-100: CLoSeR level with supervised, ensemble",
    "CLoSeR level with supervised at small q (0.1), ensemble",
    "ViT, contiguous patches: CLoSeR level with supervised at small q (0.025), ensemble",
    "ViT, contiguous patches: CLoSeR level with supervised at small q (0.05), ensemble",
    "ViT, random patches: CLoSeR level with supervised at small q (0.05), ensemble",
    "mouse 757216464: TCLoSeR above masked input, ensemble",
    "mouse 757216464: TCLoSeR above LPL, ensemble",
    "mouse 757970808: LPL above masked input, single encoder",
    "the more spread out, the smaller the optimal q: sigma = 3 below sigma = 2, single encoder",
    "the more spread out, the smaller the optimal q: sigma = 5 below sigma = 3, ensemble",
    "the more spread out, the smaller the optimal q: 1 x 1 patches below 2 x 2 patches, ensemble",
    "the more spread out, the better at the optimum: 1 x 1 patches above 2 x 2 patches, single encoder",
    "the ensemble's optimum at a smaller q than the single encoder's, 1 x 1 patches",
}
"""What the published means themselves contradict."""


def test_every_claim_names_series_that_exist_and_the_published_means_agree_but_where_it_is_said(points):
    panels = {name: panel for *_, name, panel in choose_panels([])}
    found = {name: invented(points[path, "full"], spread=0.001) for path, _, name, _ in choose_panels([])}
    every, groups = claims.load_claims(), claims.load_groups()
    verdicts = claims.check_all(every, groups, panels, found)
    assert len({one.claim for one in verdicts}) == len(every) + len(groups)
    for claim, judged in zip(every, verdicts):
        assert judged.seeds in (10, 30), claim.claim
        unpublished = "NoTCLoSeR" in claim.claim or "full image" in claim.claim or "one probe" in claim.claim
        assert (judged.published == "no numbers") == unpublished, claim.claim
        if claim.compare != "best x" and judged.published == "as claimed":
            assert 3 <= judged.seeds_needed <= 2000, claim.claim
    assert {one.claim for one in verdicts if one.published == "against the claim"} == AGAINST
    assert all(one.note for one in verdicts if one.published == "against the claim")
    members = [sum(claim.group == group.claim for claim in every) for group in groups]
    assert members == [4] * 11 and {claim.group for claim in every} == {None, *(group.claim for group in groups)}


def test_the_table_goes_between_the_marks_of_a_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{reproduce.BEGIN}\nas it was\n{reproduce.END}\n\nafter\n")
    assert reproduce.main(["--claims", "--into", "page.md"]) == 0
    text = page.read_text()
    assert text.startswith(f"before\n\n{reproduce.BEGIN}\n\nquick scale, 151 claims: 0 hold") and "as it was" not in text
    assert text.endswith(f"|\n\n{reproduce.END}\n\nafter\n") and "| no runs of" in text
    page.write_text("no marks")
    assert reproduce.main(["--claims", "--into", "page.md"]) != 0
    assert f"page.md: expected the lines '{reproduce.BEGIN}'" in capsys.readouterr().err and page.read_text() == "no marks"
    with pytest.raises(SystemExit):
        reproduce.main(["fig3b", "--into", "page.md"])


def test_matrices_are_compared_in_the_published_order(points):
    path, _, _, panel = choose_panels(["2a"])[0]
    entries = {entry["condition"]: entry for entry in reference()["class_pseudo_likelihood"]}
    place = [entries["closer"]["class_order"].index(name) for name in sorted(entries["closer"]["class_order"])]

    def ours(condition):
        matrix = np.array(entries[condition]["matrix_rows_given_class"])[np.ix_(place, place)]
        return [(2 * matrix).tolist()]

    found = [
        replace(one, matrices=ours(one.config.condition), about=ABOUT | {"temperature": 2560})
        for one in invented(points[path, "quick"])
        if one.config.condition != "supervised"
    ]
    untrained, closer, supervised = matrices.matrices_of(panel, found)
    assert closer["correlation"] == pytest.approx(1) and closer["correlation_off_diagonal"] == pytest.approx(1)
    assert closer["ours"] == pytest.approx(2 * np.array(closer["published"])) and closer["classes"][0] == "automobile"
    assert (closer["seed"], closer["epochs"], closer["temperature"], closer["published_seed"]) == (0, 20, 2560, 3)
    assert (untrained["published_smallest"], untrained["published_largest"]) == (0.0014693, 0.0025934)
    assert untrained["largest"] == pytest.approx(2 * 0.0025934) and untrained["epochs"] == 0
    assert supervised["ours"] is None and supervised["correlation"] is None and supervised["published_largest"] == 0.0080922
    text = matrices.to_markdown([closer, supervised], "title", ["note"])
    assert "| CLoSeR | 0 | 20 | 2560 | 1.00 | 1.00 | 0.0014 to 0.0121 | 0.0007 to 0.0061 |" in text
    assert list(csv.DictReader(io.StringIO(matrices.to_csv([closer]))))[0]["correlation"] == str(closer["correlation"])
    flat = [replace(one, matrices=[np.full((10, 10), 0.002).tolist()]) for one in found]
    assert matrices.matrices_of(panel, flat)[1]["correlation"] is None


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert reproduce.main(["fig9"]) == 2
    assert "no panel 'fig9'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        reproduce.main([])
    assert "expected panels, such as fig3b, or --all" in capsys.readouterr().err
    assert reproduce.main(["fig3b", "--no-run", "--conditions", "untraind"]) == 2
    assert "found 'untraind'. Did you mean 'untrained'?" in capsys.readouterr().err
    assert reproduce.main(["fig3b", "fig2d", "--no-run", "--scale", "full", "--conditions", "untrained, masked_input"]) == 0
    assert "90 of the runs behind these panels are not there" in capsys.readouterr().out  # ten seeds, 8 q; masked q = .1
    assert reproduce.main(["fig3b", "--no-run"]) == 0
    assert "16 of the runs behind these panels are not there" in capsys.readouterr().out
    assert reproduce.main(["--claims"]) == 0
    assert "cannot be seen yet: CLoSeR above untrained at q = 0.025, single encoder: no runs" in capsys.readouterr().out
    assert "| cannot be seen yet | no runs" in (tmp_path / "results/figures/claims_quick.md").read_text()


def test_two_seeds_have_no_bar():
    from closer_tf.reproduction.draw import _interval

    assert _interval({"ours_seeds": 2, "ours_ci95": 0.2}) is None and _interval({"ours_seeds": 3, "ours_ci95": 0.2}) == 0.2
    assert _interval({"ours_seeds": None, "ours_ci95": None}) is None


def test_points_can_be_chosen_by_their_settings(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    untrained = ["--no-run", "--scale", "full", "--conditions", "untrained"]
    some = ["--seeds", "1,2", "--only", "masks.fraction=0.1,0.25"]
    assert reproduce.main(["fig5c", "fig5f", *untrained, *some]) == 0
    assert "8 of the runs behind these panels are not there" in capsys.readouterr().out  # two schemes, two q, two seeds
    assert reproduce.main(["fig5c", "fig5f", *untrained, *some, "--only", "masks.scheme=random_patches"]) == 0
    assert "4 of the runs behind these panels are not there" in capsys.readouterr().out
    assert reproduce.main(["fig5c", *untrained[1:], *some, "--dry-run"]) == 0
    assert re.search(r"5c +│ +0 │ +0 │ +4 │ +0 s", capsys.readouterr().out)  # of what is asked for, nothing trains
    assert reproduce.main(["fig5c", *untrained, "--only", "masks.fraction=0.1,0.11"]) == 2
    said = capsys.readouterr().err
    assert "--only masks.fraction=0.1,0.11: no point of these panels has masks.fraction 0.11; there are 0.025, 0.04, " in said
    assert reproduce.main(["fig5c", *untrained, "--only", "masks.fracton=0.1"]) == 2
    assert (
        "no point of these panels has the key masks.fracton; expected a run config's, dotted. Did you mean"
        in capsys.readouterr().err
    )
    assert reproduce.main(["fig5c", *untrained, "--only", "masks.fraction"]) == 2
    assert "expected KEY=VALUES, such as masks.fraction=0.1,0.25" in capsys.readouterr().err


def test_keys_that_change_no_result_can_be_set(tmp_path, capsys):
    from closer_tf.reproduce import main

    options = ["fig2b", "--dry-run", "--runs-dir", str(tmp_path)]
    assert main([*options, "--set", "readout.precision=float32", "--set", "training.checkpoint_every=5"]) == 0
    for wrong in ("training.epochs=3", "readout.precisoin=float32"):
        assert main([*options, "--set", wrong]) == 2
        assert f"--set {wrong}: a panel's runs are as the paper's; expected one of the keys" in capsys.readouterr().err


def test_a_definition_with_a_mistake_names_the_key():
    with pytest.raises(ValueError, match="form"):
        PanelFile.model_validate({"about": "", "sweeps": {}, "panels": {"9": {"title": "", "form": "pie", "series": []}}})


def test_the_help_names_every_panel():
    from closer_tf.reproduce import PANELS as SAID

    said = SAID.partition(",")[0].split()
    assert said == [f"fig{name}" for _, _, name, _ in choose_panels([])]
