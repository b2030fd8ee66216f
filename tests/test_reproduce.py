"""The paper's panels: their definitions, the published numbers, tables, pictures, claims, and the estimate of the time."""

import csv
import io
import json
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
from closer_tf.reproduction import claims
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
        values = {"single": level, "ensemble": level + 0.1, "alignment": 0.5}
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
    if name == "2b":
        assert "20 epochs (published: 1000), 1 to 2 seeds (published: 10)" in content["scale_note"]


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
    assert total["to_do"] == total["trainings"] == len({p.name for p in missing.values() if p.trained}) == 52
    assert total["seconds"] < sum(row["seconds"] for row in panels) and len(measured) < 25
    del missing[next(p.name for p in points[PANELS / "fig2_cifar10.json", "quick"] if p.trained)]
    assert count_and_estimate(chosen, of_file, missing, measure)[1]["to_do"] == 51


def test_steps_are_timed_on_random_stimuli(points):
    (point, *_) = points[PANELS / "digits.json", "quick"]
    assert 0 < seconds_per_step(point.config, steps=1, repeats=1) < 10 and steps_of(point.config) == 19
    mouse = next(point for point in points[PANELS / "fig8a.json", "quick"] if point.config.condition == "tcloser")
    assert random_data(mouse.config).train.inputs.shape[1:] == (2, 668) and steps_of(mouse.config) == 253


def some_claim(kind="above"):
    sides = [{"panel": "3b", "series": name, "x": 0.1} for name in ("CLoSeR", "untrained")]
    return claims.Claim(claim="one above the other", kind=kind, first=sides[0], second=sides[1])


@pytest.mark.parametrize(
    "first, second, kind, verdict, why",
    [
        ([0.43, 0.44, 0.42], [0.30, 0.31, 0.29], "above", "holds", "one-sided paired t-test, p = 0***"),
        ([0.43, 0.45, 0.42], [0.30, 0.31, 0.29], "above", "holds", "one-sided paired t-test, p = 0.00031***"),
        ([0.30, 0.31, 0.29], [0.43, 0.45, 0.42], "above", "does not hold", "one-sided paired t-test, p = 1"),
        ([0.31, 0.30, 0.33], [0.30, 0.31, 0.29], "above", "cannot be seen yet", "one-sided paired t-test, p = 0.23"),
        ([0.43], [0.30], "above", "cannot be seen yet", "one seed"),
        ([], [0.30], "above", "cannot be seen yet", "no runs of CLoSeR (single, 0.1)"),
        ([0.301, 0.312, 0.290], [0.300, 0.310, 0.291], "level", "holds", "95% CI of the difference"),
        ([0.36, 0.37, 0.35], [0.300, 0.311, 0.291], "level", "does not hold", "95% CI of the difference"),
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


def test_every_claim_names_series_that_exist_and_the_published_means_agree(points):
    panels = {name: panel for *_, name, panel in choose_panels([])}
    found = {name: invented(points[path, "full"], spread=0.001) for path, _, name, _ in choose_panels([])}
    for claim in claims.load_claims():
        judged = claims.check(claim, panels, found)
        assert judged.seeds in (10, 30), claim.claim
        assert judged.published_difference is not None, claim.claim
        if claim.kind == "above":
            assert judged.published_difference > 0, claim.claim
        else:
            assert abs(judged.published_difference) < claims.MARGIN


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert reproduce.main(["fig9"]) == 2
    assert "no panel 'fig9'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        reproduce.main([])
    assert "expected panels, such as fig3b, or --all" in capsys.readouterr().err
    assert reproduce.main(["fig3b", "--no-run"]) == 0
    assert "10 of the runs behind these panels are not there" in capsys.readouterr().out.replace("14", "10")
    assert reproduce.main(["--claims"]) == 0
    assert "cannot be seen yet: CLoSeR above untrained at q = 0.025, single encoder: no runs" in capsys.readouterr().out
    assert "| cannot be seen yet | no runs" in (tmp_path / "results/figures/claims_quick.md").read_text()


def test_a_definition_with_a_mistake_names_the_key():
    with pytest.raises(ValueError, match="form"):
        PanelFile.model_validate({"about": "", "sweeps": {}, "panels": {"9": {"title": "", "form": "pie", "series": []}}})
