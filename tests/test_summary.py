import json

import numpy as np
import pytest

from closer_tf import plots, summary, train
from closer_tf.config import parse_config
from closer_tf.errors import RunError
from closer_tf.graphs import directional_ring, measures
from closer_tf.masks import ReceptiveFields


@pytest.fixture
def runs(tmp_path, tiny_config, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny_config["training"]["epochs"] = 1
    (tmp_path / "tiny.json").write_text(json.dumps(tiny_config))
    for seed in (0, 1):
        for condition in ("closer", "supervised"):
            arguments = ["--set", f"seed={seed}", "--set", f"condition={condition}", "--run-dir", f"runs/{condition}_{seed}"]
            assert train.main(["tiny.json", *arguments]) == 0
    capsys.readouterr()
    return sorted(str(path) for path in (tmp_path / "runs").iterdir())


def test_seeds_side_by_side(runs, tmp_path, capsys):
    assert summary.main([*runs, "-o", "results/all"]) == 0
    found = json.loads((tmp_path / "results" / "all.json").read_text())
    assert (tmp_path / "results" / "all.png").exists()
    assert set(found["accuracy"]) == {"masked_input", "untrained", "closer", "supervised"}
    stored = [json.loads((tmp_path / "runs" / f"closer_{k}" / "results.json").read_text()) for k in (0, 1)]
    values = [results["accuracy"]["closer"]["single"]["test"] for results in stored]
    single = found["accuracy"]["closer"]["single"]
    assert single["test"] == values and single["mean"] == pytest.approx(sum(values) / 2) and single["seeds"] == [0, 1]
    assert single["sd"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert single["validation"] == [results["accuracy"]["closer"]["single"]["validation"] for results in stored]
    assert "validation" not in found["accuracy"]["closer"]["majority_vote"]  # which chooses nothing
    assert len(found["accuracy"]["untrained"]["single"]["test"]) == 2 and len(found["runs"]) == 4
    *said, read, written = capsys.readouterr().out.splitlines()
    assert "CLoSeR" in "\n".join(said)
    assert read == f"read: {', '.join(runs)}" and written == "written: results/all.json, results/all.png"
    assert summary.main(["results/all.json", "-o", "anew/all", "--title", "Digits", "--figures", "svg"]) == 0
    ended = ["read: results/all.json", "written: anew/all.json, anew/all.png, anew/all.svg"]
    assert capsys.readouterr().out.splitlines() == [*said, *ended] and (tmp_path / "anew" / "all.svg").exists()
    assert json.loads((tmp_path / "anew" / "all.json").read_text()) == {**found, "title": "Digits"}
    older = {key: value for key, value in found.items() if key not in ("title", "score", "simulated")}
    (tmp_path / "older.json").write_text(json.dumps(older))
    assert summary.main(["older.json", "-o", "anew/older"]) == 0
    assert (tmp_path / "anew" / "older.png").exists() and capsys.readouterr().out.splitlines()[:-2] == said
    (tmp_path / "older.json").write_text("{}")
    assert summary.main(["older.json", "-o", "anew/older"]) == 2
    assert "older.json: expected a file written by" in capsys.readouterr().err


def test_names_with_dots_are_whole_names(runs, tmp_path):
    for name in ("q0.1", "q0.2", "q0.3.json"):
        assert summary.main([*runs, "-o", name]) == 0
    made = {f"q0.{k}.{kind}" for k in (1, 2, 3) for kind in ("json", "png")}
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "tiny.json", *made}


def test_a_run_without_readout_or_with_another_answer(runs, tmp_path, capsys):
    results = json.loads((tmp_path / "runs" / "closer_0" / "results.json").read_text())
    results["accuracy"]["untrained"]["single"]["test"] += 0.1
    (tmp_path / "runs" / "closer_0" / "results.json").write_text(json.dumps(results))
    assert summary.main([*runs, "-o", "x"]) == 2
    assert "another run says" in capsys.readouterr().err
    (tmp_path / "runs" / "closer_0" / "results.json").unlink()
    assert summary.main([*runs, "-o", "x"]) == 2
    assert "not read out yet" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()


def stored_run(folder, seed=0, epochs=1, closer=0.5, simulated=False, **changes):
    """A run folder that holds what the summary reads, without training."""
    content = {"seed": seed, "num_encoders": 3, "training": {"epochs": epochs, "batch_size": 100}, **changes}
    resolved = parse_config(content).resolved()
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(resolved.to_json())
    (folder / "history.csv").write_text("epoch,seconds,loss\n1,2.6,1.0\n")
    conditions = {"untrained": 0.3 + seed / 10, resolved.condition: closer}
    results = {
        "accuracy": {name: {"single": {"test": value}} for name, value in conditions.items()},
        "measures": {"untrained": {"alignment": 0.1, "agreement": None}},
        "samples": {"train": 1212, "validation": 135, "test": 450},
        "protocol": {"probe": "multinomial logistic regression"},
        "chance": 0.1,
        "simulated": simulated,
        "epochs": epochs,
        "seconds": {},
        "versions": {},
        "peak_memory_gb": 1.25,
    }
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def change_results(run, **content):
    stored = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps({**stored, **content}))


def test_runs_that_differ_in_more_than_the_seed_are_told_apart(tmp_path):
    ring = {"objective": {"graph": {"family": "bidirectional_ring"}}}
    folders = [stored_run(tmp_path / f"all_{k}", seed=k, closer=0.5 + k / 10) for k in (0, 1)]
    folders += [stored_run(tmp_path / f"ring_{k}", seed=k, closer=(0.7, 0.8)[k], **ring) for k in (0, 1)]
    folders.append(stored_run(tmp_path / "supervised", condition="supervised", closer=0.9))
    found = summary.summarise(folders)
    variants = {name: readouts["single"]["test"] for name, readouts in found["accuracy"].items()}
    assert variants == {
        "untrained": [0.3, 0.4],
        "closer, objective.graph.family=all_to_all": [0.5, 0.6],
        "closer, objective.graph.family=bidirectional_ring": [0.7, 0.8],
        "supervised": [0.9],
    }
    assert found["accuracy"]["supervised"]["single"]["sd"] is None
    figure = plots.plot_violins({name: {"single": values} for name, values in variants.items()}, 0.1)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["untrained", "CLoSeR, family=all_to_all", "CLoSeR, family=bidirectional_ring", "supervised"]


def test_runs_that_were_done_otherwise_than_their_configs_say_are_told_apart(tmp_path):
    runs = [stored_run(tmp_path / f"closer_{seed}", seed=seed, epochs=3) for seed in (0, 1, 2, 3)]

    change_results(runs[1], epochs=2)
    change_results(runs[2], epochs=2, step=4)
    change_results(runs[3], changes=[{"event": "learning rate", "epoch": 1, "from": 0.1, "to": 0.01}])
    found = summary.summarise(runs)["accuracy"]
    of_closer = {name: values["single"]["seeds"] for name, values in found.items() if name.startswith("closer")}
    rest = "learning rate changed at={}, steps of the next epoch={}, training.epochs={}"
    assert of_closer == {
        f"closer, {rest.format([], 0, 3)}": [0],
        f"closer, {rest.format([], 0, 2)}": [1],
        f"closer, {rest.format([], 4, 2)}": [2],
        f"closer, {rest.format([[1, 0.01]], 0, 3)}": [3],
    }
    assert found["untrained"]["single"]["seeds"] == [0, 1, 2, 3]
    assert summary.main([*map(str, runs), "-o", str(tmp_path / "all")]) == 0
    assert summary.main([*map(str, runs[:2]), "-o", str(tmp_path / "two")]) == 0
    assert summary.summarise([tmp_path / "all.json"])["accuracy"] == found
    before = json.loads((tmp_path / "two.json").read_text())  # a file from before says less, and keeps what it has
    for about in before["runs"].values():
        del about["step"]
        about["changes"] = [{"event": "learning rate", "epoch": 1, "to": 0.01}] * (about["epochs"] == 3)
    (tmp_path / "before.json").write_text(json.dumps(before))
    assert summary.summarise([tmp_path / "before.json"])["accuracy"] == before["accuracy"]
    shorter = summary.summarise([tmp_path / "two.json"])["accuracy"]
    assert {*shorter} == {"untrained", "closer, training.epochs=3", "closer, training.epochs=2"}


def test_another_protocol_is_another_variant(tmp_path):
    runs = [stored_run(tmp_path / f"closer_{seed}", seed=seed) for seed in (0, 1)]
    for run, iterations in zip(runs, (10, 100)):
        change_results(run, protocol={"name": "published", "max_iter": iterations, "C": [0.1]})
    found = summary.summarise(runs)["accuracy"]
    assert {name for name in found if "closer" in name} == {f"closer, readout.max_iter={count}" for count in (10, 100)}
    config = json.loads((runs[0] / "config.json").read_text())
    config["readout"]["precision"] = "float32"
    (runs[0] / "config.json").write_text(json.dumps(config))
    change_results(runs[0], protocol={"name": "converged", "max_iter": 5000, "C": [0.1]})
    (tmp_path / "one.json").write_text(json.dumps({"title": "", **summary.summarise(runs[:1])}))
    assert summary.summarise([tmp_path / "one.json"])["accuracy"]["closer"]["single"]["test"] == [0.5]


def test_conditions_that_a_config_did_not_ask_for_stay_in_a_file(tmp_path):
    runs = [stored_run(tmp_path / f"closer_{seed}", seed=seed) for seed in (0, 1)]
    accuracy = json.loads((runs[0] / "results.json").read_text())["accuracy"]
    change_results(runs[0], accuracy={**accuracy, "pca": {"single": {"test": 0.61}}}, seconds={"pca": 1.0})
    assert summary.main([str(runs[0]), "-o", str(tmp_path / "one")]) == 0
    made = json.loads((tmp_path / "one.json").read_text())
    assert summary.summarise([tmp_path / "one.json", runs[1]])["accuracy"]["pca"]["single"]["test"] == [0.61]
    (about,) = made["runs"].values()
    about["config"]["readout"]["conditions"] = ["untrained"]  # a file from before
    (tmp_path / "one.json").write_text(json.dumps(made))
    assert summary.summarise([tmp_path / "one.json", runs[1]])["accuracy"]["pca"]["single"]["test"] == [0.61]


def test_masks_of_one_name_and_another_content_are_told_apart(tmp_path):
    runs = []
    for seed, cells in enumerate(([0, 1], [0, 1], [2, 5])):
        masks = {"scheme": "custom", "path": str(tmp_path / str(seed) / "m.npy")}
        runs.append(stored_run(tmp_path / f"closer_{seed}", seed=seed, masks=masks))
        (runs[-1] / "masks.npz").write_bytes(ReceptiveFields((np.array(cells),) * 3, (8, 8)).to_bytes())
    found = summary.summarise(runs)
    seeds = [
        values["single"]["seeds"] for name, values in found["accuracy"].items() if name.startswith("closer, masks.content=")
    ]
    assert sorted(seeds) == [[0, 1], [2]] and "masks.content" in "".join(found["accuracy"])
    assert {*summary.summarise(runs[:2])["accuracy"]} == {"untrained", "closer"}
    (tmp_path / "all.json").write_text(json.dumps({"title": "", **found}))
    assert summary.summarise([tmp_path / "all.json"])["accuracy"] == found["accuracy"]
    one = {"title": "", **summary.summarise(runs[:1])}
    del one["runs"]["closer_0"]["masks"]  # a file from before
    (tmp_path / "one.json").write_text(json.dumps(one))
    assert {*summary.summarise([tmp_path / "one.json", runs[1]])["accuracy"]} == {"untrained", "closer"}


def test_one_run_done_twice_is_no_two_seeds(tmp_path):
    seeds = parse_config({"seed": 0, "num_encoders": 3}).resolved().seeds.model_dump()
    runs = [stored_run(tmp_path / f"closer_{seed}", seed=seed, seeds=seeds) for seed in (0, 1)]
    with pytest.raises(
        RunError, match="closer_1: seed 1, but all its seeds.* are those of .*closer_0, seed 0: the two are one"
    ):
        summary.summarise(runs)
    fixed = [stored_run(tmp_path / f"fixed_{seed}", seed=seed, seeds={"masks": 3}) for seed in (0, 1)]
    assert summary.summarise(fixed)["accuracy"]["closer"]["single"]["seeds"] == [0, 1]


def test_a_readout_that_was_stopped_is_no_result(tmp_path):
    run = stored_run(tmp_path / "closer_0")
    change_results(run, accuracy={"untrained": {"single": {"test": 0.3}}})
    with pytest.raises(RunError, match=r"closer is not among what was read out \(untrained\): was the readout stopped"):
        summary.summarise([run])


def test_a_file_stands_for_the_runs_that_it_is_of(tmp_path, capsys):
    ring = {"objective": {"graph": {"family": "directional_ring"}}}
    one, two, other, fresh = folders = [
        stored_run(tmp_path / "a" / "seed_0"),
        stored_run(tmp_path / "a" / "seed_1", seed=1),
        stored_run(tmp_path / "b" / "seed_0", closer=0.7, **ring),
        stored_run(tmp_path / "c" / "seed_1", seed=1, closer=0.8, **ring),
    ]
    whole = summary.summarise(folders)
    for name, members in (("first", [one, two]), ("second", [other])):
        assert summary.main([*map(str, members), "-o", str(tmp_path / name), "--title", name]) == 0
    for folder in (one, two, other):
        (folder / "results.json").unlink()
    files = [tmp_path / "first.json", tmp_path / "second.json"]
    joined = summary.summarise([*files, fresh])
    assert {key: value for key, value in joined.items() if key != "runs"} == {k: v for k, v in whole.items() if k != "runs"}
    assert list(joined["runs"]) == ["seed_0", "seed_1", "seed_0_2", "c/seed_1"]
    assert list(joined["runs"].values()) == list(whole["runs"].values())
    assert summary.summarise([files[0], files[0]]) == summary.summarise(files[:1])  # what is given twice counts once
    assert summary.main([str(files[0]), str(fresh), "-o", str(tmp_path / "joined")]) == 0
    found = json.loads((tmp_path / "joined.json").read_text())
    assert found["title"] == "" and found["accuracy"]["closer, objective.graph.family=directional_ring"]["single"]["seeds"] == [
        1
    ]
    seen = json.loads((fresh / "results.json").read_text())
    seen["accuracy"]["closer"]["single"]["validation"] = 0.75
    (fresh / "results.json").write_text(json.dumps(seen))
    assert summary.main([str(files[1]), str(fresh), "-o", str(tmp_path / "seen")]) == 0
    single = summary.summarise([tmp_path / "seen.json", tmp_path / "first.json"])["accuracy"][
        "closer, objective.graph.family=directional_ring"
    ]["single"]
    assert single["seeds"] == [0, 1] and single["validation"] == [None, 0.75]  # seed 0 was not looked at
    clash = stored_run(tmp_path / "clash", closer=0.9)
    capsys.readouterr()
    assert summary.main([str(clash), str(files[0]), "-o", str(tmp_path / "joined")]) == 2
    assert f"{files[0]}: seed_0: closer single of seed 0 is 0.5, another run says 0.9" in capsys.readouterr().err
    assert json.loads((tmp_path / "joined.json").read_text()) == found


def test_a_run_of_a_file_gives_way_to_one_that_was_done_again(tmp_path, capsys):
    older = [str(stored_run(tmp_path / "older" / f"seed_{seed}", seed=seed, closer=0.5)) for seed in (0, 1)]
    assert summary.main([*older, "-o", str(tmp_path / "older")]) == 0
    again, file, out = str(stored_run(tmp_path / "again" / "seed_1", seed=1, closer=0.6)), str(tmp_path / "older.json"), "new"
    capsys.readouterr()

    def join(*arguments):
        return summary.main([*arguments, "-o", str(tmp_path / out)]), capsys.readouterr().err

    code, errors = join(file, again)
    assert code == 2 and "seed 1 is 0.6, another run says 0.5; leave one of the two " in errors
    assert join(file, again, "--leave-out", "seed_1") == (0, "")
    found = json.loads((tmp_path / "new.json").read_text())
    assert found["accuracy"]["closer"]["single"]["test"] == [0.5, 0.6] and list(found["runs"]) == ["seed_0", "seed_1"]
    assert join(file, "--leave-out", "seed_1") == (0, "")  # a file alone, too
    assert json.loads((tmp_path / "new.json").read_text())["accuracy"]["closer"]["single"]["seeds"] == [0]
    code, errors = join(file, again, "--leave-out", "seed_7")
    assert code == 2 and "--leave-out seed_7: no file given here has a run of that name, but seed_0, seed_1" in errors
    code, errors = join(file, "--leave-out", "seed_0", "--leave-out", "seed_1")
    assert code == 2 and "no run is left to make a summary of" in errors


def test_a_summary_over_folds_is_not_joined(tmp_path, capsys):
    folders = [str(fold_run(tmp_path, 0, fold, 0.5)) for fold in (0, 1)]
    assert summary.main([*folders, "-o", str(tmp_path / "cv"), "--over-folds"]) == 0
    more = [str(fold_run(tmp_path, 1, fold, 0.5)) for fold in (0, 1)]
    capsys.readouterr()
    assert summary.main([str(tmp_path / "cv.json"), *more, "-o", str(tmp_path / "all"), "--over-folds"]) == 2
    assert "cv.json: a summary over folds stays as it was made; give the run folders instead" in capsys.readouterr().err


def test_folders_of_one_name_are_all_there_with_gauge_and_graph(tmp_path):
    folders = [stored_run(tmp_path / name / "seed_0", **settings) for name, settings in (("a", {}), ("b", {"epochs": 2}))]
    (folders[1] / "history.csv").write_text("epoch,seconds,loss,effective_rank,embedding_sd\n1,2,3,4,5\n2,2,3,4.5,5.5\n")
    results = json.loads((folders[1] / "results.json").read_text())
    measured = measures(directional_ring(3))
    (folders[1] / "results.json").write_text(json.dumps(results | {"graph": measured}))
    found = summary.summarise(folders)["runs"]
    assert list(found) == ["seed_0", "b/seed_0"]
    assert found["b/seed_0"]["collapse_gauge"] == {"embedding_sd": 5.5, "effective_rank": 4.5}
    assert found["b/seed_0"]["graph"] == measured and "graph" not in found["seed_0"]


def test_what_does_not_change_a_result_makes_no_variant(tmp_path):
    one = stored_run(tmp_path / "one")
    two = stored_run(tmp_path / "two", seed=1, description="x", compute={"loss_memory_mb": 9.0}, readout={"conditions": []})
    assert set(summary.summarise([one, two])["accuracy"]) == {"untrained", "closer"}
    longer = stored_run(tmp_path / "longer", epochs=2)
    names = {"untrained", "closer, training.epochs=1", "closer, training.epochs=2"}
    assert set(summary.summarise([one, longer])["accuracy"]) == names


def test_precision_makes_a_variant_of_what_encoders_compute(tmp_path):
    folders = [stored_run(tmp_path / name, compute={"precision": name}) for name in ("float32", "bfloat16")]
    folders.append(stored_run(tmp_path / "seed", seed=1, compute={"precision": "float32", "loss_memory_mb": 9.0}))
    found = summary.summarise(folders)["accuracy"]
    precisions = ("float32", "bfloat16")
    assert set(found) == {f"{name}, compute.precision={kind}" for name in ("closer", "untrained") for kind in precisions}
    assert found["closer, compute.precision=float32"]["single"]["seeds"] == [0, 1]
    assert found["closer, compute.precision=bfloat16"]["single"]["seeds"] == [0]


def test_weights_are_compared_within_a_condition(tmp_path):
    lpl = stored_run(tmp_path / "lpl", condition="lpl")
    tcloser = stored_run(tmp_path / "tcloser", condition="tcloser")
    assert set(summary.summarise([lpl, tcloser])["accuracy"]) == {"untrained", "lpl", "tcloser"}
    other = stored_run(tmp_path / "other", condition="lpl", objective={"weights": {"cov": 1.0}})
    names = {"untrained", "tcloser", "lpl, objective.weights.cov=1.0", "lpl, objective.weights.cov=10.0"}
    assert set(summary.summarise([lpl, tcloser, other])["accuracy"]) == names


SESSION = {"dataset": {"name": "simulated"}, "masks": {"scheme": "areas"}}


def test_cross_validation_is_a_mean_over_folds_of_each_seed(tmp_path, capsys):
    values = {(0, 0): 0.5, (0, 1): 0.6, (0, 2): 0.7, (1, 0): 0.3, (1, 1): 0.5, (1, 2): 0.4}
    folders = [fold_run(tmp_path, seed, fold, value) for (seed, fold), value in values.items()]
    with pytest.raises(
        RunError, match="chance 0.1000; accuracy, chance 0.1200. Folds of one recording go together with --over-folds"
    ):
        summary.summarise(folders)
    assert len(summary.summarise([folders[0], folders[2]])["accuracy"]) == 4  # untold, a fold is a variant
    assert summary.main([*map(str, folders), "-o", str(tmp_path / "cv"), "--over-folds"]) == 0
    found = json.loads((tmp_path / "cv.json").read_text())
    assert found["folds"] == [0, 1, 2] and set(found["accuracy"]) == {"untrained", "tcloser"}
    single = found["accuracy"]["tcloser"]["single"]
    assert single["seeds"] == [0, 1] and single["test"] == pytest.approx([0.6, 0.4]) and single["mean"] == pytest.approx(0.5)
    assert single["sd"] == pytest.approx(0.1 * 2**0.5) and single["by_fold"] == [[0.5, 0.6, 0.7], [0.3, 0.5, 0.4]]
    said = capsys.readouterr().out.splitlines()
    assert f"{'TCLoSeR':>14} {'single':>9}  0.5000 +- 0.1414 (sd, 2 seeds, 3 folds each, sd over folds 0.1000)" in said
    assert found["chance_by_fold"] == pytest.approx([0.1, 0.12, 0.1]) and found["chance"] == pytest.approx(0.32 / 3)
    again = summary.read_summary(tmp_path / "cv.json")
    assert {config.dataset.fold: results.chance for config, results in again.values()} == dict(
        enumerate(found["chance_by_fold"])
    )
    kept = {
        config.dataset.fold: results.accuracy["tcloser"]["single"].test for config, results in again.values() if not config.seed
    }
    assert kept == {0: 0.5, 1: 0.6, 2: 0.7}
    assert summary.main([str(tmp_path / "cv.json"), "-o", str(tmp_path / "anew")]) == 0
    assert json.loads((tmp_path / "anew.json").read_text()) == found and capsys.readouterr().out.splitlines()[:-2] == said[:-2]


def test_cross_validation_wants_every_fold_of_every_seed(tmp_path):
    folders = [fold_run(tmp_path, seed, fold, 0.5) for seed, fold in [(0, 0), (0, 1), (1, 0)]]
    with pytest.raises(RunError, match=r"seed 1: no run of fold 1; --over-folds wants each of \[0, 1\] of every seed"):
        summary.summarise(folders, over_folds=True)
    with pytest.raises(RunError, match="all runs are of fold 0; --over-folds wants others"):
        summary.summarise(folders[::2], over_folds=True)
    with pytest.raises(RunError, match="its data has no folds; leave out --over-folds"):
        summary.summarise([stored_run(tmp_path / "digits")], over_folds=True)


def test_runs_of_one_fold_have_one_chance(tmp_path):
    folders = [fold_run(tmp_path, seed, fold, 0.5) for seed in (0, 1) for fold in (0, 1)]
    results = json.loads((folders[0] / "results.json").read_text())
    (folders[0] / "results.json").write_text(json.dumps({**results, "chance": 0.6}))
    with pytest.raises(RunError, match="the runs have different data or labels: accuracy, chance 0.1000; .* chance 0.6000"):
        summary.summarise(folders, over_folds=True)


def fold_run(tmp_path, seed, fold, value):
    data = {**SESSION["dataset"], "fold": fold}
    folder = stored_run(tmp_path / f"{seed}_{fold}", seed, closer=value, condition="tcloser", **{**SESSION, "dataset": data})
    results = json.loads((folder / "results.json").read_text())
    results["chance"] += 0.02 * (fold == 1)  # as where classes do not divide evenly
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_steps_seconds_memory_and_simulated_data(tmp_path, capsys):
    folder = stored_run(tmp_path / "one", simulated=True)
    assert summary.main([str(folder), "-o", str(tmp_path / "out"), "--title", "a try"]) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    about = found["runs"]["one"]
    # 1347 samples, of which 135 are the training's validation set: 1212 in batches of 100
    assert about["steps_per_epoch"] == 13 and about["seconds_per_step"] == pytest.approx(0.2)
    assert about["peak_memory_gb"] == 1.25 and found["simulated"] is True and found["score"] == "accuracy"
    assert "(1 seed)" in capsys.readouterr().out
    with pytest.raises(RunError, match="different data or labels: accuracy, chance 0.1000; accuracy, chance 0.1000, simulated"):
        summary.summarise([folder, stored_run(tmp_path / "two")])
