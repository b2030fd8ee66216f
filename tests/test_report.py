"""The report: what it says, that it is safe and small, and that a browser shows it without complaint."""

import html
import json
import math
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from closer_tf import report, train
from closer_tf.analysis.published import published, published_values
from closer_tf.config import load_config, parse_config
from closer_tf.config.identity import flat
from closer_tf.masks import area_masks
from closer_tf.report import accuracy, drawing, embeddings, reading

REPOSITORY = Path(__file__).resolve().parents[1]
GRAPHS = ("all_to_all", "star", "bidirectional_ring", "directional_ring")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder of two epochs on the digits."""
    folder = tmp_path_factory.mktemp("trained") / "runs" / "small"
    content = {
        "description": "four encoders <script>alert(1)</script>",
        "num_encoders": 4,
        "masks": {"scheme": "gaussian", "fraction": 0.25},
        "encoder": {"type": "mlp", "hidden": [8], "embedding_dim": 4},
        "training": {"epochs": 2, "batch_size": 256},
        "readout": {"C": [0.01, 1.0], "max_iter": 20, "pseudo_likelihood_draws": 2},
    }
    config = folder.parent.parent / "small.json"
    config.write_text(json.dumps(content))
    assert train.main([str(config), "--run-dir", str(folder)]) == 0
    return folder


def copied(folder, to, seed=0, shift=0.0, **changes):
    """The same run with another seed and settings, and its accuracies shifted."""
    content = json.loads((folder / "config.json").read_text()) | {"seed": seed, "seeds": {}} | changes
    config = parse_config(content).resolved()
    to.mkdir(parents=True)
    (to / "config.json").write_text(config.to_json())
    for name in ("masks.npz", "versions.json", "history.csv"):
        shutil.copy(folder / name, to / name)
    results = json.loads((folder / "results.json").read_text())
    for readouts in results["accuracy"].values():
        for found in readouts.values():
            found["test"] = min(max(found["test"] + shift, 0.0), 1.0)
            if "per_encoder" in found:
                found["per_encoder"] = [min(max(value + shift, 0.0), 1.0) for value in found["per_encoder"]]
    results["config_digest"] = config.digest()
    (to / "results.json").write_text(json.dumps(results))
    return to


@pytest.fixture(scope="module")
def hundred(trained, tmp_path_factory):
    """A hundred runs: four graphs with 25 seeds each."""
    folder = tmp_path_factory.mktemp("hundred") / "runs"
    for k in range(100):
        graph = {"graph": {"family": GRAPHS[k % 4]}, "temperature": 40.0, "stop_gradient": False, "weights": None}
        copied(trained, folder / f"run_{k:03}", seed=k // 4, shift=0.001 * (k // 4), objective=graph)
    return folder


def written(run_dirs, out, **options):
    found = report.write_report(run_dirs, out, **options)
    return found, out.read_text(encoding="utf-8")


def test_one_run(trained, tmp_path, capsys):
    out = tmp_path / "report.html"
    assert report.main([str(trained), "-o", str(out), "--title", "A <b>try</b>"]) == 0
    assert "1 run in 1 group, " in capsys.readouterr().out
    page = out.read_text(encoding="utf-8")
    results = json.loads((trained / "results.json").read_text())
    for readouts in results["accuracy"].values():
        assert f"{readouts['single']['test']:.3f}" in page and f"{readouts['ensemble']['test']:.3f}" in page
    for part in ("masked input", "untrained", "CLoSeR", "What encoder 3 sees: 16 pixels", "all to all: 12 edges", "coverage"):
        assert part in page
    assert "±" not in re.sub(r"± is half", "", page)  # one seed has no interval
    assert page.count('class="points hover"') == 3 * 10 and "Not drawn" not in page  # ensemble and two encoders, ten digits
    assert "effective rank" in page and "Class mean conditional pseudo-likelihood" in page
    checked_page(page)


def checked_page(page):
    """What holds for every page: inert texts, nothing from elsewhere, accessible tables and pictures."""
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
    assert "<b>" not in page
    urls = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"'\s)>]+)""", page)
    assert all(url.startswith(("data:", "#")) for url in urls)
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")
    assert '<html lang="en">' in page and "<main>" in page and "<nav aria-label" in page
    assert all('alt="' in image for image in re.findall(r"<img[^>]*>", page))
    assert all("aria-label" in svg or "aria-hidden" in svg for svg in re.findall(r"<svg[^>]*>", page))
    assert all('scope="' in header for header in re.findall(r"<th[ >][^>]*>?", page))
    assert page.count("<caption>") == page.count("<table>")


def test_a_hundred_runs(hundred, tmp_path):
    found, page = written([hundred], tmp_path / "report.html", embeddings="none")
    assert found == {"runs": 100, "groups": 4, "unreadable": []}
    assert len(page.encode()) < 3_000_000
    for k, family in enumerate(GRAPHS, start=1):
        assert f'<th scope="row" data-v="{k}">{k}</th><td class="n">25</td><td>{family}</td>' in page
    assert "the 1 key in which they differ" in page
    assert page.count("run_0") >= 100 and "25" in page and "±" in page
    checked_page(page)


def test_three_hundred_runs_of_many_kinds_stay_small(trained, tmp_path):
    for k in range(300):
        copied(trained, tmp_path / "runs" / f"run_{k}", seed=k, masks={"scheme": "gaussian", "fraction": 0.2 + k // 3 / 1000})
    found, page = written([tmp_path / "runs"], tmp_path / "report.html", embeddings="none")
    assert found["groups"] == 100 and len(page.encode()) < 6_000_000
    assert "the first 4 of 100 groups" in page and page.count("What encoder 0 sees") == 4


def test_only_seeds_may_differ_within_a_group(trained, tmp_path):
    folders = [copied(trained, tmp_path / f"seed_{k}", seed=k, shift=k / 10) for k in range(3)]
    folders.append(copied(trained, tmp_path / "again", seed=1, shift=0.1, description="the same seed once more"))
    folders.append(copied(trained, tmp_path / "longer", training={"epochs": 3, "batch_size": 256}))
    other_protocol = copied(trained, tmp_path / "other_readout", seed=7)
    results = json.loads((other_protocol / "results.json").read_text())
    results["protocol"]["max_iter"] = 1000
    (other_protocol / "results.json").write_text(json.dumps(results))
    groups = reading.group_runs([reading.read_run(folder) for folder in [*folders, other_protocol]])
    assert [len(group.runs) for group in groups] == [4, 1, 1]
    assert reading.differing_keys(groups) == ["training.epochs", "readout.max_iter"]
    row = next(row for row in accuracy.accuracy_rows(groups) if row["condition"] == "closer")
    single = row["readouts"]["single"]
    assert single["seeds"] == 3 and single["half"] == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-6)
    assert "counted once" in groups[0].notes[0]


def test_files_of_one_name_in_two_folders_are_two_groups(trained, tmp_path):
    folders = []
    for k in range(2):
        masks = {"scheme": "custom", "path": str(tmp_path / f"{k}" / "masks.npy")}
        folders.append(reading.read_run(copied(trained, tmp_path / f"run_{k}", seed=k, masks=masks)))
    groups = reading.group_runs(folders)
    assert reading.differing_keys(groups) == ["masks.path"] and groups[0].label == "CLoSeR, path=0/masks.npy"


def test_groups_are_told_apart_by_what_parts_them(trained, tmp_path):
    """However many keys differ: by as few as do, and by no text that is cut before it differs."""
    edges = [[[0, k], [k, 0], *([i, j] for i in range(4) for j in range(4) if i != j and 0 not in (i, j))] for k in (1, 2, 3)]
    runs = []
    for k, (temperature, listed) in enumerate([(40.0, 0), (40.0, 1), (80.0, 0), (80.0, 2)]):
        graph = {"family": "custom", "edges": edges[listed]}
        changes = {
            "objective": {"graph": graph, "temperature": temperature, "stop_gradient": False, "weights": None},
            "augmentation": {"horizontal_flip": False, "rotation": temperature / 1000},  # goes with the temperature
            "optimizer": {"learning_rate": temperature / 1e5},
        }
        runs.append(reading.read_run(copied(trained, tmp_path / f"run_{k}", **changes)))
    groups = reading.group_runs(runs)
    assert len({group.told for group in groups}) == 4
    assert all(len(group.told.split("=")) == 3 for group in groups), [group.told for group in groups]  # two keys, not four
    page = written([run.folder.path for run in runs], tmp_path / "report.html", embeddings="none")[1]
    for group, run in zip(groups, runs):
        assert group.told in html.unescape(page) and group.folders == run.folder.path.name in page
    values = reading.shown_values(groups, "objective.graph.edges", 40)
    assert len(set(values)) == 3 and values[0] == values[2] and all(len(value) < 50 for value in values)


def test_many_keys_stand_below_each_other(trained, tmp_path):
    other = {
        "encoder": {"type": "mlp", "hidden": [9], "embedding_dim": 5, "dropout": 0.3, "l1": 0.1, "l2": 0.2},
        "masks": {"scheme": "random_patches", "patch_size": 2, "fraction": 0.5},
        "optimizer": {"learning_rate": 0.5, "beta_1": 0.5, "beta_2": 0.5},
        "augmentation": {"rotation": 0.1, "zoom": 0.1},
    }
    folders = [copied(trained, tmp_path / "one"), copied(trained, tmp_path / "two", **other)]
    page = written(folders, tmp_path / "report.html", embeddings="none")[1]
    section = page[page.index('id="groups"') : page.index('id="curves"')]
    assert section.count("<thead><tr><th") == 1 and len(re.findall("<th scope", section.partition("</thead>")[0])) == 3
    assert '<th scope="row">encoder.hidden</th><td class="wrap">[8]</td><td class="wrap">[9]</td>' in section
    assert "1: one; 2: two" in section
    assert '<div class="scroll open"' in section  # none of the keys is out of sight


def test_the_table_of_accuracies_is_shown_whole(trained, tmp_path):
    page = written([trained], tmp_path / "report.html", embeddings="none")[1]
    css = re.sub(r"\s", "", page)
    assert '<div class="scroll open" tabindex="0" role="region" aria-label="Table of accuracies">' in page
    assert ".scroll.open{max-height:none;}" in css


def picture_of_strips(folders):
    rows = accuracy.accuracy_rows(reading.group_runs([reading.read_run(folder) for folder in folders]))
    picture = str(drawing.strips(rows, drawing.Names(), False))
    return rows, picture, [float(value) for value in re.search(r'data-x="([^"]*)"', picture)[1].split()]


def test_two_seeds_have_their_values_and_no_interval(trained, tmp_path):
    folders = [copied(trained, tmp_path / f"{k}", seed=k, shift=-0.1 * k) for k in range(2)]
    rows, picture, (*_, low, high) = picture_of_strips(folders)
    assert all(found["half"] is None for row in rows for found in row["readouts"].values()) and "interval" not in picture
    assert 0 <= low < high <= 1
    page = written(folders, tmp_path / "report.html", embeddings="none")[1]
    first, second = rows[-1]["readouts"]["single"]["values"]
    assert f'<span class="note">({first:.3f}, {second:.3f})</span>' in page


def test_intervals_and_axis_stay_within_what_can_be(trained, tmp_path):
    folders = [copied(trained, tmp_path / f"{k}", seed=k, shift=shift) for k, shift in enumerate((-0.4, 0.0, 0.2))]
    rows, picture, (start, end, low, high) = picture_of_strips(folders)
    assert any(found["mean"] - found["half"] < 0 for row in rows for found in row["readouts"].values())
    assert 0 <= low < high <= 1
    ends = [float(x) for found in re.findall(r'class="interval" d="M([\d.-]+) [\d.]+H([\d.-]+)"', picture) for x in found]
    assert ends and all(start - 0.1 <= x <= end + 0.1 for x in ends)


def test_encoders_of_a_recording_go_by_their_areas(trained, tmp_path):
    areas = ("VISp", "LGd", "CA<1>", "VISrl")
    folder = copied(trained, tmp_path / "mouse")
    fields = area_masks([area for area in areas for _ in range(16)], areas)
    (folder / "masks.npz").write_bytes(fields.to_bytes())
    page = written([folder], tmp_path / "report.html", embeddings="none")[1]
    each = json.loads((folder / "results.json").read_text())["accuracy"]["closer"]["single"]["per_encoder"]
    listed = ", ".join(f"{area} {value:.3f}".replace(" 0.", " .") for area, value in zip(areas, each))
    assert html.escape(listed) in page and '["VISp", "LGd",' in page.replace("\\u003c", "<")
    picture = drawing.graph(reading.read_run(folder).graph(), areas)
    assert all(f">{html.escape(area)}</text>" in picture for area in areas)
    assert "CLoSeR, VISp" in page and "encoder 0" not in page.partition("<script>")[0].replace("data-encoders", "")


def test_axes_of_embeddings_are_named(trained, tmp_path):
    page = written([trained], tmp_path / "report.html")[1]
    assert len(re.findall(r">PC 1 \(\d+% of the variance\)</text>", page)) == 3
    points = np.array([[0.0, 0.0], [1.0, 2.0]])
    picture = str(drawing.scatter(points, np.array([0, 1]), ("a", "b"), "two points", ("across <", "up")))
    assert ">across &lt;</text>" in picture and ">up</text>" in picture and picture.count('class="tick"') > 6


def test_seeds_that_do_not_vary_are_said(trained, tmp_path):
    content = json.loads((trained / "config.json").read_text())
    folders = []
    for k in range(2):
        folder = copied(trained, tmp_path / f"{k}", seed=k)
        content["seed"], content["seeds"] = k, {"masks": 5}
        (folder / "config.json").write_text(parse_config(content).resolved().to_json())
        folders.append(reading.read_run(folder))
    (group,) = reading.group_runs(folders)
    assert group.notes == ["the same in all runs, so not part of the interval: seeds.masks"]


def test_what_cannot_be_read_is_listed(trained, tmp_path, capsys):
    good = copied(trained, tmp_path / "good")
    unfinished = copied(trained, tmp_path / "unfinished", seed=2)
    (unfinished / "results.json").unlink()
    (unfinished / "history.csv").write_text("epoch,seconds,loss\n1,0.1,nan\n")
    damaged = copied(trained, tmp_path / "damaged", seed=3)
    (damaged / "results.json").write_text('{"accuracy": 3}')
    (damaged / "masks.npz").write_bytes(b"no zip")
    (damaged / "versions.json").write_text("[")
    (damaged / "history.csv").write_text("a,b\nx,y\n")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    out = tmp_path / "report.html"
    arguments = [good, unfinished, damaged, broken, tmp_path / "nothing <i>", "-o", out, "--embeddings", "none"]
    assert report.main(list(map(str, arguments))) == 0
    page, said = out.read_text(encoding="utf-8"), capsys.readouterr().out
    assert "3 runs in 2 groups" in said and said.count("not read: ") == 2
    for part in (
        "2 could not be read",
        "no such folder",
        "nothing &lt;i&gt;",
        "damaged: Expecting",
        "unfinished: 1 of 2 epochs",
    ):
        assert part in page
    for part in ("not read out yet", "results.json: damaged", "masks.npz", "versions.json: damaged", "history.csv: damaged"):
        assert part in page
    checked_page(page)


def test_folder_names_that_are_no_text(trained, tmp_path, capsys):
    odd = copied(trained, tmp_path / os.fsdecode(b"run_\xff"))
    arguments = [str(odd), str(tmp_path / "\x1b[31mred"), "-o", str(tmp_path / "report.html"), "--embeddings", "none"]
    assert report.main(arguments) == 0
    assert "run_?" in (tmp_path / "report.html").read_text(encoding="utf-8") and "\x1b" not in capsys.readouterr().out


def test_no_run_at_all_is_an_error_and_leaves_the_old_page(tmp_path, capsys):
    out = tmp_path / "report.html"
    out.write_text("old")
    assert report.main([str(tmp_path / "a"), str(tmp_path), "-o", str(out)]) == 2
    said = capsys.readouterr().err
    assert "none of the 2 folders is a run" in said and "no such folder" in said and "no config.json" in said
    assert out.read_text() == "old"
    assert report.main([str(tmp_path), "-o", str(tmp_path / "none" / "x.html")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_umap_is_asked_for_only_where_it_is_installed(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(embeddings, "find_spec", lambda name: None)
    assert report.main([str(trained), "-o", str(tmp_path / "x.html"), "--embeddings", "umap"]) == 2
    assert "pip install 'closer_tf[umap]'" in capsys.readouterr().err


def test_embeddings_in_two_dimensions():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(30, 2)) @ np.array([[3.0, 0, 1], [0, 2.0, 1]])
    points, axes = embeddings.in_two_dimensions(flat, "pca")
    centred = flat - flat.mean(axis=0)
    np.testing.assert_allclose(points @ points.T, centred @ centred.T, atol=1e-9)  # nothing is lost of a plane
    parts = [int(re.fullmatch(rf"PC {k} \((\d+)% of the variance\)", name)[1]) for k, name in enumerate(axes, start=1)]
    assert sum(parts) in (99, 100, 101) and parts[0] >= parts[1]  # nothing is lost of a plane
    assert embeddings.in_two_dimensions(flat, "tsne")[0].shape == (30, 2)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "run_configs").glob("*.json")), ids=lambda path: path.stem)
def test_published_values_are_those_of_the_shipped_configs(path):
    config = load_config(path)
    said = re.search(r"Published test accuracy \(\d+ seeds\): single ([\d.]+).*?, ensemble ([\d.]+\d)", config.description)
    settings = dict(flat(config.to_dict()))
    if settings.get("dataset.path"):
        settings["dataset.path"] = Path(settings["dataset.path"]).name
    protocol = {"name": "published", "max_iter": 100}
    found = [published(settings, config.condition, readout, protocol) for readout in ("single", "ensemble")]
    if said is None:
        assert found == [None, None]
        return
    for value, text in zip(found, said.groups()):
        assert value is not None and value["mean"] == pytest.approx(float(text), abs=0.0006)
        assert f"igure {value['figure'][:1]}" in config.description
    assert published(settings, config.condition, "single", {"name": "converged", "max_iter": 5000}) is None


def test_every_setting_leads_to_a_published_point():
    """Each value of each setting's axis has its point in the published series."""
    known = json.loads((REPOSITORY / "closer_tf" / "reference" / "published_settings.json").read_text())
    protocol = {"name": "published", "max_iter": 100}
    for entry in known["published"]:
        settings = dict(entry["also"])
        for name in entry["needs"]:
            settings |= known["settings"][name]
        for x in entry.get("x", [None]):
            found = published(settings | {entry.get("x_key"): x}, entry["condition"], entry["readout"], protocol)
            assert 0 < found["mean"] < 1 and found["seeds"] in (10, 30), entry
    stop = {"objective.stop_gradient": True, "objective.graph.family": "random", "objective.graph.num_edges": 20}
    mlp = dict(flat(load_config(REPOSITORY / "run_configs" / "mlp_gaussian.json").to_dict()))
    graph = mlp | stop | {"objective.graph.weighting": "uniform"}
    assert published(graph, "closer", "single", protocol)["mean"] == pytest.approx(0.369465)


def test_published_values_follow_the_settings():
    config = load_config(REPOSITORY / "run_configs" / "mlp_gaussian.json", ["masks.fraction=0.15"])
    settings, protocol = dict(flat(config.to_dict())), {"name": "published", "max_iter": 100}
    assert published(settings, "closer", "single", protocol)["figure"] == "3b"
    assert published(settings, "untrained", "ensemble", protocol)["epochs"] is None
    assert published(settings | {"masks.sigma": 4.0}, "closer", "single", protocol) is None
    assert published(settings | {"optimizer.learning_rate": 0.01}, "closer", "single", protocol) is None
    assert published(settings | {"optimizer.learning_rate": 0.01}, "untrained", "single", protocol) is not None


OF_IMAGES = (
    "objective.local=true",
    'objective.push={"graph":{"family":"star"},"weight":10}',
    "optimizer.beta_1=0.1",
    "training.validation_fraction=0.9",
    "readout.C=[1]",
    "readout.validation_fraction=0.5",
    "compute.precision=bfloat16",
)
OF_NEURONS = (
    "dataset.lag=10",
    "dataset.fold=2",
    "dataset.split=blocks",
    "dataset.full_range=true",
    "dataset.window=3",
    "objective.local=true",
    "encoder.dropout=0.9",
)


@pytest.mark.parametrize(
    "name, condition, change",
    [("mlp_gaussian", "closer", change) for change in OF_IMAGES]
    + [("mouse_751348571_tcloser", "tcloser", change) for change in OF_NEURONS],
)
def test_a_run_of_another_experiment_has_no_published_number(name, condition, change):
    path = REPOSITORY / "run_configs" / f"{name}.json"
    protocol = {"name": "published", "max_iter": 100}
    assert published_values(load_config(path, ["training.epochs=3", "readout.knn_neighbours=3"]), condition, protocol)
    assert not published_values(load_config(path, [change]), condition, protocol)


def test_ticks_have_the_digits_that_tell_them_apart():
    for values in ([0.995, 1.01], [0.1, 0.3], [2560.0, 2561.0], [-3e-4, 5e-4], [0.0, 7.0]):
        scale = drawing.Scale(values, 0, 100)
        ticks = scale.ticks(5)
        assert len({scale.text(tick) for tick in ticks}) == len(ticks)
        assert all(float(scale.text(tick)) == pytest.approx(tick, abs=1e-3 * (values[1] - values[0])) for tick in ticks)


def test_lines_break_where_a_loss_is_not_finite():
    picture = drawing.curves("loss", [("a", "training", [1, 2, 3, 4, 5], [1.0, 2.0, math.nan, 4.0, 5.0])], 200)
    (line,) = re.findall(r'data-what="epoch" d="([^"]*)"', picture)
    assert line.count("M") == 2 and "nan" not in picture


CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
PROBE = """<script>
const table = document.querySelector("#runs table"), button = table.querySelectorAll("th button")[4];
button.focus(); button.click(); button.click();
const values = [...table.tBodies[0].rows].map((row) => Number(row.cells[4].dataset.v ?? row.cells[4].textContent));
const mark = document.querySelector("svg .hover"), box = mark.getBoundingClientRect();
mark.closest("svg").dispatchEvent(new PointerEvent("pointermove", { clientX: box.x + 1, clientY: box.y + box.height / 2 }));
document.title = JSON.stringify({
  sorted: values.every((value, k) => k === 0 || values[k - 1] >= value), rows: values.length,
  sort: button.closest("th").getAttribute("aria-sort"), said: document.getElementById("said").textContent,
  tip: document.getElementById("tip").textContent,
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
});
console.log("the probe ran");
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
@pytest.mark.parametrize("many", [False, True], ids=["one run", "a hundred"])
def test_a_browser_shows_it_without_complaint(many, trained, hundred, tmp_path):
    page = written([hundred if many else trained], tmp_path / "report.html", embeddings="none")[1]
    (tmp_path / "report.html").write_text(page.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=400,900",
    ]
    address = (tmp_path / "report.html").as_uri()
    command = [CHROMIUM, *options, "--enable-logging=stderr", "--v=0", "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert len(console) == 1 and "the probe ran" in console[0], console
    found = json.loads(re.search(r"<title>(.*?)</title>", done.stdout)[1].replace("&amp;", "&"))
    assert found["sorted"] and found["sort"] == "descending" and found["rows"] == (100 if many else 1)
    assert found["said"].startswith("sorted by") and "encoder" in found["tip"] and found["wide"] <= 0
