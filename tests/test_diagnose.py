"""What receptive fields share, on simulated sessions where it is known, and the command."""

import json

import numpy as np
import pytest

from closer_tf import cli, plots
from closer_tf.analysis.shared_signal import MOST_SAMPLES, Samples, describe_samples, shared_signal, thinned, verdict
from closer_tf.data.neuro.sessions import Session
from closer_tf.data.splits import Split
from closer_tf.diagnose import _extremes, diagnose

CONDITIONS, REPEATS, CELLS = 48, 10, 20


def simulated(shared_signal=0.0, own_signal=0.0, shared_noise=0.0, drift=0.0, areas=3, seed=0):
    """(views, `Samples`) of areas whose cells mix signals of 3 dimensions, with private noise of variance 1.

    Args:
        shared_signal: sd of what follows the condition, the same in all areas.
        own_signal: sd of what follows the condition, in each area another.
        shared_noise: sd of what is the same in all areas and another in each sample.
        drift: the same, but constant over stretches of time.
    """
    rng = np.random.default_rng(seed)
    conditions = np.concatenate([rng.permutation(CONDITIONS) for _ in range(REPEATS)])
    n = len(conditions)
    common = rng.standard_normal((CONDITIONS, 3))[conditions]
    noise, slow = rng.standard_normal((n, 3)), np.repeat(rng.standard_normal((20, 3)), -(-n // 20), axis=0)[:n]
    views = []
    for _ in range(areas):
        own = rng.standard_normal((CONDITIONS, 3))[conditions]
        latent = shared_signal * common + own_signal * own + shared_noise * noise + drift * slow
        views.append(latent @ rng.standard_normal((3, CELLS)) + rng.standard_normal((n, CELLS)))
    about = {"frame": np.arange(n), "trial": np.repeat(np.arange(REPEATS), CONDITIONS), "stimulus": np.zeros(n, int)}
    return views, describe_samples(Split(views[0], conditions, about), is_sequence=False, place=about["frame"])


def test_a_signal_that_all_areas_share():
    found = shared_signal(*simulated(shared_signal=1.0))
    assert found["averages"]["mean"] > 0.7 and found["averages"]["mean"] > found["averages"]["chance"] + 0.3
    assert found["dissimilarities"]["mean"] > 0.8 > found["dissimilarities"]["chance"]
    assert abs(found["residuals"]["mean"]) < 0.1 and found["label_share"] > 0.9 and max(found["drift"]) < 0.05
    assert found["conditions"] == CONDITIONS and found["repeats"] == REPEATS and found["condition_is"] == "a label"
    says = verdict(found)
    assert says[0].startswith("The receptive fields agree about the stimulus") and "% is the stimulus" in says[1]
    matrix = np.array(found["dissimilarities"]["matrix"], dtype=float)
    np.testing.assert_array_equal(matrix, matrix.T)
    assert np.diag(matrix).min() > 0.8 and found["averages"]["matrix"][0][0] is None


def test_signals_of_each_areas_own():
    found = shared_signal(*simulated(own_signal=1.0))
    assert found["averages"]["mean"] < max(0.3, found["averages"]["chance"] + 0.05)
    assert found["dissimilarities"]["mean"] < found["dissimilarities"]["chance"] + 0.05
    assert np.diag(np.array(found["dissimilarities"]["matrix"], dtype=float)).min() > 0.8  # each agrees with itself


def test_noise_alone():
    found = shared_signal(*simulated())
    assert abs(found["averages"]["mean"]) < 0.3 and abs(found["dissimilarities"]["mean"]) < 0.1
    assert abs(found["residuals"]["mean"]) < 0.1 and max(found["drift"]) < 0.05
    assert "do not agree about the stimulus" in verdict(found)[0] or "agree a little" in verdict(found)[0]
    assert "next to nothing" in verdict(found)[1]


def test_noise_that_all_areas_share():
    found = shared_signal(*simulated(shared_noise=1.0))
    assert found["residuals"]["mean"] > 0.8 and found["label_share"] < 0.1
    assert found["residuals_without_drift"]["mean"] > 0.8 and max(found["drift"]) < 0.1
    for key in ("averages", "dissimilarities"):  # what single trials share is no agreement about the stimulus
        assert found[key]["mean"] < max(found[key]["chance"], 0.2) + 0.05
    assert any("is still there without the stimulus" in says and "keep: 'best'" in says for says in verdict(found))


def test_drift_that_all_areas_share():
    found = shared_signal(*simulated(drift=1.0))
    assert min(found["drift"]) > 0.4 and found["residuals"]["mean"] > 0.7
    assert found["residuals_without_drift"]["mean"] < 0.2
    assert any("slow drift" in says for says in verdict(found))


def test_movies_are_compared_at_the_same_moments():
    """Two areas that are smooth in time, and follow it each in a way of its own, do not agree beyond chance."""
    rng = np.random.default_rng(3)
    frames, trials = 60, 8

    def smooth():
        walk = np.cumsum(rng.standard_normal((frames, 3)), axis=0)
        return np.tile((walk - walk.mean(axis=0)) / walk.std(axis=0), (trials, 1))

    about = {
        "stimulus": np.zeros(frames * trials, int),
        "trial": np.repeat(np.arange(trials), frames),
        "frame": np.tile(np.arange(frames), trials),
    }
    common, found = smooth(), []
    for latents in ((common, common), (smooth(), smooth())):
        views = [latent @ rng.standard_normal((3, 9)) + 0.5 * rng.standard_normal((frames * trials, 9)) for latent in latents]
        split = Split(views[0], np.zeros(frames * trials, int), about)
        found.append(shared_signal(views, describe_samples(split, is_sequence=True)))
    shared, own = found
    assert shared["conditions"] == frames and shared["condition_is"] == "a moment of a stimulus"
    for key in ("averages", "dissimilarities"):
        assert shared[key]["mean"] > shared[key]["chance"] and shared[key]["mean"] > own[key]["mean"] + 0.1


def test_too_few_conditions_or_repeats():
    views, samples = simulated(shared_signal=1.0)
    three = shared_signal(views, Samples(samples.conditions % 3, samples.half, None, False, "a label"))
    assert three["averages"] is None and three["dissimilarities"] is None and three["drift"] is None
    assert "cannot be told" in verdict(three)[0]
    once = shared_signal(views, Samples(np.arange(len(views[0])), samples.half, None, False, "a label"))
    assert once["residuals"] is None and once["label_share"] is None and "Without repeats" in verdict(once)[-1]
    assert len(plots.plot_diagnosis(three, ["a", "b", "c"]).axes) >= 1


def test_constant_cells_and_a_single_cell():
    views, samples = simulated(shared_signal=1.0)
    views = [views[0], np.ones_like(views[1]), views[2][:, :1]]
    found = shared_signal(views, samples)
    assert np.isfinite(found["residuals"]["mean"]) and np.isfinite(found["averages"]["mean"])
    assert found["averages"]["matrix"][0][1] == pytest.approx(0, abs=1e-6)


def test_large_data_is_thinned():
    split = Split(
        np.zeros((5 * MOST_SAMPLES, 1)), np.zeros(5 * MOST_SAMPLES, int), {"frame": np.arange(5 * MOST_SAMPLES) % 100}
    )
    assert len(thinned(split, False)) == MOST_SAMPLES
    assert np.unique(thinned(split, True).about["frame"]).tolist() == list(range(0, 100, 5))
    assert thinned(split[:10], True) is not None and len(thinned(split[:10], True)) == 10


def session(path, independent):
    """A session of two areas that follow one movie, or each a noise of its own."""
    rng = np.random.default_rng(0)
    rate = np.exp(rng.standard_normal((40, 3)) @ rng.standard_normal((3, 24)) / 2)
    counts = rng.poisson(1.0 if independent else rate, (8, 40, 24))
    Session(
        name="s", unit_ids=np.arange(24), unit_areas=np.repeat(["A", "B"], 12), bin_width=0.1, stimuli={"movie": counts}
    ).save(path)


@pytest.mark.parametrize("condition", ["closer", "untrained"])
def test_a_movie_is_a_movie_whatever_the_condition(tmp_path, condition):
    session(tmp_path / "s.npz", False)
    dataset = {"name": "session", "path": str(tmp_path / "s.npz"), "label": "segment"}
    config = {"num_encoders": 2, "dataset": dataset, "masks": {"scheme": "areas"}, "training": {"batch_size": 16}}
    found = diagnose(config | {"condition": condition})
    assert found["condition_is"] == "a moment of a stimulus" and found["conditions"] == 37 and found["drift"] is not None


@pytest.mark.parametrize("independent", [False, True])
def test_the_command(tmp_path, monkeypatch, capsys, independent):
    monkeypatch.chdir(tmp_path)
    session("s.npz", independent)
    content = {
        "condition": "tcloser",
        "num_encoders": 2,
        "dataset": {"name": "session", "path": "s.npz", "label": "segment"},
        "masks": {"scheme": "areas"},
        "training": {"batch_size": 16},
    }
    (tmp_path / "s.json").write_text(json.dumps(content))
    assert cli.main(["diagnose", "s.json", "-o", "page"]) == 0
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "page.json").read_text())
    assert (
        sorted(found["encoders"]) == ["A", "B"] and found["conditions"] == 37 and (tmp_path / "page.png").stat().st_size > 1000
    )
    assert ("agree about the stimulus: there is" in said) != independent and found["verdict"][0] in said
    assert {path.name for path in tmp_path.iterdir()} == {"s.npz", "s.json", "page.json", "page.png"}


@pytest.mark.parametrize("shape", ["many stimuli", "one stimulus"])
def test_trials_of_one_bin_are_no_blocks_of_time(tmp_path, shape):
    """A gain that is another in each trial is no drift; one that changes slowly is, where the order is known."""
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 4, 400)
    tuned = 1.5 + 0.3 * rng.standard_normal((4, 9))[shown]

    def drift(gain):
        counts = rng.poisson(np.exp(tuned + gain[:, None]))[:, None]
        by_stimulus = {f"s{k}": counts[shown == k] for k in range(4)} if shape == "many stimuli" else {"s": counts}
        labels = {} if shape == "many stimuli" else {"kind": {"s": shown}}
        made = Session("s", np.arange(9), ["A", "B", "C"] * 3, 0.25, by_stimulus, labels=labels)
        made.save(tmp_path / "s.npz")
        dataset = {"name": "session", "path": str(tmp_path / "s.npz"), "label": "kind" if labels else "stimulus"}
        config = {"num_encoders": 3, "dataset": dataset, "masks": {"scheme": "areas"}, "training": {"batch_size": 16}}
        found = diagnose(config)
        assert found["conditions"] == 4 and found["condition_is"] == "a label" and found["repeats"] > 50
        return found["drift"]

    white, slow = drift(0.4 * rng.standard_normal(400)), drift(np.repeat(0.4 * rng.standard_normal(20), 20))
    if shape == "many stimuli":
        assert white is None and slow is None
    else:
        assert max(white) < 0.1 < 0.3 < min(slow)


def test_what_the_command_refuses(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 255, (40, 4, 4)).astype(np.uint8)
    np.savez("a.npz", x_train=images)
    content = {"num_encoders": 2, "dataset": {"name": "arrays", "path": "a.npz"}, "training": {"batch_size": 16}}
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert cli.main(["diagnose", "a.json"]) == 2
    assert "has no labels here" in capsys.readouterr().err
    assert cli.main(["diagnose", "a.json", "-o", "nowhere/page"]) == 2
    assert "there is no folder nowhere" in capsys.readouterr().err
    assert cli.main(["diagnose", "a.json", "--set", "dataset.path=b.npz"]) == 2
    assert "b.npz" in capsys.readouterr().err
    assert cli.main(["diagnose", "digits.json"]) == 2
    assert "no such config file" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz", "a.json"}


def test_the_pair_that_agrees_most_and_the_area_that_agrees_least_are_named():
    matrix = [[0.9, 0.3, 0.02], [0.3, None, -0.01], [0.02, -0.01, None]]
    assert _extremes(matrix, ["V1", "LM", "AL"]) == "most: V1 and LM, 0.300; least: AL with the others, 0.005"
