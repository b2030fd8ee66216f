"""What is read out of each condition, and on which samples: embeddings of trained or untrained encoders, or the input itself;
and with which weights (`Trained`): those of the last checkpoint, of the best epoch, or of `ensemble.keras`.

Principal components of what each encoder sees are the baseline that a learned representation of D dimensions has to beat.
In whitened features, directions of little variance weigh as much as those of large variance; the covariance is that of the
probe's training samples with the shrinkage of Ledoit and Wolf, which keeps directions that hold nothing but rounding or too few
samples' noise from being blown up.

Reference: Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal of Multivariate
Analysis 88 (2004).
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from closer_tf.config import PROBE_ITERATIONS
from closer_tf.config.conditions import CONDITIONS
from closer_tf.errors import DataError, RunError
from closer_tf.training.checkpoints import kept_epoch, latest_checkpoint, load_best, restore_checkpoint

WHITENING = (
    "z-scored features times the inverse root of their covariance, of the probe's training samples with Ledoit-Wolf shrinkage"
)
COMPARED = 64  # stimuli on which a saved ensemble has to do what its config says


def embeddings(condition, config, data, fields, trained):
    """The embeddings of a condition, arranged for the probe.

    Args:
        condition: what is read out.
        config: resolved `RunConfig`.
        data: `Splits` of single bins or images.
        fields: `ReceptiveFields`.
        trained: `Trained`, whose ensemble is that of every condition but the untrained.

    Returns:
        dict `train`, `validation`, `test` of arrays (n, N, D); None where the input itself is read out.

    Raises:
        DataError: an embedding is not finite.
    """
    if not CONDITIONS[condition].embeds:
        return None
    return embeddings_of(ensemble_of(condition, config, data, fields, trained), config, data)


def ensemble_of(condition, config, data, fields, trained):
    """The ensemble that a condition reads out, a `CLoSeR` model; arguments as for `embeddings`."""
    from closer_tf.training.experiment import make_ensemble

    if CONDITIONS[condition].trained:
        return trained.ensemble
    return trained.untrained or make_ensemble(config, fields, data)


def embeddings_of(model, config, data):
    """An ensemble's embeddings (n, N, D), arranged for the probe; as `embeddings`."""
    from closer_tf.nn.ensemble import embed

    stimuli = arranged(config, data, lambda split: split.inputs)
    embedded = {key: embed(model, values) for key, values in stimuli.items()}
    if not all(np.isfinite(values).all() for values in embedded.values()):
        raise DataError(
            f"{data.name}: the embeddings of some stimuli are not finite: their values, up to "
            f"{np.abs(data.train.inputs).max():.3g}, are too large for float32 after scaling; set "
            f"dataset.input_scale, or rescale the data"
        )
    return embedded


def features(condition, config, data, fields, embedded):
    """The features of a condition for the probe.

    Args:
        condition, config, data, fields: as for `embeddings`.
        embedded: what `embeddings` returned.

    Returns:
        dict 'encoder_0', ..., 'ensemble' (their concatenation) -> dict `train`, `validation`, `test` of arrays (n, d).
    """
    if CONDITIONS[condition].reads == "input":
        return {"ensemble": arranged(config, data, lambda split: data.now(split).reshape(len(split), -1))}
    if CONDITIONS[condition].reads in ("masked input", "principal components"):
        sets = {
            f"encoder_{i}": arranged(config, data, lambda split, i=i: fields.apply(data.now(split), i))
            for i in range(fields.num_encoders)
        }
        if CONDITIONS[condition].reads == "principal components":
            dimensions, z_scored = config.each_encoder()[0].embedding_dim, getattr(config.dataset, "standardise", False)
            sets = {name: principal_components(values, dimensions, z_scored) for name, values in sets.items()}
        keys = ("train", "validation", "test")
        sets["ensemble"] = {key: np.concatenate([one[key] for one in sets.values()], axis=1) for key in keys}
        return sets
    return features_of(embedded)


def features_of(embedded):
    """The features of arranged embeddings (n, N, D), as from `features`."""
    count = embedded["test"].shape[1]
    sets = {f"encoder_{i}": {key: values[:, i] for key, values in embedded.items()} for i in range(count)}
    sets["ensemble"] = {key: values.reshape(len(values), -1) for key, values in embedded.items()}
    return sets


def protocol(config):
    """How a config's run is read out, as the dict that results.json holds."""
    options = config.readout
    angle = getattr(config.dataset, "period", None) is not None
    by_number = angle or getattr(config.dataset, "label", None) == "time" or getattr(config.dataset, "regress", False)
    ridge = "ridge regression on z-scored features, judged by R^2" + " of sine and cosine together" * angle
    logistic = "multinomial logistic regression, L2, L-BFGS from a cold start, on z-scored features"
    if options.protocol == "converged":
        logistic += ", to its optimum"
    return {
        "name": options.protocol,
        "probe": ridge if by_number else logistic,
        "C": list(options.C),
        "max_iter": options.max_iter or PROBE_ITERATIONS[options.protocol],
        "validation_fraction": options.validation_fraction,
        "knn_neighbours": options.knn_neighbours,
        "seed": config.seeds.readout,
    }


def probe_splits(config, data):
    """Positions of the probe's training and validation samples among training plus validation samples."""
    if data.fixed_validation:
        return np.arange(len(data.train)), len(data.train) + np.arange(len(data.validation))
    count = len(data.train) + len(data.validation)
    order = np.random.default_rng(config.seeds.readout).permutation(count)
    held_out = max(1, round(config.readout.validation_fraction * count))
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def sample_counts(config, data):
    """Numbers of the probe's samples: dict `train`, `validation`, `test` of int."""
    train, validation = probe_splits(config, data)
    return {"train": len(train), "validation": len(validation), "test": len(data.test)}


def arranged(config, data, of_split):
    """What `of_split` gives for every `Split`, as the dict `train`, `validation`, `test` of the probe."""
    train, validation = probe_splits(config, data)
    pooled = np.concatenate([of_split(split) for split in (data.train, data.validation) if len(split)])
    return {"train": pooled[train], "validation": pooled[validation], "test": of_split(data.test)}


def principal_components(features, dimensions, z_scored=False):
    """The first principal components of features, fitted on the training samples.

    Args:
        features: dict `train`, `validation`, `test` of float arrays (n, d).
        dimensions: how many; where there are fewer features, or samples, as many as there are.
        z_scored: of z-scored features, as `dataset.standardise` gives them to the encoders.

    Returns:
        dict of float64 arrays (n, at most `dimensions`) with the same keys.
    """
    from sklearn.decomposition import PCA

    from closer_tf.readout.probes import standardise

    if z_scored:
        features = standardise(features)
    model = PCA(min(dimensions, *features["train"].shape), svd_solver="covariance_eigh")
    model.fit(features["train"].astype("float64"))
    return {key: model.transform(values) for key, values in features.items()}


def whitened(features):
    """Z-score features and multiply them by the symmetric inverse root of their covariance.

    Args:
        features: dict `train`, `validation`, `test` of float arrays (n, d); `train` alone says how.

    Returns:
        dict of float64 arrays with the same keys. Features that are constant over the training samples are 0.
    """
    from scipy.linalg import eigh
    from sklearn.covariance import ledoit_wolf

    from closer_tf.readout.probes import standardise

    scaled = standardise(features)
    varies = scaled["train"].any(axis=0)
    if not varies.any():
        return scaled
    covariance, _ = ledoit_wolf(scaled["train"][:, varies], assume_centered=True)
    values, basis = eigh(covariance, overwrite_a=True)
    keep = values > len(values) * np.finfo(float).eps * values[-1]  # without shrinkage there may be empty directions
    root = (basis[:, keep] / np.sqrt(values[keep])) @ basis[:, keep].T
    found = {key: np.zeros_like(array) for key, array in scaled.items()}
    for key, array in scaled.items():
        found[key][:, varies] = array[:, varies] @ root
    return found


@dataclass(frozen=True, eq=False)
class Trained:
    """A run's ensemble with its latest weights.

    Args:
        ensemble: `CLoSeR` model from stimuli to embeddings.
        model: the compiled model to train, of which the ensemble is the whole or a part; None where no weights are there
            that it could take.
        epochs: whole epochs that it was trained.
        step: steps of the next one.
        history: list of dicts, one row per whole epoch.
        untrained: the same ensemble at its initialisation; None where the config can make it.
        kept: the epoch whose weights it has, where `training.keep` chose one; None: those of the moment above.
    """

    ensemble: Any
    model: Any
    epochs: int
    step: int
    history: list
    untrained: Any = None
    kept: int | None = None

    @property
    def moment(self):
        """(epochs, steps of the next) after which the ensemble had its weights."""
        return (self.epochs, self.step) if self.kept is None else (self.kept, 0)


def trained_ensemble(run, config, data):
    """The run's ensemble with the weights that its training gives: those of the last checkpoint, or of the best epoch so far
    (`training.keep`), or where there is no checkpoint of `ensemble.keras`.

    Returns:
        (ensemble, epochs, step): `CLoSeR` model from stimuli to embeddings, and after how much training it had these weights:
        whole epochs, and steps of the next one.

    Raises:
        RunError: the weights cannot be read, are not of this config, or it is not clear how long they were trained.
    """
    found = load_trained(run, config, data)
    return found.ensemble, *found.moment


def load_trained(run, config, data):
    """As `trained_ensemble`, as a `Trained`."""
    from closer_tf.training.experiment import make_ensemble, make_training_model

    ensemble, model = make_ensemble(config, run.load_masks(), data), None
    checkpoint = latest_checkpoint(run.checkpoints, run.digests(config))
    if checkpoint is not None or config.read_out_at():
        model = make_training_model(config, ensemble, len(data.label_names))
    if checkpoint is not None:
        restore_checkpoint(model, checkpoint)
        return with_kept_weights(Trained(ensemble, model, checkpoint.epoch, checkpoint.step, checkpoint.history), run, config)
    if not config.trains or not run.ensemble_file.exists():
        return Trained(ensemble, model, 0, 0, history=[])
    saved = run.load_ensemble(compiled=True)
    _take_weights(ensemble, saved, run, data.train.inputs[:COMPARED])
    epochs = _epochs_trained(saved, run, config, data)
    history = run.read_history()
    return Trained(ensemble, model, epochs, 0, history, kept=kept_epoch(config, history))


def with_kept_weights(trained, run, config):
    """The same with the weights of the best epoch so far, where `training.keep` asks for them and there is one.

    Args:
        trained: `Trained`, with the weights of its last moment, and a model.
        run: `RunFolder`.
        config: resolved `RunConfig`.

    Raises:
        RunError: these weights are not there, or damaged.
    """
    kept = kept_epoch(config, trained.history)
    if kept is None:
        return trained
    restore_checkpoint(trained.model, load_best(run, config, kept))
    return replace(trained, kept=kept)


def _take_weights(ensemble, saved, run, stimuli):
    """Give an ensemble the weights of a saved one, which has to do the same."""
    expected, found = ([tuple(weight.shape) for weight in model.weights] for model in (ensemble, saved))
    if found != expected or saved.output_shape != ensemble.output_shape:
        raise RunError(
            f"{run.ensemble_file}: not an ensemble of {run.config_file.name}: expected {len(expected)} weights, embeddings "
            f"{ensemble.output_shape[1:]}; found {len(found)} weights, embeddings {saved.output_shape[1:]}"
            + _first_difference(expected, found)
        )
    ensemble.set_weights(saved.get_weights())
    ours, theirs = (model.predict(stimuli, batch_size=len(stimuli), verbose=0) for model in (ensemble, saved))
    if not np.allclose(ours, theirs, rtol=0, atol=1e-3 * np.abs(theirs).max()):
        raise RunError(
            f"{run.ensemble_file}: its weights fit {run.config_file.name}, but with the masks of {run.masks_file.name} and the "
            "config's input scale and encoders they give other embeddings than the file itself: it is of another run"
        )


def _first_difference(expected, found):
    pairs = [(a, b) for a, b in zip(expected, found) if a != b]
    return f"; first of another shape: expected {pairs[0][0]}, found {pairs[0][1]}" if pairs else ""


def _epochs_trained(saved, run, config, data):
    """Epochs that a saved ensemble was trained: what history.csv says, and its optimizer's steps agree with if it has one."""
    from closer_tf.data.splits import steps_per_epoch

    rows = run.read_history()
    epochs = rows[-1].get("epoch", 0.5) if rows else 0
    if epochs != int(epochs):
        raise RunError(f"{run.history_file}: damaged: its last row has no epoch")
    if [row.get("epoch") for row in rows] != list(range(1, int(epochs) + 1)):
        raise RunError(f"{run.history_file}: damaged: expected a row for each of {epochs:.0f} epochs, found {len(rows)} rows")
    steps = steps_per_epoch(len(data.train), config.training.batch_size)
    counted = int(saved.optimizer.iterations) if getattr(saved, "optimizer", None) else None
    saved_at = kept_epoch(config, rows) or epochs
    if counted not in (None, saved_at * steps) or (counted is None and not rows and config.training.epochs):
        says = f"says {saved_at:.0f} epochs of {steps} steps" if rows else "is not there"
        counts = f"the optimizer in ensemble.keras counts {counted} steps" if counted is not None else "there is no optimizer"
        raise RunError(
            f"{run.ensemble_file}: trained for how long? {run.history_file.name} {says}, {counts}; bring both from one run"
        )
    if rows:
        by = "history.csv and its optimizer say" if counted is not None else "history.csv says"
        print(f"no checkpoint: reading out {run.ensemble_file}, trained for {epochs:.0f} epochs, as {by}")
    return int(epochs)
