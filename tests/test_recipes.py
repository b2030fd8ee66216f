"""Each recipe of docs/neuroscientists.md makes a session of its object, with the right counts, and embeddings of it."""

import re
import shlex
import warnings
from pathlib import Path

import numpy as np
import pytest

from closer_tf import CLoSeRTransformer, cli
from closer_tf.data.neuro.sessions import Session
from closer_tf.errors import CloserWarning

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "neuroscientists.md").read_text()
PLACES = ["V1", "V1", "LM", "LM"]
WIDTH = 0.05
pytestmark = pytest.mark.filterwarnings("ignore")  # of the packages, about themselves


def recipe(title):
    """(kind, text) of the block below a title in bold, or below a heading."""
    start = PAGE.index(f"**{title}**") if f"**{title}**" in PAGE else PAGE.index(f"## {title}\n")
    return re.search(r"```(python|sh)\n(.*?)```", PAGE[start:], flags=re.DOTALL).groups()


LINES = len(recipe("From a session to embeddings")[1].splitlines())


def experiment():
    """(spikes, start, stop, stimuli): four units, ten trials of a second."""
    rng = np.random.default_rng(0)
    start = 2.0 + 1.5 * np.arange(10)
    samples = [np.sort(1500 * rng.integers(0, 400, 400) + rng.integers(1, 1500, 400)) for _ in PLACES]  # none on a bin's edge
    return [found / 30000 for found in samples], start, start + 1.0, np.array(["grating", "movie"] * 5)


def check(session, ids=(0, 1, 2, 3)):
    """The session holds every spike of the experiment, and three lines embed it."""
    spikes, start, _, stimuli = experiment()
    assert session.unit_ids.tolist() == list(ids) and session.unit_areas.tolist() == PLACES and session.bin_width == WIDTH
    assert list(session.stimuli) == ["grating", "movie"]
    for name in session.stimuli:
        expected = [
            [np.histogram(times, first + WIDTH * np.arange(21))[0] for times in spikes] for first in start[stimuli == name]
        ]
        np.testing.assert_array_equal(session.counts(name), np.swapaxes(expected, 1, 2))
    names = {"session": session}
    run("From a session to embeddings", names)
    assert names["embeddings"].shape == (200, 64)


def run(title, names):
    kind, text = recipe(title)
    assert kind == "python" and len(text.splitlines()) < 10 - LINES
    names |= {"CLoSeRTransformer": CLoSeRTransformer, "Session": Session, "np": np}
    exec(compile(text.replace("epochs=30", "epochs=1"), title, "exec"), names)
    return names.get("session")


def test_pynapple():
    nap = pytest.importorskip("pynapple", reason="pynapple is not installed: pip install 'closer_tf[neuro-tools]'")
    spikes, start, stop, stimuli = experiment()
    units = nap.TsGroup({k: nap.Ts(times) for k, times in enumerate(spikes)}, metadata={"location": PLACES})
    trials = nap.IntervalSet(start, stop, metadata={"stimulus": stimuli})
    check(run("pynapple", {"units": units, "trials": trials}))


def test_pynapples_frames_bring_their_trials_and_come_back():
    nap = pytest.importorskip("pynapple", reason="pynapple is not installed")
    counts = np.random.default_rng(0).poisson(2.0, (40, 4)).astype(float)
    times = np.arange(40) * 0.1
    epochs = nap.IntervalSet(start=[-0.05, 1.95], end=[1.94, 3.95])
    frame = nap.TsdFrame(t=times, d=counts, time_support=epochs)
    closer = CLoSeRTransformer(groups=list("aabb"), objective="tcloser", hidden=(6,), embedding_dim=3, epochs=1, random_state=0)
    embeddings = closer.fit(frame).transform(frame)
    assert isinstance(embeddings, nap.TsdFrame) and embeddings.shape == (40, 6)
    np.testing.assert_array_equal(embeddings.t, frame.t)
    np.testing.assert_array_equal(np.asarray(embeddings.time_support), np.asarray(epochs))
    again = CLoSeRTransformer(**closer.get_params()).fit(counts, trials=np.repeat([0, 1], 20))
    np.testing.assert_array_equal(again.transform(counts), embeddings.d)


def test_neo():
    neo = pytest.importorskip("neo", reason="Neo is not installed: pip install 'closer_tf[neuro-tools]'")
    quantities = pytest.importorskip("quantities")
    spikes, start, stop, stimuli = experiment()
    block, segment = neo.Block(), neo.Segment()
    block.segments.append(segment)
    for times, place in zip(spikes, PLACES):
        milliseconds = times * 1000 * quantities.ms
        segment.spiketrains.append(neo.SpikeTrain(milliseconds, t_stop=20 * quantities.s, area=place))
    segment.epochs.append(neo.Epoch(start * quantities.s, durations=(stop - start) * quantities.s, labels=stimuli))
    check(run("Neo", {"block": block}))


def test_spikeinterface():
    core = pytest.importorskip(
        "spikeinterface.core", reason="SpikeInterface is not installed: pip install 'closer_tf[neuro-tools]'"
    )
    spikes, start, stop, stimuli = experiment()
    samples = {f"u{k}": np.round(times * 30000).astype(np.int64) for k, times in enumerate(spikes)}
    sorting = core.NumpySorting.from_unit_dict([samples], 30000.0)
    sorting.set_property("area", np.array(PLACES))
    trials = list(zip(start, stop, stimuli))
    check(run("SpikeInterface", {"sorting": sorting, "trials": trials}), ["u0", "u1", "u2", "u3"])


def test_phy(tmp_path, monkeypatch):
    pandas = pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    spikes, start, stop, stimuli = experiment()
    times = np.concatenate([np.round(np.array(t) * 30000).astype(np.int64) for t in [*spikes, [0.5]]])
    clusters = np.repeat([7, 2, 11, 5, 3], [400, 400, 400, 400, 1])
    order = np.argsort(times, kind="stable")
    np.save("spike_times.npy", times[order, None])
    np.save("spike_clusters.npy", clusters[order])
    info = {"cluster_id": [7, 2, 11, 5, 3], "ch": [0, 1, 8, 9, 9], "group": ["good"] * 4 + ["noise"]}
    pandas.DataFrame(info).to_csv("cluster_info.tsv", sep="\t", index=False)
    names = {"area_of_channel": {0: "V1", 1: "V1", 8: "LM", 9: "LM"}, "trials": list(zip(start, stop, stimuli)), "pd": pandas}
    check(run("A folder that was curated in phy", names), [7, 2, 11, 5])
    assert cli.main(["inspect", str(tmp_path)]) == 0


def test_kilosort(tmp_path, monkeypatch):
    pandas = pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    spikes, start, stop, stimuli = experiment()
    times = np.concatenate([np.round(np.array(t) * 30000).astype(np.int64) for t in [*spikes, [0.5]]])
    clusters = np.repeat([0, 1, 3, 4, 2], [400, 400, 400, 400, 1])
    order = np.argsort(times, kind="stable")
    np.save("spike_times.npy", times[order, None])
    np.save("spike_clusters.npy", clusters[order].astype(np.int32))
    templates = np.zeros((5, 6, 3), np.float32)  # on channels of the map, of which one was dead
    templates[[0, 1, 2, 3, 4], 2, [0, 0, 1, 2, 1]] = -1
    np.save("templates.npy", templates)
    np.save("channel_map.npy", np.array([[0], [8], [9]], np.int32))
    labels = {"cluster_id": range(5), "KSLabel": ["good", "good", "mua", "good", "good"]}
    pandas.DataFrame(labels).to_csv("cluster_KSLabel.tsv", sep="\t", index=False)
    names = {"area_of_channel": {0: "V1", 8: "LM", 9: "LM"}, "trials": list(zip(start, stop, stimuli)), "pd": pandas}
    check(run("A folder of Kilosort", names), [0, 1, 3, 4])
    assert cli.main(["inspect", str(tmp_path)]) == 0


def test_calcium_traces():
    _, start, stop, stimuli = experiment()
    traces = np.random.default_rng(0).standard_normal((400, 4))
    given = {
        "traces": traces,
        "frame_times": WIDTH * np.arange(400),
        "areas": PLACES,
        "trials": list(zip(start, stop, stimuli)),
    }
    names = given | {"session": run("Calcium traces", given)}
    assert names["session"].values == "calcium"
    for name in ("grating", "movie"):
        first = np.round(start[stimuli == name] / WIDTH).astype(int)
        np.testing.assert_array_equal(names["session"].counts(name), traces[first[:, None] + np.arange(20)])
    run("From a session to embeddings", names)
    assert names["embeddings"].shape == (200, 64)


def test_a_recording_without_trials():
    spikes = experiment()[0]
    names = {"spikes": spikes, "areas": PLACES}
    session = run("A recording without trials", names)
    expected = [np.histogram(times, np.arange(0, 16.05, 0.1))[0] for times in spikes]
    assert session.counts("trials").shape == (4, 40, 4)
    np.testing.assert_array_equal(session.counts("trials").reshape(160, 4).sum(axis=0), np.sum(expected, axis=1))
    run("From a session to embeddings", names)
    assert names["embeddings"].shape == (160, 64)


def test_a_pandas_table():
    pandas = pytest.importorskip("pandas")
    spikes, start, stop, stimuli = experiment()
    rows = [(unit, time, PLACES[unit]) for unit, times in enumerate(spikes) for time in times]
    table = pandas.DataFrame(rows, columns=["unit", "time", "area"]).sample(frac=1, random_state=0)
    table["area"] = table["area"].astype("category")
    trials = pandas.DataFrame({"start": start, "stop": stop, "stimulus": stimuli})
    check(run("A pandas table", {"table": table, "trials": trials}))


def test_plain_arrays():
    spikes, start, stop, stimuli = experiment()
    check(run("Plain arrays", {"spike_times": spikes, "areas": PLACES, "trials": list(zip(start, stop, stimuli))}))


def commands(title):
    kind, text = recipe(title)
    assert kind == "sh"
    for line in text.strip().splitlines():
        program, *words = shlex.split(line)
        assert program == "closer_tf" and cli.main(words) == 0, line


@pytest.mark.filterwarnings("ignore")  # of pynwb and hdmf, about themselves
def test_an_nwb_file(tmp_path, monkeypatch):
    pytest.importorskip("pynwb", reason="pynwb is not installed: pip install 'closer_tf[nwb]'")
    from test_nwb import empty_file, write

    monkeypatch.chdir(tmp_path)
    spikes, start, stop, stimuli = experiment()
    file = empty_file()
    file.add_unit_column("location", "brain area")
    for times, place in zip(spikes, PLACES):
        file.add_unit(spike_times=times, location=place)
    file.add_trial_column("stimulus", "what was shown")
    for row in zip(start, stop, stimuli):
        file.add_trial(**dict(zip(("start_time", "stop_time", "stimulus"), row)))
    write(tmp_path / "mouse.nwb", file)
    commands("An NWB file")
    check(Session.load("mouse.npz"))


@pytest.mark.slow
def test_the_allen_institutes_recordings(tmp_path, monkeypatch):
    pytest.importorskip("allensdk", reason="allensdk, which writes the test recording, is not installed (Python 3.11 only)")
    import allen_fixture as fixture

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fixture.write_cache(tmp_path / "cache").rename(tmp_path / "session_751348571.nwb")
    monkeypatch.chdir(tmp_path)
    commands("The Allen Institute's Visual Coding recordings")
    session = Session.load(f"allen_sessions/session_{fixture.SESSION}.npz")
    with pytest.warns(CloserWarning, match="have no group") if "" in session.unit_areas else warnings.catch_warnings():
        names = {"session": session}
        run("From a session to embeddings", names)
    assert names["embeddings"].shape == (6 * 6 + 4 * 8, 3 * 32)
