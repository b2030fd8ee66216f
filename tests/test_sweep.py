"""Sweep files, their points, and how a sweep takes in what becomes of them; without a cluster."""

import contextlib
import gc
import json
import os
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest

from closer_tf import sweep as command
from closer_tf.common.command import Interrupted
from closer_tf.config import load_config, parse_config
from closer_tf.config.identity import baseline_of, run_name
from closer_tf.errors import BusyError, ConfigError, RunError
from closer_tf.report import write_report
from closer_tf.summary import summarise
from closer_tf.sweeps import report, worker
from closer_tf.sweeps.cluster import import_distributed, local_cluster, make_batch_cluster, running_cluster
from closer_tf.sweeps.config import json_schema, load_sweep, parse_sweep, run_configs
from closer_tf.sweeps.engine import Sweep, stopping_on_signals
from closer_tf.sweeps.points import baseline_config, is_finished, progress_of, sweep_points
from closer_tf.train import train_run
from closer_tf.training.runs import RunFolder

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def content(tiny_config):
    """A sweep as plain data."""
    return {
        "base": tiny_config,
        "grid": {"masks.fraction": [0.25, 0.5]},
        "list": [{}, {"set": {"condition": "supervised"}, "seeds": [7]}],
        "seeds": [0, 1],
        "retries": 1,
    }


def write(tmp_path, content):
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    return str(tmp_path / "sweep.json")


def test_the_points_are_grid_times_list_times_seeds(content):
    found = [
        (config.condition, config.masks.fraction, config.seed, baselines)
        for _, config, baselines in run_configs(parse_sweep(content))
    ]
    both = ["masked_input", "untrained"]
    assert found == [
        ("closer", 0.25, 0, both),
        ("closer", 0.25, 1, both),
        ("closer", 0.5, 0, both),
        ("closer", 0.5, 1, both),
        ("supervised", 0.25, 7, both),
        ("supervised", 0.5, 7, both),
    ]


def test_baselines_are_there_once_per_masks_and_seed(content):
    content["list"] = [
        {},
        {"set": {"condition": "supervised"}},
        {"set": {"objective.stop_gradient": True, "training.epochs": 2}},
    ]
    points = sweep_points(parse_sweep(content))
    trained = [point for point in points if point.trained]
    baselines = [point for point in points if point.baseline]
    assert len(trained) == 3 * 2 * 2 and len({point.name for point in points}) == len(points)
    assert all(point.config.readout.conditions == [] for point in points)
    assert (
        [b.config.condition for b in baselines].count("untrained")
        == [b.config.condition for b in baselines].count("masked_input")
        == 2 * 2
    )  # not 3 * 2 * 2
    for point in trained:
        for condition in ("untrained", "masked_input"):
            (one,) = [
                b for b in baselines if b.config.condition == condition
                and baseline_of(b.config, condition) == baseline_of(point.config, condition)
            ]  # fmt: skip
            assert one.config.seeds.masks == point.config.seeds.masks and one.config.masks == point.config.masks


def test_masked_input_is_shared_by_all_encoders(content):
    content["grid"] = {"encoder.embedding_dim": [4, 8]}
    conditions = [point.config.condition for point in sweep_points(parse_sweep(content | {"list": []}))]
    assert conditions.count("untrained") == 4 and conditions.count("masked_input") == 2


def test_full_input_is_shared_by_all_masks(content):
    points = sweep_points(parse_sweep(content | {"list": [], "baselines": ["full_input"]}))
    assert [point.config.condition for point in points].count("full_input") == 2  # seeds alone


def test_a_baseline_reads_out_what_the_point_itself_would(tiny_config, tmp_path):
    tiny_config["training"]["epochs"] = 1
    (tmp_path / "c.json").write_text(json.dumps(tiny_config))
    config = load_config(tmp_path / "c.json")
    together = train_run(config, tmp_path / "together")
    for condition in ("untrained", "masked_input"):
        alone = train_run(baseline_config(config, condition), tmp_path / condition)
        assert list(alone["accuracy"]) == [condition]
        assert alone["accuracy"][condition] == together["accuracy"][condition]
        assert alone["measures"].get(condition) == together["measures"].get(condition)
    joined = summarise([tmp_path / name for name in ("together", "untrained", "masked_input")])
    assert set(joined["accuracy"]) == {"closer", "untrained", "masked_input"}


def test_a_run_has_the_same_name_in_every_sweep(content):
    one = sweep_points(parse_sweep(content))
    other = sweep_points(parse_sweep(content | {"grid": {"masks.fraction": [0.5]}, "baselines": []}))
    assert {point.name for point in other} < {point.name for point in one}
    assert all(point.name == run_name(point.config) for point in one)


def test_recordings_of_two_files_are_two_runs(content):
    base = {"num_encoders": 2, "masks": {"scheme": "areas"}, "condition": "tcloser"}
    grid = {"dataset": [{"name": "session", "path": path} for path in ("a/one.npz", "a/two.npz", "b/one.npz")]}
    with pytest.raises(ConfigError, match="the same training and differ in"):  # a/one.npz, b/one.npz
        sweep_points(parse_sweep({"base": base, "grid": grid}))
    grid["dataset"].pop()
    assert len(sweep_points(parse_sweep({"base": base, "grid": grid}))) == 2 * 3


@pytest.mark.parametrize(
    "change, message",
    [
        ({"sedes": [1]}, "sedes: unknown key 'sedes'. Did you mean 'seeds'?"),
        ({"seeds": [-1]}, "seeds.0: expected greater than or equal to 0, found -1"),
        ({"seeds": []}, "seeds: "),
        ({"grid": {"masks.fraction": 0.5}}, "grid.masks.fraction: expected a valid list, found 0.5"),
        ({"list": [{"gird": {}}]}, "list.0.gird: unknown key 'gird'. Did you mean 'grid'?"),
        ({"baselines": ["trained"]}, "baselines.0: expected 'masked_input', 'full_input', 'pca' or 'untrained'"),
        ({"retries": 1.5}, "retries: expected"),
    ],
)
def test_mistakes_in_a_sweep_name_the_key(content, tmp_path, change, message):
    with pytest.raises(ConfigError) as error:
        load_sweep(write(tmp_path, content | change))
    assert f"sweep.json: {message}" in str(error.value)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"grid": {"masks.fractoin": [1]}}, "point masks.fractoin=1, seed=0: masks.fractoin: unknown key 'fractoin'"),
        ({"grid": {"masks.fraction": [2]}}, "point masks.fraction=2, seed=0: masks.fraction: expected less than or equal to 1"),
        ({"grid": {"condition.x": [2]}}, "point condition.x=2, seed=0: 'condition' is \"closer\", it has no keys below it"),
        ({"grid": {"seed": [1]}}, "seed: expected under 'seeds'"),
        ({"set": {"readout.conditions": []}}, "readout.conditions: expected under 'baselines'"),
        ({"set": {"masks.fraction": 0.1}}, "grid.masks.fraction: expected under 'grid' or under 'set', found under both"),
        ({"base": "none.json"}, "base: "),
        ({"base": None}, "base: this key is required and absent"),
        ({"grid": {"masks.fraction": [0.1] * 400, "encoder.dropout": [0.1] * 400}}, "more than 100,000 points"),
    ],
)
def test_mistakes_in_a_point_name_point_and_key(content, tmp_path, change, message):
    tiny = content["base"] | {"condition": "closer"}
    path = write(tmp_path, {"base": tiny, **{k: v for k, v in content.items() if k == "grid"}, **change})
    with pytest.raises(ConfigError) as error:
        sweep_points(load_sweep(path), path)
    assert str(error.value).startswith(path) and message in str(error.value)


def test_overrides_come_last_but_not_over_what_varies(content):
    points = run_configs(parse_sweep(content), overrides=["training.epochs=9"], seeds=[3])
    assert {(config.training.epochs, config.seed) for _, config, _ in points} == {(9, 3)}
    with pytest.raises(ConfigError, match="the sweep varies 'masks.fraction' itself"):
        run_configs(parse_sweep(content), overrides=["masks.fraction=.1"])
    with pytest.raises(ConfigError, match="the sweep varies 'masks.fraction' itself"):
        run_configs(parse_sweep(content), overrides=['masks={"scheme": "gaussian", "fraction": 0.25}'])
    whole = content | {"grid": {"objective": [{"stop_gradient": True}, {"stop_gradient": False}]}}
    points = run_configs(parse_sweep(whole), overrides=["objective.temperature=7"])  # of all alike
    assert {config.objective.temperature for _, config, _ in points} == {7.0}


def test_a_key_is_given_its_value_once(content):
    objectives = [{"stop_gradient": True}, {"stop_gradient": False}]
    lost = content | {"set": {"objective.temperature": 7}, "grid": {"objective": objectives}, "list": []}
    in_list = lost | {"grid": {}, "list": [{"grid": {"objective": objectives}}]}
    for where, wrong in (("", lost), ("list.0.", in_list)):
        with pytest.raises(ConfigError, match=f"{where}objective.temperature: 'objective', which is set after it, takes"):
            run_configs(parse_sweep(wrong))
    schemes = [{"scheme": "gaussian"}, {"scheme": "random_patches", "patch_size": 2}]
    varied = {"masks": schemes, "masks.fraction": [0.25, 0.5]}
    found = run_configs(parse_sweep(content | {"grid": varied, "list": [], "seeds": [0]}))
    assert [(config.masks.scheme, config.masks.fraction) for _, config, _ in found] == [
        (scheme, q) for scheme in ("gaussian", "random_patches") for q in (0.25, 0.5)
    ]
    with pytest.raises(ConfigError, match="masks.fraction: 'masks', which is set after it, takes its place"):
        run_configs(parse_sweep(content | {"grid": {"masks.fraction": [0.25, 0.5], "masks": schemes}, "list": []}))
    schemes[0]["fraction"] = 0.3
    with pytest.raises(ConfigError, match="masks.fraction: values of 'grid.masks' hold it, too"):
        run_configs(parse_sweep(content | {"grid": varied, "list": []}))
    below = content | {"set": {"objective": {"stop_gradient": True}}, "grid": {"objective.temperature": [7, 8]}, "list": []}
    found = [config.objective for _, config, _ in run_configs(parse_sweep(below))]
    assert {(one.stop_gradient, one.temperature) for one in found} == {(True, 7.0), (True, 8.0)}


def test_seeds_of_a_base_with_every_default_written_out_are_seeds(content):
    (_, resolved, _), *_ = run_configs(parse_sweep(content))
    again = content | {"base": resolved.to_dict(), "grid": {}, "list": [], "seeds": [0, 1, 2]}
    configs = [config for _, config, _ in run_configs(parse_sweep(again))]
    assert len({config.seeds.initialization for config in configs}) == 3
    assert configs[0].seeds == resolved.seeds
    pinned = content | {"set": {"seeds.masks": resolved.seeds.masks}, "grid": {}, "list": [], "seeds": [0, 1, 2]}
    configs = [config for _, config, _ in run_configs(parse_sweep(pinned))]
    assert {config.seeds.masks for config in configs} == {resolved.seeds.masks}
    assert len({config.seeds.initialization for config in configs}) == 3


def test_two_points_that_differ_in_the_readout_alone_are_refused(content):
    with pytest.raises(ConfigError, match="are the same training and differ in 'readout'"):
        sweep_points(parse_sweep(content | {"grid": {"readout.max_iter": [10, 20]}}))


def test_the_schema_that_ships_is_up_to_date_and_fits_the_shipped_sweeps():
    stored = json.loads((REPOSITORY / "closer_tf" / "sweep.schema.json").read_text())
    assert stored == json_schema(), "run: python -m closer_tf.sweeps > closer_tf/sweep.schema.json"
    for path in (REPOSITORY / "run_configs" / "sweeps").glob("*.json"):
        jsonschema.validate(json.loads(path.read_text()), stored)
        assert sweep_points(load_sweep(path), str(path))


def test_how_far_a_point_is(tiny_config, tmp_path):
    tiny_config["training"]["epochs"] = 2
    (point,) = sweep_points(parse_sweep({"base": tiny_config, "baselines": []}))
    run = RunFolder(tmp_path / point.name)
    assert progress_of(point, tmp_path) == ("new", 0)
    train_run(point.config, run.path)
    assert progress_of(point, tmp_path) == ("done", 2) and is_finished(run, point.config)
    kept = run.results_file.read_text()
    for damage in ("{", json.dumps(json.loads(kept) | {"epochs": 1})):
        run.results_file.write_text(damage)
        assert progress_of(point, tmp_path) == ("interrupted", 2)
    run.results_file.write_text(kept)
    (other,) = sweep_points(parse_sweep({"base": tiny_config, "set": {"readout.max_iter": 3}, "baselines": []}))
    assert other.name == point.name and progress_of(other, tmp_path)[0] == "interrupted"  # to be read out in another way
    (changed,) = sweep_points(parse_sweep({"base": tiny_config, "set": {"masks.fraction": 0.5}, "baselines": []}))
    os.rename(run.path, tmp_path / changed.name)
    with pytest.raises(RunError, match="holds a run of another config"):
        progress_of(changed, tmp_path)
    assert Sweep("s", [changed], tmp_path).outcomes[0].state == "failed"


@pytest.mark.parametrize("condition", ["closer", "supervised"])  # which has no graph to note
def test_a_point_without_epochs_is_done_when_it_is(tiny_config, tmp_path, condition):
    tiny_config["training"]["epochs"] = 0
    tiny_config["condition"] = condition
    point, *_ = sweep_points(parse_sweep({"base": tiny_config, "baselines": ["untrained"]}))
    assert point.config.condition == condition
    train_run(point.config, tmp_path / point.name)
    assert progress_of(point, tmp_path) == ("done", 0)


def test_masks_that_have_changed_are_no_result_of_what_they_are_now(tiny_config, tmp_path):
    masks = np.random.default_rng(0).random((tiny_config["num_encoders"], 8, 8)) < 0.4
    np.save(tmp_path / "m.npy", masks)
    tiny_config |= {"masks": {"scheme": "custom", "path": str(tmp_path / "m.npy")}, "condition": "untrained"}
    points = sweep_points(parse_sweep({"base": tiny_config, "baselines": []}))
    train_run(points[0].config, tmp_path / points[0].name)
    assert Sweep("s", points, tmp_path).outcomes[0].state == "done"
    np.save(tmp_path / "m.npy", ~masks)
    (outcome,) = Sweep("s", points, tmp_path).outcomes
    assert outcome.state == "failed" and "no longer holds the masks" in outcome.error


class Cluster:
    """Stands for a Dask client: runs `answer(run_dir)` in threads."""

    def __init__(self, answer, slots=2):
        self.answer, self.slots, self.pool, self.calls = answer, slots, ThreadPoolExecutor(slots), []
        self.lock, self.stopped = threading.Lock(), threading.Event()

    def scheduler_info(self):
        return {"workers": {"one": {"nthreads": self.slots, "host": "here"}}}

    def submit(self, function, sweep, content, run_dir, log, threads, share, **options):
        with self.lock:
            self.calls.append(Path(run_dir).name)
        future = self.pool.submit(self.answer, Path(run_dir).name, self.calls.count(Path(run_dir).name), self.stopped)
        future.status = "finished"
        return future

    def run(self, function, sweep):
        assert function is worker.stop_trainings
        self.stopped.set()

    def cancel(self, futures):
        pass


def ended(state="done", code=0, error=None):
    return {"state": state, "code": code, "error": error, "seconds": 1.0, "threads": 1, "worker": "here:1"}


def test_failures_are_tried_again_and_reported(content, tmp_path):
    points = sweep_points(parse_sweep(content | {"baselines": []}))
    broken, diverged, moody = (point.name for point in points[:3])

    def answer(name, tries, stopped):
        if name == broken or (name == moody and tries == 1):
            return ended("failed", 1, "error: boom")
        return ended("failed", 3, "error: not finite") if name == diverged else ended()

    cluster = Cluster(answer)
    sweep = Sweep("s", points, tmp_path, retries=2)
    sweep.run(cluster)
    states = {outcome.point.name: (outcome.state, outcome.tries, outcome.error) for outcome in sweep.outcomes}
    assert states[broken] == ("failed", 3, "error: boom")
    assert states[diverged] == ("failed", 1, "error: not finite")  # would diverge again
    assert states[moody] == ("done", 2, None)
    assert sorted(set(cluster.calls)) == sorted(point.name for point in points)
    record = json.loads((tmp_path / "s.sweep.json").read_text())
    assert [point["state"] for point in record["points"]].count("done") == len(points) - 2


def test_data_without_labels_is_trained_on_and_said_to_be_not_read_out(tiny_config, tmp_path, monkeypatch, capsys):
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 1)).astype(np.uint8)
    np.savez(tmp_path / "images.npz", x_train=images)
    tiny_config |= {"dataset": {"name": "arrays", "path": str(tmp_path / "images.npz")}}
    tiny_config["training"] = {"epochs": 1, "batch_size": 8}
    path = write(tmp_path, {"base": tiny_config, "baselines": ["untrained"]})
    points, runs = {point.name: point for point in sweep_points(load_sweep(path))}, tmp_path / "runs"

    def answer(name, tries, stopped):
        assert train_run(points[name].config, runs / name) == {}
        return ended()

    clusters = [Cluster(answer, slots=1)]
    monkeypatch.setattr(command, "cluster", lambda options: contextlib.nullcontext((clusters[-1], 1)))
    monkeypatch.setenv("COLUMNS", "200")
    for trained in (2, 0):  # they are done, and are not trained again
        clusters.append(Cluster(answer, slots=1))
        assert command.main([path, "--runs-dir", str(runs)]) == 0
        output = capsys.readouterr().out
        assert output.count("done, no labels: not read out") == 2 and "2 of 2 points done" in output
        assert len(clusters[-1].calls) == trained
    record = json.loads((runs / "sweep.sweep.json").read_text())
    assert [(point["state"], point["note"], point["accuracy"]) for point in record["points"]] == [
        ("done", "no labels: not read out", {})
    ] * 2
    page = tmp_path / "page.html"
    assert write_report([runs], page, embeddings="none", details=0)["runs"] == 2
    assert page.read_text().count("no labels: not read out") >= 2 and "not read out yet" not in page.read_text()
    with pytest.raises(RunError, match="its data has no labels, so that it was not read out"):
        summarise([runs / name for name in points])


def test_a_cluster_that_gives_a_point_up_does_not_end_the_sweep(content, tmp_path):
    points = sweep_points(parse_sweep(content | {"baselines": []}))

    def answer(name, tries, stopped):
        if name == points[0].name:
            raise MemoryError("its workers died")
        return ended()

    sweep = Sweep("s", points, tmp_path, retries=0)
    sweep.run(Cluster(answer))
    assert [outcome.state for outcome in sweep.outcomes] == ["failed"] + ["done"] * (len(points) - 1)
    assert sweep.outcomes[0].error == "MemoryError: its workers died"


def test_stopping_waits_for_what_runs_and_begins_nothing_more(content, tmp_path):
    points = sweep_points(parse_sweep(content | {"baselines": []}))
    begun = threading.Semaphore(0)

    def answer(name, tries, stopped):
        begun.release()
        stopped.wait(20)
        return ended("stopped", 143)

    sweep, cluster = Sweep("s", points, tmp_path), Cluster(answer)
    before = signal.getsignal(signal.SIGINT)

    def interrupt():
        begun.acquire()
        begun.acquire()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with stopping_on_signals(sweep):
        sweep.run(cluster)
    assert signal.getsignal(signal.SIGINT) == before and sweep.signal_number == signal.SIGINT
    assert [outcome.state for outcome in sweep.outcomes] == ["stopped"] * 2 + ["new"] * (len(points) - 2)
    assert len(cluster.calls) == 2


def test_two_sweeps_of_one_name_do_not_run_together(content, tmp_path):
    points = sweep_points(parse_sweep(content | {"baselines": []}))
    inner = []

    def answer(name, tries, stopped):
        with pytest.raises(BusyError, match="another process runs a sweep of this name here"):
            Sweep("s", points, tmp_path).run(Cluster(None))
        inner.append(name)
        return ended()

    Sweep("s", points[:1], tmp_path).run(Cluster(answer))
    assert inner


def test_the_command_lists_what_it_would_do(content, tmp_path, capsys):
    path = write(tmp_path, content)
    assert command.main([path, "--dry-run", "--runs-dir", str(tmp_path / "runs")]) == 0
    output = capsys.readouterr().out
    assert "masks.fraction=0.25, seed=1: trains 3 epochs" in output and "untrained of masks.fraction=0.5, seed=0" in output
    assert "18 points: 6 trainings, 6 of them to do; 12 that only read out" in output
    for seeds in (["--seeds", "3,8-9"], ["--num-seeds", "3"], ["--seeds", "3"]):
        assert command.main([path, *seeds, "--dry-run", "--runs-dir", str(tmp_path / "runs")]) == 0
        output = capsys.readouterr().out
        of = {"3,8-9": {3, 8, 9}, "3": {3} if seeds[0] == "--seeds" else {0, 1, 2}}[seeds[1]]
        assert {int(seed) for seed in re.findall(r"seed=(\d+): trains", output)} == of
        assert ("note: --seeds 3 is that one seed" in output) == (seeds == ["--seeds", "3"])
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--workers", "0"], "--workers 0: expected at least 1"),
        (["--seeds", "3-1"], "--seeds 3-1: expected ranges from the smaller to the larger seed"),
        (["--num-seeds", "0"], "--num-seeds 0: expected 1 to 100,000"),
        (["--scheduler", "tcp://127.0.0.1:1", "--batch", "slurm"], "--scheduler and --batch: expected one of them"),
        (["--scheduler", "nonsense://x", "--runs-dir", "r"], "--scheduler nonsense://x: no Dask scheduler answers"),
        (["--workers", "2", "--batch", "lsf"], "--workers is for this machine alone"),
    ],
)
def test_the_commands_mistakes(content, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert command.main([write(tmp_path, content), *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("address", ["nonsense://x", "127.0.0.1", "tcp://127.0.0.1:port", "tls://127.0.0.1:1"])
def test_no_client_is_left_where_no_scheduler_answers(address):
    """One that is collected later can hang the process: Dask's lock is held while a loop starts, and its `__del__` takes it."""
    client_class = import_distributed().Client
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ConfigError, match=f"--scheduler {address}: no Dask scheduler answers"), running_cluster(address):
            pass
        assert not [made for made in gc.get_objects() if type(made) is client_class]
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "system, options, expected",
    [
        ("slurm", {"job_cpu": 8, "memory": "16GB", "walltime": "24:00:00"}, ["#SBATCH --cpus-per-task=8", "#SBATCH --mem=15G"]),
        ("lsf", {"ncpus": 8, "mem": 2**34, "memory": "16GB", "walltime": "24:00"}, ["#BSUB -n 8", "#BSUB -W 24:00"]),
        ("pbs", {"resource_spec": "select=1:ncpus=8:mem=16gb", "memory": "16GB"}, ["#PBS -l select=1:ncpus=8:mem=16gb"]),
    ],
)
def test_a_job_of_a_batch_system_runs_one_training_at_a_time(system, options, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with make_batch_cluster(system, options) as cluster:
        script = cluster.job_script()
    assert "--nthreads 1 " in script and all(line in script for line in expected)
    with pytest.raises(ConfigError, match="cores and processes: expected 1"):
        make_batch_cluster(system, options | {"cores": 8})
    with pytest.raises(ConfigError, match="walltme: .*Cluster has no such option. Did you mean 'walltime'?"):
        make_batch_cluster(system, options | {"walltme": "24:00"})


def test_the_time_left_follows_from_the_epochs_that_are_done(content, tmp_path):
    points = sweep_points(parse_sweep(content | {"list": [], "baselines": []}))
    sweep = Sweep("s", points, tmp_path)
    assert report.time_left(sweep) is None
    for point, rows in zip(points, (2, 1)):
        (tmp_path / point.name).mkdir()
        seconds = [10.0] if rows == 1 else [100.0, 10.0, 10.0][:rows]  # the first compiles
        RunFolder(tmp_path / point.name).write_history([{"epoch": k + 1, "seconds": s} for k, s in enumerate(seconds)])
    sweep.outcomes[0].state, sweep.outcomes[0].tries, sweep.outcomes[0].seconds = "done", 1, 34.0
    sweep.outcomes[1].state = "running"
    assert report.time_left(sweep) == pytest.approx((2 + 3 + 3) * 10 + 3 * 4)  # epochs, and what comes beside them
    assert "1 of 4 done, 1 running  left: 1 min 32 s" in report.Watcher(show=False).line(sweep)


@pytest.mark.parametrize(
    "code, log, state, error",
    [
        (0, "", "done", None),
        (2, "warning: x\nerror: masks: no\n", "failed", "error: masks: no"),
        (
            2,
            "error: notes/in use by process 3/run.json: no such file",
            "failed",
            "error: notes/in use by process 3/run.json: no such file",
        ),
        (3, "error: not finite", "failed", "error: not finite"),
        (1, "Traceback\nValueError: x\n", "failed", "ValueError: x"),
        (-9, "", "failed", "exit code -9"),
        (143, "SIGTERM: state saved", "stopped", None),
        (-15, "", "stopped", None),
    ],
)
def test_how_a_training_ended(tmp_path, monkeypatch, code, log, state, error):
    def run(sweep, content, run_dir, log_file, threads, plugins):
        Path(log_file).write_text(log)
        return code

    monkeypatch.setattr(worker, "_run", run)
    found = worker.train_point("s", {}, tmp_path / "run", tmp_path / "logs" / "run.log", share=10_000)
    assert (found["state"], found["code"], found["error"], found["threads"]) == (state, code, error, 1)


@pytest.mark.slow
def test_sweeps_beside_each_other_do_not_meet():
    """Each scheduler finds a port of its own; Dask would warn of one in use, and warnings are errors here."""
    with local_cluster(1) as one, local_cluster(1) as other:
        assert one.submit(abs, -1).result() == other.submit(abs, -1).result() == 1


def test_in_this_process_a_point_that_fails_leaves_the_others_be(tmp_path, tiny_config, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    nowhere = {"dataset": {"name": "arrays", "path": "nowhere.npz"}}
    file = write(tmp_path, {"base": tiny_config, "list": [{}, {"set": nowhere}, {"seeds": [1]}], "seeds": [0], "baselines": []})
    assert command.main([file, "--in-process"]) == 2
    said = capsys.readouterr().out
    assert said.count("done: ") == 2 and "failed: " in said and "nowhere.npz: no such file" in said and "epoch 1/" not in said
    record = json.loads((tmp_path / "runs" / "sweep.sweep.json").read_text())
    assert [point["state"] for point in record["points"]] == ["done", "failed", "done"]
    assert "epoch 1/" in (tmp_path / "runs" / "logs" / f"{record['points'][0]['run']}.log").read_text()
    alone = train_run(parse_config(tiny_config).resolved(), tmp_path / "alone")
    assert record["points"][0]["accuracy"]["closer"]["ensemble"] == alone["accuracy"]["closer"]["ensemble"]["test"]
    with pytest.raises(ConfigError, match="--in-process and --workers"):
        command.check_running(command_options(in_process=True, workers=1))


def command_options(**changes):
    names = ("workers", "threads", "scheduler", "batch", "in_process")
    return SimpleNamespace(**({"jobs": 1} | dict.fromkeys(names) | changes))


def test_in_this_process_a_stop_ends_the_sweep(tmp_path, content, monkeypatch, capsys):
    def stopped(config, run_dir):
        raise Interrupted(signal.SIGINT)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("closer_tf.train.train_run", stopped)
    assert command.main([write(tmp_path, content), "--in-process"]) == 130
    assert "stopped: the same command goes on from here" in capsys.readouterr().out
    states = [point["state"] for point in json.loads((tmp_path / "runs" / "sweep.sweep.json").read_text())["points"]]
    assert states[0] == "stopped" and set(states[1:]) == {"new"}


def test_a_folder_in_use_is_waited_for(tmp_path, monkeypatch):
    tries = []

    def run(sweep, content, run_dir, log_file, threads, plugins):
        tries.append(threads)
        Path(log_file).write_text("error: runs/x: in use by process 5 on here since today")
        return 4 if len(tries) < 3 else 0

    monkeypatch.setattr(worker, "_run", run)
    monkeypatch.setattr(worker.time, "sleep", lambda seconds: None)
    assert worker.train_point("s", {}, tmp_path, tmp_path / "log", threads=5)["state"] == "done" and tries == [5] * 3
    tries.clear()
    found = worker.train_point("s", {}, tmp_path, tmp_path / "log", patience=-1)
    assert found["state"] == "busy" and "in use by process 5" in found["error"]


def test_a_stopped_sweep_begins_nothing_on_a_worker(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "_stopped", set())
    worker.stop_trainings("s")
    assert worker.train_point("s", {}, tmp_path, tmp_path / "log")["state"] == "stopped"


def test_a_training_in_a_process_of_its_own_reports_its_mistake(tmp_path, tiny_config):
    tiny_config["dataset"] = {"name": "arrays", "path": str(tmp_path / "none.npz")}
    found = worker.train_point("s", tiny_config, tmp_path / "run", tmp_path / "logs" / "run.log", threads=1)
    assert found["state"] == "failed" and found["code"] == 2 and "none.npz: no such file" in found["error"]


def test_the_examples_of_the_documentation_are_valid(tmp_path, monkeypatch):
    text = (REPOSITORY / "docs" / "sweeps.md").read_text()
    sweep, slurm = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, flags=re.DOTALL))
    base = {"base": str(REPOSITORY / "run_configs" / "mlp_gaussian.json")}
    points = sweep_points(parse_sweep(sweep | base))
    assert sum(point.trained for point in points) == 3 * (3 + 2)
    lsf, pbs = (
        json.loads(found.replace("\n", " ")) for found in re.findall(r"For (?:LSF|PBS): `(.*?)`", text, flags=re.DOTALL)
    )
    monkeypatch.chdir(tmp_path)
    for system, options in (("slurm", slurm), ("lsf", lsf), ("pbs", pbs)):
        with make_batch_cluster(system, options) as cluster:
            script = cluster.job_script()
        assert "--nthreads 1 " in script and "short" in script
        assert system != "slurm" or ("--lifetime 23h" in script and "activate" in script and "--gres=gpu:1" in script)
