"""Any NWB file with units and intervals, written by pynwb: sessions with the right counts, and what is in a file."""

import json
import subprocess
import sys
from datetime import UTC, datetime

import h5py
import numpy as np
import pytest

pytest.importorskip("pynwb", reason="pynwb, which writes the test files, is not installed: pip install 'closer_tf[nwb]'")

import pynwb
from test_spikes import by_hand

from closer_tf import cli
from closer_tf.data.neuro import nwb_tables
from closer_tf.data.neuro.nwb_tables import read_session
from closer_tf.data.neuro.sessions import Session

pytestmark = [pytest.mark.filterwarnings("ignore")]  # of pynwb and hdmf, about themselves
WIDTH = 0.125
PLACES = ["VISp", "VISp", "CA1", ""]


@pytest.fixture(autouse=True)
def no_child(request, monkeypatch):
    """Files are whole here: spare the process that reads each first."""
    if "damaged" not in request.node.name:
        monkeypatch.setattr(nwb_tables, "let_a_child_go_first", lambda path, module: None)


def content(origin=0.0, units=5, trials=10, seed=0):
    """(spikes, start, stop, sides): unsorted spikes of which some lie on bins' edges, the last unit without any."""
    rng = np.random.default_rng(seed)
    start = origin + 2.0 * np.arange(trials)
    stop = start + np.where(np.arange(trials) == 3, 1.0, 1.25)
    edges = np.concatenate([start, start + WIDTH, start + 1.0])
    spikes = [rng.permutation(np.concatenate([origin + rng.uniform(0, 20, 80), edges])) for _ in range(units - 1)]
    return [*spikes, np.empty(0)], start, stop, np.array(["left", "right"])[np.arange(trials) % 2]


def empty_file():
    return pynwb.NWBFile("test", "id", datetime(2026, 1, 1, tzinfo=UTC))


def add_electrodes(file, location=True):
    device = file.create_device("probe")
    for name in ("shank0", "shank1"):
        file.create_electrode_group(name, "a shank", "VISrl" if name == "shank0" else "LP", device)
    for k, place in enumerate(PLACES):
        file.add_electrode(group=file.electrode_groups[f"shank{k % 2}"], location=place or "unknown")
    if not location:
        file.electrodes  # noqa: B018


def write(path, file):
    with pynwb.NWBHDF5IO(str(path), "w") as io:
        io.write(file)
    return path


def add_trials(file, start, stop, side):
    file.add_trial_column("side", "where")
    file.add_trial_column("tags_of_it", "several values", index=True)
    for k in range(len(start)):
        file.add_trial(start_time=start[k], stop_time=stop[k], side=side[k], tags_of_it=["a"] * (k % 3))


def expected_counts(spikes, start, stop, side, name, width=WIDTH):
    chosen = side == name
    return by_hand(spikes, start[chosen], int(((stop - start)[chosen].min() + 1e-6) / width), width)


@pytest.fixture
def by_electrodes(tmp_path):
    """Areas through units.electrodes, of which a unit has several or none; ragged and further columns."""
    spikes, start, stop, side = content()
    file = empty_file()
    add_electrodes(file)
    file.add_unit_column("quality", "of the sorting")
    file.add_unit_column("snr", "a number")
    of_unit = [[0], [0, 2, 1], [2], [3], []]
    for k, times in enumerate(spikes):
        quality = "good" if k != 1 else "noise"
        file.add_unit(id=100 - k, spike_times=times, electrodes=of_unit[k], quality=quality, snr=[1.0, 2, np.nan, 4, 5][k])
    add_trials(file, start, stop, side)
    return write(tmp_path / "mouse.nwb", file)


def test_areas_through_the_electrodes_and_every_count(by_electrodes):
    spikes, start, stop, side = content()
    lines = []
    session = read_session(by_electrodes, WIDTH, condition="side", report=lines.append)
    assert session.name == "mouse" and session.unit_ids.tolist() == [100, 99, 98, 97, 96]
    assert session.unit_areas.tolist() == ["VISp", "VISp", "CA1", "", ""]
    assert list(session.stimuli) == ["left", "right"]
    for name in session.stimuli:
        np.testing.assert_array_equal(session.counts(name), expected_counts(spikes, start, stop, side, name))
    said = "\n".join(lines)
    assert "areas from electrodes/location; 2 of 5 units have none" in said and "right: trials last 1.000 to 1.250 s" in said


def test_rules_choose_units_and_labels_come_along(by_electrodes):
    quiet = {"report": lambda line: None}
    good = read_session(by_electrodes, WIDTH, units=["quality=good", "snr >= 2"], labels=["side"], **quiet)
    assert good.unit_ids.tolist() == [97, 96]  # NaN is no value
    assert good.labels["side"]["trials"].tolist() == ["left", "right"] * 5
    assert read_session(by_electrodes, WIDTH, units=["quality!=good"], **quiet).unit_ids.tolist() == [99]
    by_snr = read_session(by_electrodes, WIDTH, area_column="quality", **quiet)
    assert by_snr.unit_areas.tolist() == ["good", "noise", "good", "good", "good"]


@pytest.mark.parametrize("origin", [1_600_000_000.0, -100.0])
def test_a_location_of_the_units_and_another_time_origin_and_table(tmp_path, origin):
    spikes, start, stop, side = content(origin)
    file = empty_file()
    file.add_unit_column("location", "brain area")
    for k, times in enumerate(spikes):
        file.add_unit(spike_times=times, location=["LP", "LP", "CA1", "nan", "CA1"][k])
    table = pynwb.epoch.TimeIntervals("flashes", "what was shown")
    table.add_column("side", "where")
    for k in reversed(range(len(start))):
        table.add_row(start_time=start[k], stop_time=stop[k], side=side[k])
    file.add_time_intervals(table)
    path = write(tmp_path / "mouse.nwb", file)
    session = read_session(path, WIDTH, trials="flashes", condition="side", report=lambda line: None)
    assert session.unit_areas.tolist() == ["LP", "LP", "CA1", "", "CA1"]
    for name in session.stimuli:
        np.testing.assert_array_equal(session.counts(name), expected_counts(spikes, start, stop, side, name))


def test_areas_of_groups_where_neither_units_nor_electrodes_are_linked(tmp_path):
    spikes, start, stop, side = content()
    file = empty_file()
    add_electrodes(file)
    for k, times in enumerate(spikes):
        file.add_unit(spike_times=times, electrode_group=file.electrode_groups[f"shank{k % 2}"])
    file.add_epoch(start[0], stop[-1], ["all"])
    path = write(tmp_path / "mouse.nwb", file)
    session = read_session(path, 0.5, blocks=2.0, report=lambda line: None)
    assert session.unit_areas.tolist() == ["VISrl", "LP", "VISrl", "LP", "VISrl"]
    first = min(times.min() for times in spikes[:4])
    blocks = first + 2.0 * np.arange(len(session.counts("trials")))
    np.testing.assert_array_equal(session.counts("trials"), by_hand(spikes, blocks, 4, 0.5))
    epochs = read_session(path, 0.5, trials="epochs", report=lambda line: None)
    assert epochs.counts("trials").shape == (1, 38, 5)


def test_presentations_become_samples_of_one_bin_that_closer_trains_on(tmp_path):
    rng = np.random.default_rng(0)
    file = empty_file()
    file.add_unit_column("location", "brain area")
    spikes = [np.sort(rng.uniform(0, 40, 2000)) for _ in range(4)]
    for times, place in zip(spikes, ["V1", "V1", "LM", "LM"]):
        file.add_unit(spike_times=times, location=place)
    scenes = pynwb.epoch.TimeIntervals("natural_scenes_presentations", "what was shown")
    scenes.add_column("frame", "of the scenes, -1 for a blank")
    shown = rng.permutation(np.repeat([-1.0, 0.0, 7.0], 40))
    start = np.sort(rng.uniform(0, 39, len(shown)))
    for time, frame in zip(start, shown):
        scenes.add_row(start_time=time, stop_time=time + rng.uniform(0.2, 0.3), frame=frame)
    file.add_time_intervals(scenes)
    path, out = write(tmp_path / "mouse.nwb", file), tmp_path / "scenes.npz"
    words = ["session", str(path), "--trials", "natural_scenes_presentations", "--condition", "frame", "--one-bin"]
    assert cli.main([*words, "-o", str(out)]) == 0
    session = Session.load(out)
    assert list(session.stimuli) == ["-1", "0", "7"] and session.counts("7").shape == (40, 1, 4)
    assert 0.2 < session.bin_width < 0.3
    config = {
        "condition": "closer",
        "num_encoders": 2,
        "dataset": {"name": "session", "path": str(out)},
        "masks": {"scheme": "areas"},
        "encoder": {"type": "mlp", "hidden": [6], "embedding_dim": 4},
        "training": {"epochs": 1, "batch_size": 16},
        "readout": {"C": [0.01], "max_iter": 5},
    }
    (tmp_path / "scenes.json").write_text(json.dumps(config))
    assert cli.main(["train", str(tmp_path / "scenes.json"), "--run-dir", str(tmp_path / "run")]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["samples"] == {"train": 72, "validation": 24, "test": 24}


def test_the_command_writes_whole_files_and_says_what_it_did(by_electrodes, tmp_path, capsys):
    out = tmp_path / "mouse.npz"
    words = ["session", str(by_electrodes), "--condition", "side", "--bin-width", "0.125", "-o", str(out)]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "Session('mouse': 5 units in 2 areas, bins of 0.125 s, left 5 trials of 10 bins, right 5 trials of 8 bins)" in said
    assert "areas: VISp 2 CA1 1" in said
    before = out.read_bytes()
    assert cli.main(words) == 2 and "is there already; choose another name" in capsys.readouterr().err
    assert out.read_bytes() == before and cli.main([*words, "--force"]) == 0


def test_a_file_without_conditions_is_said_to_be_one_stimulus(by_electrodes, tmp_path, capsys):
    path = str(by_electrodes)
    assert cli.main(["session", path, "--bin-width", "0.125", "-o", str(tmp_path / "one.npz")]) == 0
    said = capsys.readouterr().out
    assert (
        f"{path}: all trials are one stimulus, so that a training needs dataset.label to be one of 'segment', 'time', not"
        in said
    )
    assert "or tell trials apart by a column, --condition COLUMN, such as " in said and "side" in said
    assert all(line.startswith((path, str(tmp_path / "one.npz"), "  areas")) for line in said.splitlines())
    assert cli.main(["session", path, "--bin-width", "0.1", "--blocks", "4", "-o", str(tmp_path / "blocks.npz")]) == 0
    said = capsys.readouterr().out
    assert f"{path}: blocks of time are no stimuli, so that there is nothing to read out: train with" in said
    assert "one stimulus" not in said and "--condition" not in said
    assert cli.main(["session", path, "--one-bin", "-o", str(tmp_path / "bins.npz")]) == 0
    assert "so that a training needs a label (--labels COLUMN), not 'stimulus'; or tell" in capsys.readouterr().out


def test_inspect_says_what_is_in_a_file_and_which_command_reads_it(by_electrodes, tmp_path, capsys):
    assert cli.main(["inspect", str(by_electrodes)]) == 0
    said = capsys.readouterr().out
    for part in (
        "NWB, 5 units (1 without spikes); 440 spikes, from ",
        "areas, from electrodes/location: VISp 2 CA1 1 none 2",
        "columns of units with text: quality",
        "intervals 'trials': 10 rows",
        "side: 2 different values: left, right",
        f"closer_tf session {by_electrodes} --condition COLUMN --bin-width SECONDS -o mouse.npz",
    ):
        assert part in said
    out = str(tmp_path / "s.npz")
    assert cli.main(["session", str(by_electrodes), "--bin-width", "0.125", "--labels", "side", "-o", out]) == 0
    capsys.readouterr()
    assert cli.main(["inspect", out]) == 0
    said = capsys.readouterr().out
    assert "Session('mouse': 5 units" in said and "label 'side', one per trial: 2 different values: left, right" in said
    assert 'dataset={"name": "session", "path": ' in said


def test_zarr_is_read_and_pickles_are_not(tmp_path, capsys):
    zarr_io = pytest.importorskip("hdmf_zarr", reason="hdmf-zarr is not installed: pip install 'closer_tf[neuro-tools]'")
    import numcodecs
    import zarr

    spikes, start, stop, side = content()
    file = empty_file()
    file.add_unit_column("location", "brain area")
    for k, times in enumerate(spikes):
        file.add_unit(spike_times=times, location=["LP", "LP", "CA1", "nan", "CA1"][k])
    add_trials(file, start, stop, side)
    path = tmp_path / "mouse.nwb.zarr"
    with zarr_io.NWBZarrIO(str(path), mode="w") as io:
        io.write(file)
    session = read_session(path, WIDTH, condition="side", report=lambda line: None)
    assert session.name == "mouse" and session.unit_areas.tolist() == ["LP", "LP", "CA1", "", "CA1"]
    for name in session.stimuli:
        np.testing.assert_array_equal(session.counts(name), expected_counts(spikes, start, stop, side, name))
    assert cli.main(["inspect", str(path)]) == 0 and "intervals 'trials': 10 rows" in capsys.readouterr().out
    for column in ("units/spike_times", "intervals/trials/start_time", "intervals/trials/side"):
        whole = (path / column / "0").read_bytes()
        (path / column / "0").unlink()
        assert (
            cli.main(["session", str(path), "--condition", "side", "--bin-width", "0.1", "-o", str(tmp_path / "no.npz")]) == 2
        )
        said = capsys.readouterr().err
        assert f"error: {path}: /{column}: 1 of its 1 chunks are not there: the folder is not whole; copy it again" in said
        (path / column / "0").write_bytes(whole)
    units = zarr.open_group(str(path / "units"), mode="r+")
    del units["location"]
    units.create_dataset("location", shape=5, dtype=object, object_codec=numcodecs.Pickle())[:] = np.array(
        list("abcde"), object
    )
    assert cli.main(["session", str(path), "--bin-width", "0.1", "-o", str(tmp_path / "no.npz")]) == 2
    assert "areas of units: column 'location' holds pickled objects, which are not read" in capsys.readouterr().err
    assert not (tmp_path / "no.npz").exists()


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "options, message",
    [
        (["--trials", "trails"], "no table of intervals 'trails'; it has trials (10). Did you mean 'trials'? Name one with"),
        (["--condition", "sides"], "condition: the trials have no column 'sides'; they have start, stop, id, side"),
        (["--area-column", "region"], "no brain areas: expected a column 'region' of the units or of their electrodes"),
        (["--area-column", "region"], "columns of text: units/quality, electrodes/group_name, electrodes/location"),
        (["--units", "quality=excellent"], "--units quality=excellent: no unit is left of 5"),
        (["--units", "quality>1"], "--units quality>1: expected a rule such as quality=good"),
        (["--units", "quality>=1"], "--units quality>=1: column 'quality' holds no numbers; expected = or !="),
        (["--units", "snr>=high"], "--units snr>=high: column 'snr' holds numbers, found 'high'"),
        (["--units", "qualty=good"], "--units qualty=good: units: no column 'qualty'; it has id, "),
        (["--units", "spike_times=1"], "column 'spike_times' holds several values per row"),
        (["--blocks", "15"], "blocks of 15 s from "),
        (["--blocks", "5", "--condition", "side"], "--blocks: blocks of time have no columns"),
        (["--labels", "score"], "labels: score: the trials have no column 'score'"),
        (["--length", "3"], "all 10 trials are shorter than 3 s"),
        (["--bin-width", "5"], "its trial 3 from 6 to 7 s is shorter than one bin of 5 s"),
    ],
)
def test_mistakes_name_file_and_column(by_electrodes, tmp_path, capsys, options, message):
    out = tmp_path / "out.npz"
    assert cli.main(["session", str(by_electrodes), "--bin-width", "0.125", "-o", str(out), *options]) == 2
    errors = capsys.readouterr().err
    assert message in errors and "Traceback" not in errors
    assert str(by_electrodes) in errors or options[0] == "--blocks" and len(options) > 2
    assert list(tmp_path.iterdir()) == [by_electrodes]


@pytest.mark.parametrize(
    "times, says",
    [
        (lambda times: times * 1e9, "spike times: expected seconds, found times from"),
        (lambda times: np.append(times, np.nan), "spikes: unit 0: holds times that are not finite; leave these out"),
        (lambda times: times[:0], "no unit has a spike"),
    ],
)
def test_blocks_of_spike_times_that_are_none(tmp_path, capsys, times, says):
    file = empty_file()
    file.add_unit_column("location", "area")
    for spikes in content()[0]:
        file.add_unit(spike_times=times(spikes) if len(spikes) else spikes, location="A")
    path = str(write(tmp_path / "mouse.nwb", file))
    assert cli.main(["session", path, "--bin-width", "0.1", "--blocks", "4", "-o", str(tmp_path / "m.npz")]) == 2
    assert f"error: {path}: {says}" in capsys.readouterr().err and not (tmp_path / "m.npz").exists()
    assert cli.main(["inspect", path]) == 0
    assert " nan " not in capsys.readouterr().out


def test_nanoseconds_by_mistake(tmp_path, capsys):
    spikes, start, stop, side = content()
    for name, scale, trial_scale, message in (
        ("all", 1e9, 1e9, "spike times: expected seconds, found times from"),
        ("trials", 1, 1e9, "expected both in seconds; are they in nanoseconds?"),
    ):
        file = empty_file()
        file.add_unit_column("location", "brain area")
        for times in spikes:
            file.add_unit(spike_times=times * scale, location="LP")
        add_trials(file, (start + 1) * trial_scale, (stop + 1) * trial_scale, side)
        path = write(tmp_path / f"{name}.nwb", file)
        assert cli.main(["session", str(path), "--bin-width", "0.1", "-o", str(tmp_path / "out.npz")]) == 2
        assert f"error: {path}: recording {name}: " in (errors := capsys.readouterr().err) and message in errors
        assert not (tmp_path / "out.npz").exists()


def test_files_without_units_areas_or_trials(tmp_path, capsys):
    nothing = write(tmp_path / "nothing.nwb", empty_file())
    file = empty_file()
    file.add_unit(spike_times=[1.0, 2.0])
    bare = write(tmp_path / "bare.nwb", file)
    file = empty_file()
    file.add_unit_column("location", "brain area")
    file.add_unit(spike_times=[1.0, 2.0], location="LP")
    untried = write(tmp_path / "untried.nwb", file)
    file = empty_file()
    file.add_unit_column("location", "brain area")
    file.add_unit(spike_times=[1.0, 2.0], location="unknown")
    nameless = write(tmp_path / "nameless.nwb", file)
    for path, message in (
        (nothing, "no sorted units: expected a table 'units' with a column 'spike_times'"),
        (
            bare,
            "no brain areas: expected a column 'location' of the units or of their electrodes, found none, and no column 'el",
        ),
        (nameless, "no brain areas: none of the 1 units has a name in units/location; name another one with --area-column"),
        (untried, "no table of intervals 'trials'; it has none. Name one with --trials, or cut"),
        (tmp_path / "absent.nwb", "no such file"),
        (tmp_path, "a folder, but not one of NWB in Zarr" if "zarr" in sys.modules else "a folder"),
    ):
        assert cli.main(["session", str(path), "--bin-width", "0.1", "-o", str(tmp_path / "o.npz")]) == 2
        assert f"error: {path}: {message}" in capsys.readouterr().err


def test_a_file_that_leads_into_another_is_not_followed(by_electrodes, tmp_path, capsys):
    outside = tmp_path / "outside.nwb"
    with h5py.File(outside, "w") as file:
        file["units/spike_times"] = h5py.ExternalLink(str(by_electrodes), "units/spike_times")
    assert cli.main(["session", str(outside), "--bin-width", "0.1", "-o", str(tmp_path / "o.npz")]) == 2
    assert "units/spike_times: lies in another file; that is not read" in capsys.readouterr().err


def test_damaged_files_are_said_to_be(by_electrodes, tmp_path, capsys):
    cut = tmp_path / "cut.nwb"
    cut.write_bytes(by_electrodes.read_bytes()[:20000])
    no_npz = tmp_path / "other.npz"
    np.savez(no_npz, a=np.arange(3))
    (tmp_path / "words.txt").write_text("words")
    for words, message in (
        (["session", str(cut), "--bin-width", "0.1", "-o", str(tmp_path / "o.npz")], "cannot be read as an NWB file"),
        (["inspect", str(cut)], "cut.nwb"),
        (["inspect", str(no_npz)], "an .npz with the arrays a, of none of the known kinds"),
        (["inspect", str(tmp_path / "words.txt")], "neither NWB (HDF5) nor .npz"),
        (["inspect", str(tmp_path / "none")], "no such file"),
        (
            ["session", str(by_electrodes), "--bin-width", "0.1", "-o", "o.nwb"],
            "--out o.nwb: expected a name that ends in .npz",
        ),
    ):
        assert cli.main(words) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "o.npz").exists()


_PLAIN = """
import sys
for name in ("pynwb", "hdmf", "pandas", "tensorflow", "keras", "zarr"):
    sys.modules[name] = None  # importing it raises ImportError
from closer_tf.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_neither_pynwb_nor_pandas_nor_keras_is_needed_on_damaged_or_whole_files(by_electrodes, tmp_path):
    for words in (
        ["session", str(by_electrodes), "--bin-width", "0.1", "-o", str(tmp_path / "o.npz")],
        ["inspect", str(by_electrodes)],
    ):
        done = subprocess.run([sys.executable, "-c", _PLAIN, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
