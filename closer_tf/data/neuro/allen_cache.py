"""The Allen Visual Coding - Neuropixels data through allensdk: tables, downloads, sessions.

A cache is a folder as allensdk lays it out: sessions.csv, probes.csv, channels.csv, units.csv and
session_<id>/session_<id>.nwb. allensdk deletes a file of its cache when reading it fails, and may then download it again;
so it is only ever shown links to the files, in a folder of its own, and has no network while it reads.
"""

import contextlib
import csv
import importlib.util
import os
import shutil
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from closer_tf.common.files import check_regular, given_path
from closer_tf.data.neuro.binning import FILTERS, Frames, InvalidInterval, Recording, Units
from closer_tf.data.neuro.nwb import as_numbers, read_nwb
from closer_tf.data.neuro.sessions import area_sizes
from closer_tf.errors import DataError

TABLES = ("sessions.csv", "probes.csv", "channels.csv", "units.csv")
WAREHOUSE = ("http", "api.brain-map.org")  # scheme and host of the Allen Institute's server

_CHUNK = 2**20  # bytes
_TIMEOUT = 60  # seconds without a byte
_AS_IT_IS = {"Accept-Encoding": "identity"}  # uncompressed, so that bytes can be counted


def session_file(cache, session):
    """Where a cache keeps the NWB file of a session."""
    return given_path(cache) / f"session_{session}" / f"session_{session}.nwb"


def missing_tables(cache):
    """Names of the tables that are not in the cache yet."""
    return [name for name in TABLES if not (given_path(cache) / name).is_file()]


def download_tables(cache):
    """Download the tables that are not in the cache yet (some tens of MB).

    Args:
        cache: folder.

    Raises:
        DataError: allensdk is not installed, or there is no network.
    """
    missing = missing_tables(cache)
    if not missing:
        return
    cache = given_path(cache)
    with _allensdk() as sdk, _download_errors(f"the tables {', '.join(missing)}"):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".tables-") as aside:
            manifest = str(Path(aside) / "manifest.json")
            project = sdk.EcephysProjectCache.from_warehouse(*WAREHOUSE, manifest=manifest, fetch_tries=1)
            project.get_session_table()  # reads, and so fetches, all four
            for name in missing:
                os.replace(Path(aside) / name, cache / name)


def session_url(session):
    """Where the NWB file of a session can be downloaded, and its size.

    Args:
        session: int, session id.

    Returns:
        (url, bytes); bytes is None when the server does not say.

    Raises:
        DataError: allensdk is not installed, there is no network, or no such session.
    """
    with _allensdk() as sdk, _download_errors(f"session {session}"):
        import requests

        api = sdk.EcephysProjectWarehouseApi.default(scheme=WAREHOUSE[0], host=WAREHOUSE[1])
        api.rma_engine.stream = api.rma_engine._build_url  # the address of the file in place of its bytes
        url = api.get_session_data(session)
        response = requests.head(url, allow_redirects=True, timeout=_TIMEOUT, headers=_AS_IT_IS)
        size = int(response.headers.get("Content-Length", 0)) if response.ok else 0
    return url, size or None


def download_file(url, size, path, progress):
    """Download a file. It appears once it is complete; what an earlier attempt has left is continued if the size is known.

    Args:
        url: str.
        size: expected bytes, or None.
        path: where the file goes; what has come so far waits beside it, with '.part' at its end.
        progress: called with (bytes so far, size) after each chunk.

    Raises:
        DataError: there is no network or no room, or the server sends something else.
    """
    path = given_path(path)
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    done = part.stat().st_size if part.exists() else 0
    if size is None or done > size:
        done = 0
    room = shutil.disk_usage(path.parent).free
    if size is not None and size - done > room:
        raise DataError(f"{path.parent}: {size - done:,} bytes to download, room for {room:,}; choose another --cache")
    if size is None or done < size:
        done = _fetch(url, part, done, size, progress)
    if size is not None and done != size:
        raise DataError(f"{url}: ended after {done:,} of {size:,} bytes; the same command continues the download")
    os.replace(part, path)


@contextlib.contextmanager
def open_cache(cache, session=None):
    """allensdk's `EcephysProjectCache` on links to local files, without a network.

    Args:
        cache: folder with the tables.
        session: int, a session whose NWB file is linked too.

    Raises:
        DataError: allensdk is not installed, a file is absent, or allensdk fails within the context.
    """
    files = {name: given_path(cache) / name for name in TABLES}
    if session is not None:
        files[f"session_{session}/session_{session}.nwb"] = session_file(cache, session)
    for file in files.values():
        if not file.is_file():
            raise DataError(f"{file}: no such file")
    with _allensdk() as sdk, tempfile.TemporaryDirectory(prefix="closer_tf-", ignore_cleanup_errors=True) as folder:
        for name, file in files.items():
            _link(file.resolve(), Path(folder) / name)
        try:
            yield sdk.EcephysProjectCache(
                fetch_api=sdk.EcephysProjectFixedApi(),
                fetch_tries=1,
                stream_writer=_refuse,
                manifest=str(Path(folder) / "manifest.json"),
            )
        except DataError:
            raise
        except Exception as error:  # allensdk, pynwb, hdmf and pandas raise many kinds on damaged files
            # allensdk hides the reason behind its own "not found"
            reason = error.__context__ if type(error).__name__ == "MissingDataError" and error.__context__ else error
            which = files[f"session_{session}/session_{session}.nwb"] if session is not None else cache
            raise DataError(
                f"{which}: allensdk cannot read this: {type(reason).__name__}: {reason}. The files are as they were. "
                f"For a session file, --nwb FILE reads it without allensdk."
            ) from error


def read_session(cache, session, filters=FILTERS):
    """A session of a local cache, read by allensdk, which applies the filters.

    allensdk cannot go on without one of the filters. Where one is skipped, `read_nwb` reads the file.

    Args:
        cache: folder with the tables and the session's NWB file.
        session: int, session id.
        filters: `Filters`.

    Returns:
        `Recording`, whose areas are those of channels.csv: of the units that pass, or of all where a filter is skipped.

    Raises:
        DataError: allensdk is not installed, or a file is absent or damaged.
    """
    if filters != replace(filters, quality=FILTERS.quality, valid_channel=True, in_brain=True) or None in (
        filters.amplitude_cutoff,
        filters.presence_ratio,
        filters.isi_violations,
    ):
        return read_nwb(session_file(cache, session), _areas_of_channels(given_path(cache) / "channels.csv"))
    with open_cache(cache, session) as project:
        data = project.get_session_data(
            session,
            amplitude_cutoff_maximum=filters.amplitude_cutoff,
            presence_ratio_minimum=filters.presence_ratio,
            isi_violations_maximum=filters.isi_violations,
        )
        file = data.api.nwbfile
        data.api._nwbfile = file  # or every property would read the file anew
        try:
            # before allensdk takes the invalid ones out, which would renumber the trials
            shown = data._build_stimulus_presentations(data.api.get_stimulus_presentations())
            return Recording(
                name=str(session),
                units=_units(data.units),
                spike_times={int(unit): np.asarray(times) for unit, times in data.spike_times.items()},
                stimuli=_stimuli(shown),
                invalid=_invalid(data.invalid_times),
                presentations=_presentations(shown),
            )
        finally:
            file.get_read_io().close()


def _areas_of_channels(file):
    """dict of channel id to area, of a cache's channels.csv."""
    check_regular(file)
    try:
        with open(file, newline="", encoding="utf-8") as lines:
            return {int(row["id"]): row["ecephys_structure_acronym"] for row in csv.DictReader(lines)}
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise DataError(
            f"{file}: expected the cache's table of channels, with the columns id and ecephys_structure_acronym, found none "
            f"({type(error).__name__}: {error}); remove it, and --yes downloads it again"
        ) from None


def list_sessions(cache):
    """The sessions of the project.

    Args:
        cache: folder with the tables.

    Returns:
        list of (session id, session type, dict of area to number of units), by session id; of the units that pass the
        quality metrics, those that lie in an area, largest area first. Invalid times and channels come later.

    Raises:
        DataError: allensdk is not installed, or a table is absent or damaged.
    """
    with open_cache(cache) as project:
        sessions, units = project.get_session_table(), project.get_units()
        areas = units["ecephys_structure_acronym"].fillna("").to_numpy(str)
        of_session = units["ecephys_session_id"].to_numpy()
        return [
            (int(session), str(kind), area_sizes(areas[of_session == session]))
            for session, kind in sessions["session_type"].sort_index().items()
        ]


@contextlib.contextmanager
def _allensdk():
    """The parts of allensdk in use; its and its dependencies' warnings are not the user's."""
    if importlib.util.find_spec("allensdk") is None:
        raise DataError(
            "allensdk is not installed: pip install 'closer_tf[allen]' in a Python 3.11 environment, or read a session file "
            "that you have without it: --nwb FILE"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from allensdk.brain_observatory.ecephys import ecephys_project_cache
        except Exception as error:  # versions of its dependencies that do not fit together fail in many ways
            raise DataError(
                f"allensdk is installed but cannot be imported: {type(error).__name__}: {error}. Install the versions that "
                f"pip install 'closer_tf[allen]' chooses, or read a session file without allensdk: --nwb FILE"
            ) from error
        yield ecephys_project_cache


@contextlib.contextmanager
def _download_errors(what):
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # requests, urllib3, allensdk and pandas raise many kinds
        raise DataError(
            f"{what}: cannot be downloaded: {_reason(error)}. Without a network, copy an allensdk cache here "
            f"and name it with --cache, or read a session file with --nwb FILE"
        ) from error


def _reason(error):
    """What went wrong; of a connection that is not there, without the text of all that lay in between."""
    import requests

    of_its_own = (requests.exceptions.SSLError, requests.exceptions.ProxyError)  # which a user's institute can mend
    if isinstance(error, requests.ConnectionError) and not isinstance(error, of_its_own):
        return f"no connection to {urlsplit(error.request.url).hostname}" if error.request is not None else "no connection"
    return f"{type(error).__name__}: {error}"


def _fetch(url, part, done, size, progress):
    """Append what comes after the first `done` bytes of `url` to `part`. Returns the bytes that are there then."""
    import requests

    headers = _AS_IT_IS | ({"Range": f"bytes={done}-"} if done else {})
    try:
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            response.raise_for_status()
            if response.status_code != 206:  # the server sends everything from the start
                done = 0
            with open(part, "ab" if done else "wb") as stream:
                for chunk in response.iter_content(_CHUNK):
                    stream.write(chunk)
                    done += len(chunk)
                    progress(done, size)
                stream.flush()
                os.fsync(stream.fileno())
    except (requests.RequestException, OSError) as error:
        raise DataError(
            f"{url}: stopped after {done:,} bytes: {type(error).__name__}: {error}; the same command continues the download"
        ) from error
    return done


def _link(file, link):
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        link.symlink_to(file)
    except OSError:  # a system without symbolic links
        shutil.copyfile(file, link)


def _refuse(path, stream):
    raise DataError(f"{path}: not downloaded: reading is without a network")


def _units(table):
    areas = [area if isinstance(area, str) else "" for area in table["ecephys_structure_acronym"]]
    passed = np.ones(len(table), bool)  # allensdk has applied these rules and dropped their columns
    return Units(
        ids=table.index.to_numpy(np.int64),
        areas=np.array(areas, dtype=str),
        probe_ids=table["probe_id"].to_numpy(np.int64),
        probe_names=table["probe_description"].to_numpy(str),
        quality=np.where(passed, "good", ""),
        amplitude_cutoff=table["amplitude_cutoff"].to_numpy(float),
        presence_ratio=table["presence_ratio"].to_numpy(float),
        isi_violations=table["isi_violations"].to_numpy(float),
        valid_channel=passed,
        in_brain=passed,
    )


def _stimuli(table):
    found = {}
    for name, rows in table.groupby("stimulus_name"):
        if name != "invalid_presentation" and (rows["frame"].astype(str) != "null").any():
            columns = (rows[column].to_numpy() for column in ("frame", "start_time", "stop_time"))
            found[str(name)] = Frames(*columns)
    return found


def _presentations(table):
    found = {}
    for name, rows in table.groupby("stimulus_name"):
        found[str(name)] = {str(column): as_numbers(rows[column].to_numpy()) for column in rows.columns}
    return found


def _invalid(table):
    if table.empty:
        return ()
    spans = zip(table["start_time"], table["stop_time"], table["tags"], strict=True)
    return tuple(InvalidInterval(float(start), float(stop), tuple(str(tag) for tag in tags)) for start, stop, tags in spans)
