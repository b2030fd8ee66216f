"""A small recording in the exact format of the Allen Institute's, written by allensdk's own NWB writer.

Two movies of 6 and 8 frames, a block of gratings, and three probes. What a reader has to find is written down here as
plain tables: `UNITS` says why each unit stays or goes, `expected_counts` what every kept unit has to show in every bin.
"""

from datetime import UTC, datetime
from unittest import mock

import numpy as np

SESSION = 700000001
FRAMES = {"natural_movie_one": 6, "natural_movie_three": 8}
# Start of each trial in seconds; two blocks each. Trial 2 of movie three (at 48 s) has an invalid frame.
TRIAL_STARTS = {
    "natural_movie_one": [10.0, 11.0, 12.0, 13.0, 60.0, 61.0],
    "natural_movie_three": [30.0, 31.0, 48.0, 49.0, 50.0],
}
KEPT_TRIALS = {"natural_movie_one": [0, 1, 2, 3, 4, 5], "natural_movie_three": [0, 1, 3, 4]}
# Frames start at these times after the trial's start: no two are of the same length.
FRAME_STARTS = {
    "natural_movie_one": [0.0, 0.125, 0.25, 0.4375, 0.5, 0.75],
    "natural_movie_three": [0.0, 0.0625, 0.25, 0.3125, 0.5, 0.5625, 0.6875, 0.75],
}
TRIAL_LENGTH = {"natural_movie_one": 0.875, "natural_movie_three": 1.0}
EARLY_STOP = 1 / 64  # frame 1 stops that much before frame 2 starts; its bin lasts until frame 2 all the same

PROBES = {"probeA": 801, "probeB": 802, "probeC": 803}
# id: (probe, location in the NWB file, valid_data)
CHANNELS = {
    9001: ("probeA", "VISp", True),
    9002: ("probeA", "CA1", True),
    9003: ("probeA", "VISp", False),
    9004: ("probeA", "None", True),
    9011: ("probeB", "VISp", True),
    9012: ("probeB", "grey", True),
    9021: ("probeC", "VISp", True),
    9022: ("probeC", "LP", True),
}
GOOD = {"quality": "good", "amplitude_cutoff": 0.01, "presence_ratio": 0.99, "isi_violations": 0.1}
# id: (peak channel, metrics, kept). Ids do not ascend along the file, so that units have to be sorted.
UNITS = {
    505: (9001, GOOD, True),
    501: (9001, GOOD | {"amplitude_cutoff": 0.1, "presence_ratio": 0.95, "isi_violations": 0.5}, True),  # just passes
    502: (9002, GOOD, True),
    510: (9001, GOOD | {"quality": "noise"}, False),
    511: (9001, GOOD | {"amplitude_cutoff": 0.11}, False),
    512: (9001, GOOD | {"amplitude_cutoff": np.nan}, False),  # the writer leaves this one out of the NWB file
    513: (9002, GOOD | {"presence_ratio": 0.94}, False),
    514: (9002, GOOD | {"isi_violations": 0.51}, False),
    515: (9003, GOOD, False),  # the channel's data are not valid
    516: (9004, GOOD, False),  # out of the brain
    503: (9011, GOOD, True),  # probe B is invalid, but between the trials
    504: (9012, GOOD, True),
    520: (9021, GOOD, False),  # probe C is invalid during a trial
    521: (9022, GOOD, False),
}
INVALID = [
    {"type": "EcephysProbe", "id": 802, "label": "probeB", "start_time": 20.0, "end_time": 25.0},
    {"type": "EcephysProbe", "id": 803, "label": "probeC", "start_time": 49.9, "end_time": 50.1},
    {"type": "EcephysSession", "id": SESSION, "label": "stimulus", "start_time": 48.51, "end_time": 48.52},
]
KEPT_UNITS = [501, 502, 503, 504, 505]
KEPT_AREAS = ["VISp", "CA1", "VISp", "grey", "VISp"]

_MOVIE_NUMBER = {"natural_movie_one": 1, "natural_movie_three": 3}


def frame_edges(movie, start):
    """Where the bins of a trial begin, and where the last one ends, in seconds."""
    return np.array([start + offset for offset in FRAME_STARTS[movie]] + [start + TRIAL_LENGTH[movie]])


def rule(unit, movie, trial, frame):
    """Spikes of a unit inside a frame, away from its edges: 0 to 4."""
    return (unit * 7 + _MOVIE_NUMBER[movie] * 5 + trial * 3 + frame * frame) % 5


def spike_times(unit):
    """Spike times of a unit in seconds: those of `rule`, and a few where counting can go wrong."""
    times = [1.0 + unit / 1000, 40.0]  # outside the movies
    for movie, starts in TRIAL_STARTS.items():
        for trial, start in enumerate(starts):
            edges = frame_edges(movie, start)
            for frame in range(FRAMES[movie]):
                n = rule(unit, movie, trial, frame)
                times += list(edges[frame] + (edges[frame + 1] - edges[frame]) * (np.arange(n) + 1) / (n + 1))
    if unit == 501:
        times.append(10.25)  # the edge of frames 1 and 2 of trial 0 of movie one: counts for frame 2
        times.append(11.0 + 0.25 - EARLY_STOP / 2)  # after frame 1 has stopped, before frame 2 starts: counts for frame 1
        times.append(30.0)  # the first edge of trial 0 of movie three: counts for frame 0
        times.append(50.0 + 1.0)  # the last edge of trial 4 of movie three: counts for frame 7
        times += [9.999, 60.876]  # just outside a trial
    return np.sort(np.array(times))


def expected_counts(movie):
    """Counts (trials, frames, units) of the trials and units that have to be kept."""
    table = np.array(
        [
            [[rule(unit, movie, trial, frame) for unit in KEPT_UNITS] for frame in range(FRAMES[movie])]
            for trial in KEPT_TRIALS[movie]
        ]
    )
    if movie == "natural_movie_one":
        table[0, 2, 0] += 1
        table[1, 1, 0] += 1
    else:
        table[0, 0, 0] += 1
        table[3, 7, 0] += 1  # trial 4 is the fourth that is kept
    return table


def write_cache(folder, invalid=INVALID):
    """Write a cache as allensdk lays it out: four tables and one session's NWB file.

    Args:
        folder: pathlib.Path, made when absent.
        invalid: invalid epochs, dicts as in `INVALID`.

    Returns:
        Path of the NWB file.
    """
    from allensdk.brain_observatory.behavior.data_objects.stimuli.presentations import Presentations
    from allensdk.brain_observatory.ecephys.write_nwb.__main__ import write_ecephys_nwb

    parts = folder / "parts"
    parts.mkdir(parents=True)
    nwb = folder / f"session_{SESSION}" / f"session_{SESSION}.nwb"
    _write_stimuli(parts / "stimuli.csv")
    _write_running(parts / "running.h5")
    with mock.patch.object(Presentations, "_add_is_image_novel", lambda *args, **kwargs: None):  # would ask a database
        write_ecephys_nwb(
            output_path=str(nwb),
            session_id=SESSION,
            session_start_time=datetime(2019, 1, 1, tzinfo=UTC),
            stimulus_table_path=str(parts / "stimuli.csv"),
            invalid_epochs=list(invalid),
            probes=[_probe(name, parts) for name in PROBES],
            running_speed_path=str(parts / "running.h5"),
            session_sync_path=None,
            pool_size=1,
            session_metadata={
                "specimen_name": "mouse-1",
                "age_in_days": 100.0,
                "full_genotype": "wt/wt",
                "strain": "C57BL/6J",
                "sex": "M",
                "stimulus_name": "brain_observatory_1.1",
                "species": "Mus musculus",
                "donor_id": 1,
            },
        )
    write_tables(folder)
    return nwb


def write_tables(folder, acronyms=None):
    """Write the four tables of a cache.

    Args:
        folder: pathlib.Path.
        acronyms: dict of channel id to acronym, where channels.csv differs from the NWB file.
    """
    import pandas as pd

    acronyms = {channel: location for channel, (_, location, _) in CHANNELS.items()} | (acronyms or {})
    common = {"published_at": "2019-10-03T00:00:00Z", "specimen_id": 1, "isi_experiment_id": 2, "has_nwb": True}
    sessions = [{"id": SESSION, "session_type": "brain_observatory_1.1", "age_in_days": 100.0, "sex": "M", "genotype": "wt/wt"}]
    probes = [
        {
            "id": number,
            "ecephys_session_id": SESSION,
            "name": name,
            "sampling_rate": 30000.0,
            "lfp_sampling_rate": 2500.0,
            "lfp_temporal_subsampling_factor": 2.0,
            "phase": "3a",
            "has_lfp_data": False,
        }
        for name, number in PROBES.items()
    ]
    channels = [
        {
            "id": channel,
            "ecephys_probe_id": PROBES[probe],
            "local_index": local,
            "probe_horizontal_position": 10,
            "probe_vertical_position": 20 * local,
            "anterior_posterior_ccf_coordinate": 1.0,
            "dorsal_ventral_ccf_coordinate": 2.0,
            "left_right_ccf_coordinate": 3.0,
            "ecephys_structure_id": np.nan if acronyms[channel] == "None" else 385,
            "ecephys_structure_acronym": np.nan if acronyms[channel] == "None" else acronyms[channel],
        }
        for local, (channel, (probe, _, _)) in enumerate(CHANNELS.items())
    ]
    units = [{"id": unit, "ecephys_channel_id": peak, "snr": 2.0, **metrics} for unit, (peak, metrics, _) in UNITS.items()]
    tables = {"sessions": [row | common for row in sessions], "probes": probes, "channels": channels, "units": units}
    for name, rows in tables.items():
        pd.DataFrame(rows).set_index("id").to_csv(folder / f"{name}.csv")


def _write_stimuli(path):
    import pandas as pd

    rows, block = [], 0
    blocks = [("natural_movie_one", range(0, 4)), ("natural_movie_three", range(0, 2))]
    blocks += [("natural_movie_three", range(2, 5)), ("natural_movie_one", range(4, 6))]
    for movie, trials in blocks:
        for trial in trials:
            edges = frame_edges(movie, TRIAL_STARTS[movie][trial])
            for frame in range(FRAMES[movie]):
                stop = edges[frame + 1] - (EARLY_STOP if frame == 1 else 0)
                rows.append((edges[frame], stop, movie, block, float(frame), np.nan))
        block += 1
    rows += [(40 + 0.25 * k, 40.25 + 0.25 * k, "drifting_gratings", block, np.nan, 45.0 * (k % 8)) for k in range(10)]
    rows += [(0.5, 10.0, "spontaneous", np.nan, np.nan, np.nan), (20.0, 30.0, "spontaneous", np.nan, np.nan, np.nan)]
    table = pd.DataFrame(rows, columns=["Start", "End", "stimulus_name", "stimulus_block", "frame", "orientation"])
    table = table.sort_values("Start")
    table["stimulus_index"] = table["stimulus_block"]
    table.to_csv(path, index=False)


def _write_running(path):
    import pandas as pd

    times = np.arange(0.0, 10.0, 0.5)
    speed = {"start_time": times, "end_time": times + 0.5, "velocity": times, "net_rotation": times}
    raw = {"frame_time": times, "dx": times, "vsig": times, "vin": times}
    pd.DataFrame(speed).to_hdf(path, key="running_speed", mode="w")
    pd.DataFrame(raw).to_hdf(path, key="raw_data", mode="a")


def _probe(name, folder):
    """What the writer has to know of a probe, its arrays written to files."""
    units = [unit for unit, (channel, _, _) in UNITS.items() if CHANNELS[channel][0] == name]
    channels = [channel for channel, (probe, _, _) in CHANNELS.items() if probe == name]
    spikes = [spike_times(unit) for unit in units]
    clusters = np.concatenate([np.full(len(times), k) for k, times in enumerate(spikes)])
    samples = 4
    arrays = {
        "spike_times_path": np.concatenate(spikes),
        "spike_clusters_file": clusters,
        "spike_templates_path": clusters,
        "spike_amplitudes_path": np.ones(len(clusters)),
        "templates_path": np.ones((len(units), samples, len(channels))),
        "inverse_whitening_matrix_path": np.eye(len(channels)),
        "mean_waveforms_path": np.ones((len(units), len(channels), samples)),
    }
    paths = {key: folder / f"{name}_{key}.npy" for key in arrays}
    for key, path in paths.items():
        np.save(path, arrays[key])
    return {
        "id": PROBES[name],
        "name": name,
        "sampling_rate": 30000.0,
        "temporal_subsampling_factor": 2.0,
        "lfp": None,
        "channels": [_channel(channel, local) for local, channel in enumerate(channels)],
        "units": [_unit(unit, k) for k, unit in enumerate(units)],
        **{key: str(path) for key, path in paths.items()},
    }


def _channel(channel, local):
    probe, location, valid = CHANNELS[channel]
    return {
        "id": channel,
        "probe_id": PROBES[probe],
        "valid_data": valid,
        "probe_channel_number": local,
        "probe_vertical_position": 20 * local,
        "probe_horizontal_position": 10,
        "structure_acronym": location,
        "anterior_posterior_ccf_coordinate": 1.0,
        "dorsal_ventral_ccf_coordinate": 2.0,
        "left_right_ccf_coordinate": 3.0,
    }


def _unit(unit, cluster):
    channel, metrics, _ = UNITS[unit]
    row = {"id": unit, "peak_channel_id": channel, "local_index": cluster, "cluster_id": cluster, "snr": 2.0, **metrics}
    return row | {"firing_rate": len(spike_times(unit)) / 100}
