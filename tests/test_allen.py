"""The Allen pipeline on files in their exact format, written by allensdk itself; downloads from a server on this machine."""

import dataclasses
import http.server
import json
import shutil
import subprocess
import sys
import threading
import urllib.parse
import warnings
from importlib.util import find_spec

import allen_fixture as fixture
import h5py
import numpy as np
import pytest

from closer_tf.data.neuro import allen, allen_cache
from closer_tf.data.neuro.binning import Filters, bin_recording, passing_units
from closer_tf.data.neuro.nwb import read_nwb
from closer_tf.data.neuro.presentations import bin_presentations
from closer_tf.data.neuro.sessions import Session, area_sizes
from closer_tf.errors import DataError

pytestmark = pytest.mark.skipif(
    find_spec("allensdk") is None, reason="allensdk, which writes the test recording, is not installed (Python 3.11 only)"
)
MOVIES = list(fixture.FRAMES)
NPZ = f"session_{fixture.SESSION}.npz"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A cache with one session, read by all tests and changed by none."""
    folder = tmp_path_factory.mktemp("allen") / "cache"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of hdmf and pandas, about allensdk's own code
        fixture.write_cache(folder)
    return folder


@pytest.fixture
def cache(written, tmp_path):
    """A copy of the cache, to be changed."""
    return shutil.copytree(written, tmp_path / "cache", ignore=shutil.ignore_patterns("parts"))


@pytest.fixture(scope="module")
def recording(written):
    """What allensdk's EcephysProjectCache reads, with its own default filters."""
    return allen_cache.read_session(written, fixture.SESSION)


@pytest.fixture(scope="module")
def by_allensdk(recording):
    """(session, reports) through allensdk."""
    reports = []
    return bin_recording(recording, report=reports.append), reports


@pytest.fixture(scope="module")
def by_h5py(written):
    """(session, reports) through the plain reader."""
    reports = []
    return bin_recording(read_nwb(nwb_file(written)), report=reports.append), reports


def nwb_file(folder):
    return allen_cache.session_file(folder, fixture.SESSION)


def assert_same(first, second):
    assert (first.name, first.bin_width, list(first.stimuli)) == (second.name, second.bin_width, list(second.stimuli))
    np.testing.assert_array_equal(first.unit_ids, second.unit_ids)
    np.testing.assert_array_equal(first.unit_areas, second.unit_areas)
    for name in first.stimuli:
        np.testing.assert_array_equal(first.counts(name), second.counts(name))
        np.testing.assert_array_equal(first.trials[name], second.trials[name])


# -------------------------------------------------------------------------------------------------------- every count


@pytest.mark.parametrize("reader", ["by_allensdk", "by_h5py"])
def test_every_count_is_that_of_the_table(reader, request):
    session, reports = request.getfixturevalue(reader)
    assert session.name == str(fixture.SESSION)
    np.testing.assert_array_equal(session.unit_ids, fixture.KEPT_UNITS)
    np.testing.assert_array_equal(session.unit_areas, fixture.KEPT_AREAS)
    assert list(session.stimuli) == MOVIES
    for movie in MOVIES:
        np.testing.assert_array_equal(session.counts(movie), fixture.expected_counts(movie))
    assert len(reports) == 2
    assert "natural_movie_three: 7 of 8 frames from 48.00 s on: trial dropped" in reports[0]
    assert "probe probeC was invalid from 49.90 to 50.10 s" in reports[1]
    assert list(area_sizes(session.unit_areas, ("grey",)))[:2] == ["VISp", "CA1"]
    assert {name: numbers.tolist() for name, numbers in session.trials.items()} == fixture.KEPT_TRIALS


def test_the_table_itself_by_hand():
    # unit 501 of movie one: (501 * 7 + 5 + 3 * trial + frame^2) mod 5, plus one spike on an edge and one in a pause
    assert fixture.expected_counts("natural_movie_one")[:2, :, 0].tolist() == [[2, 3, 2, 1, 3, 2], [0, 2, 4, 4, 1, 0]]
    assert fixture.expected_counts("natural_movie_three")[3, 7, 0] == (501 * 7 + 15 + 12 + 49) % 5 + 1


def test_both_readers_agree(by_allensdk, by_h5py):
    assert_same(by_allensdk[0], by_h5py[0])
    assert by_allensdk[1] == by_h5py[1]


def test_the_filters_select_what_allensdk_selects(written, recording):
    units = read_nwb(nwb_file(written)).units
    assert set(units.ids[passing_units(units)]) == set(recording.units.ids)
    assert len(recording.units.ids) == 7 and len(units.ids) == 13


def test_a_trial_without_a_valid_frame_is_counted_by_both_readers(cache):
    with h5py.File(nwb_file(cache), "a") as file:
        invalid = file["intervals/invalid_times"]
        row = [k for k, start in enumerate(invalid["start_time"][:]) if start == 48.51][0]
        invalid["start_time"][row], invalid["stop_time"][row] = 47.9, 48.999
    for recording in (read_nwb(nwb_file(cache)), allen_cache.read_session(cache, fixture.SESSION)):
        session = bin_recording(recording, report=lambda line: None)
        assert session.trials["natural_movie_three"].tolist() == [0, 1, 3, 4]


def test_without_invalid_times_all_is_kept_and_areas_are_those_of_the_channels_table(cache):
    with h5py.File(nwb_file(cache), "a") as file:
        del file["intervals/invalid_times"]
    fixture.write_tables(cache, acronyms={9001: "VISl"})
    plain = bin_recording(read_nwb(nwb_file(cache)), report=pytest.fail)
    full = bin_recording(allen_cache.read_session(cache, fixture.SESSION), report=pytest.fail)
    assert plain.unit_areas.tolist() == [*fixture.KEPT_AREAS, "VISp", "LP"]
    assert full.unit_areas.tolist() == ["VISl", "CA1", "VISp", "grey", "VISl", "VISp", "LP"]
    assert_same(dataclasses.replace(plain, unit_areas=full.unit_areas), full)
    assert plain.unit_ids.tolist() == [501, 502, 503, 504, 505, 520, 521]
    assert [len(counts) for counts in plain.stimuli.values()] == [6, 5]


_PLAIN = """
import sys
for name in ("allensdk", *sys.argv[1].split(",")):
    sys.modules[name] = None  # importing it raises ImportError
from closer_tf.data.neuro.allen import main
sys.exit(main(sys.argv[2:]))
"""


def test_the_plain_reader_needs_neither_allensdk_nor_pynwb_nor_pandas(written, tmp_path, by_allensdk):
    arguments = ["pynwb,pandas,tensorflow,keras", "--nwb", str(nwb_file(written)), "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", _PLAIN, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_same(Session.load(tmp_path / NPZ), by_allensdk[0])


_PYNWB = """
import sys
sys.modules["allensdk"] = None
import numpy as np, pynwb
from closer_tf.data.neuro.nwb import read_nwb
recording = read_nwb(sys.argv[1])
with pynwb.NWBHDF5IO(sys.argv[1], "r", load_namespaces=True) as io:
    file = io.read()
    units = file.units.to_dataframe()
    assert recording.units.ids.tolist() == units.index.tolist()
    for unit, times in units["spike_times"].items():
        np.testing.assert_array_equal(recording.spike_times[unit], times)
    places = file.electrodes.to_dataframe()["location"].replace("None", "")
    assert recording.units.areas.tolist() == places[units["peak_channel_id"]].tolist()
    for name, frames in recording.stimuli.items():
        table = file.intervals[name + "_presentations"].to_dataframe()
        np.testing.assert_array_equal(frames.start, table["start_time"])
        np.testing.assert_array_equal(frames.frame, table["frame"])
    assert [list(i.tags) for i in recording.invalid] == [list(t) for t in file.invalid_times.to_dataframe()["tags"]]
"""


def test_the_plain_reader_sees_what_pynwb_sees(written):
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _PYNWB, nwb_file(written)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --------------------------------------------------------------------------------------------------------- bad input


def test_a_truncated_file_is_named_and_left_alone(cache):
    file = nwb_file(cache)
    content = file.read_bytes()
    for length in (0, 100, len(content) // 2, len(content) - 1000):
        file.write_bytes(content[:length])
        with pytest.raises(DataError, match=f"{file.name}: cannot be read as an NWB file; it may be cut short"):
            read_nwb(file)
    with pytest.raises(DataError, match=f"{file.name}: allensdk cannot read this: OSError: .*The files are as they were"):
        allen_cache.read_session(cache, fixture.SESSION)
    assert file.read_bytes() == content[: len(content) - 1000]


def test_a_damaged_table_is_left_alone(cache):
    (cache / "units.csv").write_text("this is no table")
    with pytest.raises(DataError, match="allensdk cannot read this"):
        allen_cache.list_sessions(cache)
    assert (cache / "units.csv").read_text() == "this is no table"


def test_a_failure_in_the_middle_of_reading_leaves_the_file_alone(cache):
    with h5py.File(nwb_file(cache), "a") as file:
        del file["units/spike_times"], file["units/spike_times_index"]
    content = nwb_file(cache).read_bytes()
    with pytest.raises(DataError, match="allensdk cannot read this"):
        allen_cache.read_session(cache, fixture.SESSION)
    assert nwb_file(cache).read_bytes() == content
    with pytest.raises(DataError, match=f"session_{fixture.SESSION}.nwb: not a session file .*spike_times"):
        read_nwb(nwb_file(cache))


def test_absent_files(written, tmp_path):
    with pytest.raises(DataError, match="session_5.nwb: no such file"):
        allen_cache.read_session(written, 5)
    with pytest.raises(DataError, match="sessions.csv: no such file"):
        allen_cache.read_session(tmp_path, fixture.SESSION)
    with pytest.raises(DataError, match="none.nwb: no such file"):
        read_nwb(tmp_path / "none.nwb")


def test_no_unit_passes_and_a_movie_is_missing(cache):
    with h5py.File(nwb_file(cache), "a") as file:
        file["units/quality"][:] = "noise"
    with pytest.raises(DataError, match="no unit passes the quality filters: of 13 units, quality 'good' 0, "):
        bin_recording(read_nwb(nwb_file(cache)))
    with h5py.File(nwb_file(cache), "a") as file:
        del file["intervals/natural_movie_three_presentations"]
    with pytest.raises(DataError, match="stimulus 'natural_movie_three' is missing; it has natural_movie_one."):
        bin_recording(read_nwb(nwb_file(cache)))


def test_a_unit_on_an_unknown_channel(cache):
    with h5py.File(nwb_file(cache), "a") as file:
        file["units/peak_channel_id"][0] = 123456
    with pytest.raises(DataError, match="a unit's peak channel is not in the table of electrodes"):
        read_nwb(nwb_file(cache))


@pytest.mark.parametrize(
    "column, change",
    [
        ("units/spike_times_index", lambda ends: ends[::-1].copy()),
        ("units/spike_times_index", lambda ends: ends + 5),
        ("units/spike_times_index", lambda ends: ends - 1),
        ("intervals/invalid_times/tags_index", lambda ends: ends + 1),
    ],
)
def test_an_index_that_does_not_fit_its_column_is_refused(cache, column, change):
    import h5py

    with h5py.File(nwb_file(cache), "r+") as file:
        file[column][...] = change(file[column][()].astype(np.int64))
    with pytest.raises(DataError, match=f"{column.split('/')[-1]}: expected ends that ascend to the .* values there are"):
        read_nwb(nwb_file(cache))


# -------------------------------------------------------------------------------------------------------- the command


def test_command_on_a_local_cache_writes_once(written, tmp_path, capsys, monkeypatch, recording, by_allensdk):
    monkeypatch.setattr(allen_cache, "read_session", lambda cache, session, filters: recording)  # has been read before
    command = [str(fixture.SESSION), "--cache", str(written), "--out", str(tmp_path)]
    assert allen.main(command) == 0
    out = capsys.readouterr().out
    assert "trial dropped" in out and "5 units; natural_movie_one 6 trials of 6 bins, natural_movie_three 4" in out
    assert "areas: VISp 3 grey 1 CA1 1" in out
    assert_same(Session.load(tmp_path / NPZ), by_allensdk[0])
    first = (tmp_path / NPZ).stat()
    assert allen.main(command) == 0
    assert "already written" in capsys.readouterr().out
    assert (tmp_path / NPZ).stat().st_mtime_ns == first.st_mtime_ns
    assert allen.main([*command, "--stimuli", "natural_movie_one"]) == 2
    assert "holds natural_movie_one, natural_movie_three, asked for natural_movie_one; add --force" in capsys.readouterr().err
    assert allen.main([*command, "--stimuli", "natural_movie_one", "--force"]) == 0
    assert list(Session.load(tmp_path / NPZ).stimuli) == ["natural_movie_one"]


def test_command_on_a_file(written, tmp_path, capsys):
    command = ["--nwb", str(nwb_file(written)), "--out", str(tmp_path)]
    assert allen.main([*command, "--stimuli", "natural_movie_three", "--bins-per-frame", "2"]) == 0
    assert Session.load(tmp_path / NPZ).counts("natural_movie_three").shape == (4, 16, 5)
    assert allen.main([*command, "--stimuli", "natural_movie_three"]) == 2
    assert "holds 2 bins per frame, asked for 1; add --force" in capsys.readouterr().err
    (tmp_path / NPZ).write_bytes(b"damaged")
    assert allen.main(command) == 0
    assert "making it anew" in capsys.readouterr().out
    assert list(Session.load(tmp_path / NPZ).stimuli) == MOVIES
    assert allen.main(["--nwb", str(tmp_path / "none.nwb")]) == 2
    assert "none.nwb: no such file" in capsys.readouterr().err
    assert allen.main(["5", *command]) == 2


def test_presentations_become_trials_of_one_bin(written, tmp_path, capsys, recording):
    command = ["--nwb", str(nwb_file(written)), "--out", str(tmp_path), "--presentations", "drifting_gratings"]
    assert allen.main([*command, "--condition", "orientation"]) == 0
    session = Session.load(tmp_path / f"session_{fixture.SESSION}_drifting_gratings.npz")
    assert list(session.stimuli) == [str(45 * k) for k in range(8)] and session.bin_width == 0.25
    # the probe that is invalid while movies are shown is not while gratings are
    assert session.unit_ids.tolist() == [*fixture.KEPT_UNITS, 520, 521]
    for k in range(10):
        start = 40 + 0.25 * k
        spikes = [fixture.spike_times(unit) for unit in session.unit_ids.tolist()]
        expected = [((times >= start) & (times <= start + 0.25)).sum() for times in spikes]
        assert session.counts(str(45 * (k % 8)))[k // 8, 0].tolist() == expected
    by_allensdk = bin_presentations(recording, "drifting_gratings", ["orientation"], report=lambda line: None)
    assert_same(by_allensdk, session)
    assert allen.main([*command, "--condition", "orientation"]) == 0
    assert "already written" in capsys.readouterr().out
    for more, message in (
        (["--condition", "angle"], "condition: the trials have no column 'angle'"),
        (["--presentations", "gratings"], "no presentations of 'gratings'; it has drifting_gratings, "),
    ):
        assert allen.main([*command, *more, "--force"]) == 2
        assert message in capsys.readouterr().err
    assert allen.main(["--nwb", str(nwb_file(written)), "--condition", "orientation"]) == 2


def test_filters_are_options_and_a_missing_metric_names_the_one_that_goes_on_without_it(cache, tmp_path, capsys):
    command = ["--nwb", str(nwb_file(cache)), "--out", str(tmp_path)]
    assert allen.main([*command, "--amplitude-cutoff", "0.11", "--skip", "presence_ratio", "quality"]) == 0
    assert Session.load(tmp_path / NPZ).unit_ids.tolist() == [501, 502, 503, 504, 505, 510, 511, 513]
    assert allen.main([*command, "--skip", "quality"]) == 2
    assert "is there already, made with filters that it does not name; add --force" in capsys.readouterr().err
    with h5py.File(nwb_file(cache), "a") as file:
        del file["units/amplitude_cutoff"]
    assert allen.main([*command, "--force"]) == 2
    said = "the units have no 'amplitude_cutoff', which a filter looks at; --skip amplitude_cutoff goes on without that filter"
    assert said in capsys.readouterr().err
    assert allen.main([*command, "--force", "--skip", "amplitude_cutoff"]) == 0
    assert 511 in Session.load(tmp_path / NPZ).unit_ids


def test_allensdk_applies_the_metrics_it_is_given(written):
    found = allen_cache.read_session(written, fixture.SESSION, Filters(presence_ratio=0.94, isi_violations=0.51))
    assert {513, 514} <= set(found.units.ids.tolist())


@pytest.mark.parametrize("skipped", [field.name for field in dataclasses.fields(Filters)])
def test_a_cache_takes_the_filters_that_a_file_takes(cache, tmp_path, skipped):
    fixture.write_tables(cache, acronyms={9001: "VISl"})
    filters = dataclasses.replace(Filters(), **{skipped: None if getattr(Filters(), skipped) is not True else False})
    of_cache, of_file = allen_cache.read_session(cache, fixture.SESSION, filters), read_nwb(nwb_file(cache))
    one, other = (bin_recording(found, report=lambda line: None, filters=filters) for found in (of_cache, of_file))
    assert_same(one, dataclasses.replace(other, unit_areas=one.unit_areas))
    expected = ["VISl" if fixture.UNITS[unit][0] == 9001 else area for unit, area in zip(other.unit_ids, other.unit_areas)]
    assert one.unit_areas.tolist() == expected
    more = {"quality": 510, "amplitude_cutoff": 511, "presence_ratio": 513, "isi_violations": 514}
    more |= {"valid_channel": 515, "in_brain": 516}
    assert sorted({*one.unit_ids.tolist()} - {*fixture.KEPT_UNITS}) == [more[skipped]]
    shown = [
        bin_presentations(found, "drifting_gratings", ["orientation"], filters, lambda line: None)
        for found in (of_cache, of_file)
    ]
    assert_same(shown[0], dataclasses.replace(shown[1], unit_areas=shown[0].unit_areas))
    assert more[skipped] in shown[0].unit_ids


def test_a_damaged_table_of_channels(cache):
    (cache / "channels.csv").write_text("id,area\n9001,VISp\n")
    with pytest.raises(DataError, match="channels.csv: expected the cache's table of channels, with the columns id and eceph"):
        allen_cache.read_session(cache, fixture.SESSION, Filters(quality=None))


def test_command_says_its_version_and_what_the_disk_says(written, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        allen.main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out.startswith("closer_tf ")
    (tmp_path / "file").write_text("")
    assert allen.main(["--nwb", str(nwb_file(written)), "--out", str(tmp_path / "file" / "out")]) == 2
    assert "error: " in capsys.readouterr().err


def test_command_lists(written, capsys):
    assert allen.main(["--list", "--cache", str(written)]) == 0
    line = f"{fixture.SESSION}  brain_observatory_1.1, in the cache: 8 units: VISp 5 grey 1 LP 1 CA1 1"
    assert line in capsys.readouterr().out
    assert allen.main(["--list", "--nwb", str(nwb_file(written))]) == 0
    out = capsys.readouterr().out
    assert "7 units: VISp 4 grey 1 LP 1 CA1 1" in out and "natural_movie_one, natural_movie_three" in out


def test_command_without_allensdk_says_what_to_do(written, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(allen_cache.importlib.util, "find_spec", lambda name: None)
    assert allen.main([str(fixture.SESSION), "--cache", str(written), "--out", str(tmp_path)]) == 2
    assert "allensdk is not installed: pip install 'closer_tf[allen]'" in capsys.readouterr().err


def test_published_areas():
    assert list(allen.PUBLISHED_AREAS) == [751348571, 755434585, 757216464, 757970808]
    assert all(len(set(areas)) == 10 and "grey" not in areas for areas in allen.PUBLISHED_AREAS.values())


# --------------------------------------------------------------------------------------------------------- downloads


class Warehouse(http.server.BaseHTTPRequestHandler):
    """Answers like the Allen Institute's server: queries with JSON rows, files with bytes, also from the middle on."""

    rows, content, ranges, limit = {}, b"", [], None

    def do_HEAD(self):
        self._send(200, b"", len(self.content))

    def do_GET(self):
        path = urllib.parse.unquote(self.path)
        if "/query.json" in path:
            model = path.split("model::")[1].split(",")[0].split("[")[0]
            rows = self.rows[model]
            answer = {"success": True, "msg": rows, "num_rows": len(rows), "total_rows": len(rows)}
            return self._send(200, json.dumps(answer).encode())
        wanted = self.headers.get("Range")
        self.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        part = self.content[start:]
        self._send(206 if wanted else 200, part[: self.limit], len(part))

    def _send(self, status, body, length=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def warehouse(written, monkeypatch):
    """A server on this machine in place of the Allen Institute's."""
    handler = type("Handler", (Warehouse,), {"ranges": [], "content": nwb_file(written).read_bytes()})
    handler.rows = {"WellKnownFile": [{"id": 1, "download_link": "/download/1", "path": "/x.nwb"}]} | table_rows()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setattr(allen_cache, "WAREHOUSE", ("http", f"127.0.0.1:{server.server_port}"))
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def table_rows():
    """The four tables as the server sends them."""
    donor = {"age": {"days": 100}, "sex": "M", "full_genotype": None}
    files = [{"well_known_file_type": {"name": "EcephysNwb"}}]
    session = {"id": fixture.SESSION, "stimulus_name": "brain_observatory_1.1", "specimen": {"donor": donor}}
    probes = [
        {"id": number, "ecephys_session_id": fixture.SESSION, "name": name, "use_lfp_data": False}
        for name, number in fixture.PROBES.items()
    ]
    channels = [
        {
            "id": channel,
            "ecephys_probe_id": fixture.PROBES[probe],
            "local_index": 0,
            "anterior_posterior_ccf_coordinate": 1,
            "dorsal_ventral_ccf_coordinate": 1,
            "left_right_ccf_coordinate": 1,
            "ecephys_structure_id": 385,
            "ecephys_structure_acronym": location,
        }
        for channel, (probe, location, _) in fixture.CHANNELS.items()
    ]
    units = [
        {"id": unit, "ecephys_channel_id": channel, **{name: value for name, value in metrics.items() if value == value}}
        for unit, (channel, metrics, _) in fixture.UNITS.items()
    ]
    sessions = [session | {"well_known_files": files, "fail_eye_tracking": False}]
    return {"EcephysSession": sessions, "EcephysProbe": probes, "EcephysChannel": channels, "EcephysUnit": units}


def test_download_says_its_size_first_and_waits_for_yes(warehouse, tmp_path, capsys, by_allensdk):
    command = [str(fixture.SESSION), "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    assert allen.main(command) == 2
    captured = capsys.readouterr()
    assert f"session {fixture.SESSION}: 0.55 MB to download" in captured.out
    assert "sessions.csv, probes.csv, channels.csv, units.csv: some tens of MB" in captured.out
    assert "lacks 4 tables and 1 sessions; to download them, add --yes" in captured.err
    assert warehouse.ranges == [] and not (tmp_path / "cache").exists()
    assert allen.main([*command, "--yes"]) == 0
    assert nwb_file(tmp_path / "cache").read_bytes() == warehouse.content
    assert sorted(f.name for f in (tmp_path / "cache").iterdir()) == sorted([*allen_cache.TABLES, nwb_file("").parent.name])
    session = Session.load(tmp_path / "out" / NPZ)
    np.testing.assert_array_equal(session.counts(MOVIES[1]), by_allensdk[0].counts(MOVIES[1]))
    assert allen.main(command) == 0  # written before: nothing to download
    assert warehouse.ranges == [None]


def test_an_interrupted_download_continues(warehouse, tmp_path, monkeypatch):
    monkeypatch.setattr(allen_cache, "_CHUNK", 10_000)
    url, size = allen_cache.session_url(fixture.SESSION)
    assert size == len(warehouse.content)
    warehouse.limit = 200_000
    seen = []
    with pytest.raises(DataError, match="stopped after .* bytes: .*the same command continues the download"):
        allen_cache.download_file(url, size, tmp_path / "s.nwb", lambda done, size: seen.append(done))
    assert not (tmp_path / "s.nwb").exists()
    done = (tmp_path / "s.nwb.part").stat().st_size
    assert 0 < done <= 200_000 and seen[-1] == done
    warehouse.limit = None
    allen_cache.download_file(url, size, tmp_path / "s.nwb", lambda done, size: None)
    assert (tmp_path / "s.nwb").read_bytes() == warehouse.content
    assert warehouse.ranges == [None, f"bytes={done}-"]
    assert not (tmp_path / "s.nwb.part").exists()


def test_no_room_and_no_network(warehouse, tmp_path, monkeypatch, capsys):
    url, size = allen_cache.session_url(fixture.SESSION)
    with pytest.raises(DataError, match="room for"):
        allen_cache.download_file(url, 10**18, tmp_path / "s.nwb", lambda done, size: None)
    monkeypatch.setattr(allen_cache, "WAREHOUSE", ("http", "127.0.0.1:9"))  # nobody listens there
    with pytest.raises(DataError, match="session 5: cannot be downloaded: .*copy an allensdk cache here"):
        allen_cache.session_url(5)
    assert allen.main(["--list", "--cache", str(tmp_path), "--yes"]) == 2
    assert "the tables sessions.csv, probes.csv, channels.csv, units.csv: cannot be downloaded" in capsys.readouterr().err
    assert [f.name for f in tmp_path.iterdir()] == []


@pytest.mark.parametrize("kind", ["SSLError", "ProxyError"])
def test_what_stands_between_is_named(kind):
    """A certificate or a proxy, which an institute can mend, not only that there is no connection."""
    from requests import exceptions

    assert allen_cache._reason(getattr(exceptions, kind)("407 or so")) == f"{kind}: 407 or so"
    assert allen_cache._reason(exceptions.ConnectionError("a long story")) == "no connection"


def test_a_session_that_does_not_exist(warehouse):
    warehouse.rows["WellKnownFile"] = []
    with pytest.raises(DataError, match="session 5: cannot be downloaded: ValueError: expected exactly 1 nwb file"):
        allen_cache.session_url(5)
