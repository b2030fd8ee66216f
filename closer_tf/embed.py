"""Take embeddings out of a run: `python -m closer_tf.embed RUN_DIR -o FILE`.

FILE.npz holds plain arrays, FILE.parquet a table with one row per sample; both say in `about` (a JSON text) what they are of.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from closer_tf.common.backend import import_keras
from closer_tf.common.command import add_overrides, add_plugins, add_version, command_parser, run_command
from closer_tf.common.files import given_path, write_with
from closer_tf.config.conditions import CONDITIONS, UNTRAINED
from closer_tf.errors import ConfigError, DataError, RunError
from closer_tf.training.runs import RunFolder, moment_in_words

SPLITS = ("train", "validation", "test")
FORMATS = (".npz", ".parquet")

EPILOG = """examples:
  python -m closer_tf.embed runs/quickstart -o quickstart.npz
  python -m closer_tf.embed runs/quickstart -o test.parquet --splits test --encoders 0,2
  python -m closer_tf.embed runs/quickstart -o untrained.npz --epoch 0
  python -m closer_tf.embed runs/my_folder -o others.npz --data other_images
  python -m closer_tf.embed runs/mouse -o second_day.npz --data second_day.npz

In Python:
  stored = numpy.load("quickstart.npz")
  stored["embeddings"]      # (samples, encoders, dimensions), float32
  stored["labels"], stored["splits"], stored["positions"]   # one per sample; docs/embed.md names all arrays

exit codes: 0 done, 2 a mistake that the message explains."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = command_parser(
        "python -m closer_tf.embed",
        "Write the embeddings of a run's encoders to a file: of its own data, or of other data of the same kind.",
        EPILOG,
    )
    parser.add_argument("run_dir", help="a run folder made by closer_tf.train")
    parser.add_argument("-o", "--out", required=True, metavar="FILE", help="FILE.npz or FILE.parquet (needs pyarrow)")
    parser.add_argument(
        "--data",
        metavar="PATH",
        help="other data: an .npz of images (arrays x, or x_train, x_test, ...), a folder of images, or a session file, "
        "whichever the run was trained on (default: the run's own data)",
    )
    parser.add_argument("--splits", default=",".join(SPLITS), help="of the run's own data (default: train,validation,test)")
    parser.add_argument("--encoders", metavar="LIST", help="numbers of encoders, or brain areas, such as 0,2 (default: all)")
    parser.add_argument(
        "--epoch", type=int, help="epochs of training, if its weights were kept; 0: untrained (default: the last)"
    )
    parser.add_argument("--force", action="store_true", help="replace FILE if it is there")
    add_overrides(parser, "override where the run's own data lies, such as dataset.data_dir=DIR")
    add_plugins(parser)
    add_version(parser)
    options = parser.parse_args(arguments)
    return run_command(lambda: _main(options), needs_keras=False, plugins=options.plugins)


def _main(options):
    splits = [name for name in options.splits.split(",") if name]
    about = embed_run(
        options.run_dir, options.out, options.data, splits, options.encoders, options.epoch, options.force, options.overrides
    )
    samples, encoders, width = about["shape"]
    moment = moment_in_words(about["epochs"], about["step"]) if about["epochs"] or about["step"] else UNTRAINED
    print(f"{options.out}: {samples} samples x {encoders} encoders x {width} dimensions, {moment}")


def embed_run(
    run_dir: str | os.PathLike,
    out: str | os.PathLike,
    data: str | os.PathLike | None = None,
    splits: Sequence[str] = SPLITS,
    encoders: str | Sequence[int | str] | None = None,
    epoch: int | None = None,
    force: bool = False,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the embeddings of a run's encoders to a file.

    Args:
        run_dir: the run folder.
        out: the file to write, .npz or .parquet.
        data: path of other data to embed. Default: the run's own.
        splits: which parts of the run's own data, of 'train', 'validation', 'test'.
        encoders: their numbers or brain areas, as a list or as text with commas. Default: all.
        epoch: epochs of training, if their weights are there; 0 is the untrained ensemble. Default: the last moment there is.
        force: replace a file that is there.
        overrides: strings 'key.path=value' for where the run's own data lies.

    Returns:
        dict, what the file says of itself: `shape`, `epochs`, `step`, `run`, `encoders`, `data`, ...

    Raises:
        ConfigError: an option makes no sense.
        RunError: there is no such run, moment or encoder, the data is not the run's, or the file is there.
        DataError: the data cannot be read, or is none for these encoders.
    """
    out = Path(out)
    _check_out(out, force)
    run = RunFolder(run_dir)
    config = run.load_config(overrides)
    source = getattr(config.dataset, "path", None) if data is None else data
    if source and out.exists() and given_path(source).exists() and out.samefile(given_path(source)):
        raise RunError(f"{out}: is the data that is to be embedded; choose another name")
    if not CONDITIONS[config.condition].embeds:
        raise RunError(
            f"{run.path}: condition '{config.condition}' reads out the input itself; there are no encoders to embed with"
        )
    unknown = [name for name in splits if name not in SPLITS]
    if unknown or not splits:
        raise ConfigError(f"--splits: expected some of {', '.join(SPLITS)}, found {', '.join(unknown) or 'none'}")
    if data is not None and not given_path(data).exists():
        raise DataError(f"{data}: no such file or folder; expected other data to embed")
    fields = run.load_masks()
    chosen = _chosen_encoders(encoders, fields)
    import_keras()  # after most mistakes have shown
    ensemble, epochs, step, own = _ensemble(run, config, fields, epoch, needs_data=data is None)
    if data is None:
        columns, names = _of_splits(own, splits)
        white = (own.identity or {}).get("white_level")
    else:
        columns, names, white = _of_other_data(data, run, config, fields, ensemble.input_shape[1:])
    from closer_tf.nn.ensemble import embed

    stimuli = columns.pop("stimuli")
    embeddings = np.ascontiguousarray(embed(ensemble, stimuli)[:, chosen], dtype=np.float32)
    if not np.isfinite(embeddings).all():
        raise DataError(
            f"{data or config.dataset.name}: some embeddings are not finite; the values of its stimuli are too large"
        )
    about = {
        "run": run.path.resolve().name,
        "condition": config.condition if epochs or step else UNTRAINED,
        "epochs": epochs,
        "step": step,
        "config_digest": config.digest(),
        "dataset": config.dataset.name,
        "data": Path(data).name if data else (own.identity or {}).get("fingerprint"),
        "shape": list(embeddings.shape),
        "encoders": [int(k) for k in chosen],
        "areas": [fields.labels[k] for k in chosen] if fields.labels else [],
        "label_names": list(names),
        "white_level": white,
    }
    write = write_table if out.suffix == ".parquet" else write_arrays
    write_with(out, lambda aside: write(aside, embeddings, columns, about))
    return about


def write_arrays(
    path: str | os.PathLike, embeddings: np.ndarray, columns: dict[str, np.ndarray], about: dict[str, Any]
) -> None:
    """Write an .npz of plain arrays: `embeddings`, the columns, `encoders`, `label_names`, `areas`, `about`.

    Args:
        path: the file.
        embeddings: float32 array (n, N, D).
        columns: dict of name to array (n,).
        about: dict, plain data.
    """
    further = {name: np.array(about[name], dtype=str) for name in ("label_names", "areas")}
    with open(path, "wb") as file:
        np.savez(
            file, embeddings=embeddings, **columns, encoders=np.array(about["encoders"]), **further, about=json.dumps(about)
        )


def write_table(path: str | os.PathLike, embeddings: np.ndarray, columns: dict[str, np.ndarray], about: dict[str, Any]) -> None:
    """Write a Parquet table: the columns, and per encoder one of lists of D numbers; arguments as for `write_arrays`."""
    import pyarrow
    import pyarrow.parquet

    width = embeddings.shape[2]
    table = {name: pyarrow.array(values.tolist() if values.dtype.kind == "U" else values) for name, values in columns.items()}
    names = about["label_names"]
    if names and "labels" in columns:
        table["label_names"] = pyarrow.array([names[k] if k >= 0 else None for k in columns["labels"]])
    for position, k in enumerate(about["encoders"]):
        numbers = pyarrow.array(np.ascontiguousarray(embeddings[:, position]).ravel())
        table[f"encoder_{k}"] = pyarrow.FixedSizeListArray.from_arrays(numbers, width)
    found = pyarrow.table(table).replace_schema_metadata({"closer_tf": json.dumps(about)})
    pyarrow.parquet.write_table(found, path)


def _check_out(out, force):
    if out.suffix not in FORMATS:
        raise ConfigError(f"--out {out}: expected a name that ends in {' or '.join(FORMATS)}")
    if out.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise ConfigError(f"--out {out}: Parquet needs pyarrow: pip install pyarrow, or write {out.with_suffix('.npz')}")
    if not out.parent.is_dir():
        raise RunError(f"{out}: there is no folder {out.parent}")
    if out.is_dir() or out.exists() and not force:
        raise RunError(f"{out}: is there already; choose another name, or replace it with --force")


def _chosen_encoders(encoders, fields):
    """Int array of positions, from numbers or names of areas, as a list or as text with commas."""
    if encoders is None:
        return np.arange(fields.num_encoders)
    asked = [part.strip() for part in encoders.split(",")] if isinstance(encoders, str) else [str(part) for part in encoders]
    names = {str(k): k for k in range(fields.num_encoders)} | {name: k for k, name in enumerate(fields.labels or ())}
    unknown = [name for name in asked if name not in names]
    if unknown or not asked or len(set(asked)) < len(asked):
        areas = f", or of {', '.join(fields.labels)}" if fields.labels else ""
        raise ConfigError(
            f"--encoders: expected different numbers from 0 to {fields.num_encoders - 1}{areas}; found {', '.join(asked)}"
        )
    return np.array([names[name] for name in asked])


def _ensemble(run, config, fields, epoch, needs_data):
    """(ensemble, epochs, step, the run's own `Splits` or None): as trained until a moment.

    The ensemble of a finished run is in its file, masks, scale and all; any other is made anew, for which the data is read.
    """
    from closer_tf.readout.features import trained_ensemble
    from closer_tf.training.checkpoints import kept_epoch
    from closer_tf.training.experiment import check_units, load_splits, make_ensemble

    is_finished = epoch is None and run.ensemble_file.exists()
    data = None
    if needs_data or not is_finished:
        data = load_splits(config).current()
        run.check_data(data, config)
        check_units(fields, data)
    if is_finished:
        history = run.read_history()
        ended = run.moment() if run.moment() != (0, 0) else (len(history), 0)
        kept = kept_epoch(config, history[: ended[0]])
        return run.load_ensemble(), *(ended if kept is None else (kept, 0)), data
    if epoch is None:
        return *trained_ensemble(run, config, data), data
    ensemble = make_ensemble(config, fields, data)
    if epoch:
        _restore(run, config, ensemble, epoch, len(data.label_names))
    return ensemble, epoch, 0, data


def _restore(run, config, ensemble, epoch, num_labels):
    from closer_tf.training.checkpoints import checkpoint_files, load_weights, moment_of, restore_weights
    from closer_tf.training.experiment import make_training_model

    checkpoint = load_weights(run, config, epoch)
    if checkpoint is None:
        files = [path.name for folder in (run.weights, run.checkpoints) for path in checkpoint_files(folder)]
        there = sorted({epoch for epoch, step in map(moment_of, files) if not step})
        raise RunError(
            f"{run.path}: --epoch {epoch}: no weights of that moment; expected 0 (untrained) or one of: "
            f"{', '.join(map(str, there)) or 'none'}. readout.at_epochs and training.keep_checkpoints say which are kept"
        )
    restore_weights(make_training_model(config, ensemble, num_labels), checkpoint)


def _of_splits(data, splits):
    """(columns with `stimuli`, label names) of parts of the run's own data."""
    parts = [getattr(data, name) for name in splits]
    columns = {
        "stimuli": np.concatenate([part.inputs for part in parts]),
        "labels": np.concatenate([part.labels for part in parts]),
        "splits": np.repeat(splits, [len(part) for part in parts]),
    }
    shared = set.intersection(*({*part.about} for part in parts))
    columns |= {_named(key): np.concatenate([part.about[key] for part in parts]) for key in sorted(shared)}
    return columns, data.label_names


def _named(key):
    return {"position": "positions", "trial": "trials", "frame": "frames", "stimulus": "stimulus_numbers"}.get(key, key)


def _of_other_data(path, run, config, fields, shape):
    """(columns with `stimuli`, label names, white level or None) of other data than the run's own: `other_data.py`."""
    from closer_tf.analysis import other_data
    from closer_tf.config import RecordingSource

    known = run.read_data() or {}
    white = None
    if fields.labels and not isinstance(config.dataset, RecordingSource):
        raise DataError(
            f"{path}: {run.path} was trained on a recording that Python or a source of its own made; how to read another "
            f"is not known here: load {run.ensemble_file} with keras.saving.load_model and call its predict on what you have"
        )
    if isinstance(config.dataset, RecordingSource):
        columns, names = other_data.recording(path, config, fields, known)
    else:
        columns, names, white = other_data.images(path, config, shape, known)
    if known.get("scale"):
        other_data.check_scale(path, columns["stimuli"], known["scale"], f"training stimuli of {run.path}")
    return columns, names, white


if __name__ == "__main__":
    raise SystemExit(main())
