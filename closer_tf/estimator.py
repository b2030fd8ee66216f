"""CLoSeR as a scikit-learn transformer over arrays: `CLoSeRTransformer().fit(X).transform(X)`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from closer_tf.common.backend import first_traces_unsaid, import_keras
from closer_tf.common.values import as_areas, check_settings
from closer_tf.config import derived_seed
from closer_tf.data.scales import check_same_scale, scale_of
from closer_tf.errors import CloserWarning, DataError, DivergedError
from closer_tf.masks import area_masks, gaussian_masks, random_patch_masks

if TYPE_CHECKING:
    import keras
    from numpy.typing import ArrayLike

    from closer_tf.graphs import InteractionGraph
    from closer_tf.masks import ReceptiveFields
    from closer_tf.nn.objectives import Objective


class CLoSeRTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Train a CLoSeR ensemble on arrays, and embed arrays with it.

    `fit` takes images (n, height, width, channels) or (n, height, width), or features (n, d); labels are never looked at.
    Objectives that look back in time take features in order of time, and their `trials`.
    `transform` returns the embeddings of all encoders side by side, (n, N * D), as float32. What is not 8-bit is not scaled:
    put a StandardScaler in front, or set `input_scale`.

    Args:
        num_encoders: number of encoders [N]; with `groups` or `receptive_fields` it follows from those.
        embedding_dim: width of one encoder's embedding [D].
        hidden: widths of each encoder's hidden layers.
        dropout: fraction of hidden activities dropped in training.
        make_encoder: function (i, shape) -> Keras model from (batch, *shape) to (batch, D), in place of the four above but N.
        fraction: fraction of the pixels or features that each encoder sees [q]: pixels around a random centre, features at
            random (at least one).
        sigma: for images, the standard deviation of the receptive fields in pixels.
        groups: sequence (d,), a group for each feature, such as its brain area: one encoder per group, which sees it whole. No
            encoder sees features whose group is '', None, NaN, 'unknown' or the like.
        receptive_fields: `ReceptiveFields` of your own.
        image_shape: (height, width) or (height, width, channels): take rows of X for flattened images of this shape.
        input_scale: what inputs are multiplied by. Default: 1/255 if `fit` gets 8-bit integers and no groups (spike counts are
            no pixels), else 1.
        augmentation: dict of `RandomAffine`'s arguments, such as {"rotation": 0.02, "zoom": 0.1}. Default: none.
        temperature: scale of squared distances [tau]. Default: 10 D.
        graph: `InteractionGraph` over the encoders. Default: all-to-all.
        stop_gradient: an edge (i, j) of the graph moves encoder i only.
        learning_rate: Nadam's step size.
        epochs: passes over X.
        batch_size: samples per step, at least 2; at most all of X.
        random_state: int, RandomState or None. An int gives the receptive fields, initialisation and order of samples that
            the same `seed` gives in a run config.
        verbose: 0, 1 or 2, as in Keras's `fit`.
        objective: what the encoders learn from: 'closer' (each other, sample by sample), one of the temporal objectives
            'tcloser' (what the others said just before), 'notcloser' (what the others say now) and 'lpl' (what each itself
            said just before), or a `closer_tf.Objective`, such as `DistilledLoss()` or one of your own, in place of CLoSeR's
            loss with `temperature`, `graph` and `stop_gradient`. Where it looks back, the rows of X follow one another in
            time: see `trials` in `fit`.
        term_weights: dict term -> weight of the temporal objectives' terms, of 'tpull', 'pull', 'cont', 'var', 'cov'. Default:
            the paper's for the objective.
        lag: rows from the one before to the current one [dt].

    Attributes:
        ensemble_: the trained `CLoSeR` model. `closer_tf.export_ensemble` exports it.
        receptive_fields_: `ReceptiveFields`.
        history_: dict of lists, the losses of each epoch.
        input_shape_: shape of one stimulus as the ensemble takes it.
        n_features_in_: number of columns of X; of images, their height.
        seed_: int, the seed that was drawn from `random_state`; given as `random_state`, it makes the same fit.
    """

    def __init__(
        self,
        num_encoders: int = 10,
        embedding_dim: int = 64,
        hidden: Sequence[int] = (256, 128),
        dropout: float = 0.1,
        make_encoder: Callable[[int, tuple[int, ...]], keras.Model] | None = None,
        fraction: float = 0.2,
        sigma: float = 2.0,
        groups: Sequence[Any] | np.ndarray | None = None,
        receptive_fields: ReceptiveFields | None = None,
        image_shape: Sequence[int] | None = None,
        input_scale: float | None = None,
        augmentation: dict[str, Any] | None = None,
        temperature: float | None = None,
        graph: InteractionGraph | None = None,
        stop_gradient: bool = False,
        learning_rate: float = 1e-3,
        epochs: int = 100,
        batch_size: int = 128,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        objective: str | Objective = "closer",
        term_weights: dict[str, float] | None = None,
        lag: int = 1,
    ) -> None:
        self.num_encoders = num_encoders
        self.embedding_dim = embedding_dim
        self.hidden = hidden
        self.dropout = dropout
        self.make_encoder = make_encoder
        self.fraction = fraction
        self.sigma = sigma
        self.groups = groups
        self.receptive_fields = receptive_fields
        self.image_shape = image_shape
        self.input_scale = input_scale
        self.augmentation = augmentation
        self.temperature = temperature
        self.graph = graph
        self.stop_gradient = stop_gradient
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.random_state = random_state
        self.verbose = verbose
        self.objective = objective
        self.term_weights = term_weights
        self.lag = lag

    def fit(
        self,
        X: ArrayLike,
        y: Any = None,
        groups: Sequence[Any] | np.ndarray | None = None,
        trials: Sequence[Any] | np.ndarray | None = None,
    ) -> Self:
        """Train an ensemble.

        Args:
            X: array (n, d), (n, height, width) or (n, height, width, channels), at least two samples.
            y: ignored, whatever it is.
            groups: as in the constructor, which it goes before. Inside cross-validation set the constructor's.
            trials: sequence (n,), the trial of each row, for objectives that look back: a row and the one `lag` before it are
                a pair where the trial is the same from the one to the other. Default: the epochs of a pynapple `TsdFrame`'s
                time support; else all rows are one trial.

        Returns:
            The estimator.

        Raises:
            ValueError: X, the groups, the trials, or a setting cannot be used.
            DivergedError: the loss or a weight is no longer finite.
        """
        del y
        keras = import_keras()  # before the modules that use it

        from closer_tf.data import Split
        from closer_tf.data.splits import steps_per_epoch
        from closer_tf.data.streams import batches
        from closer_tf.nn.objectives import training_model
        from closer_tf.nn.optimizers import Nadam
        from closer_tf.training.experiment import seed_per_encoder

        check_settings(fraction=self.fraction, epochs=self.epochs, batch_size=self.batch_size, lag=self.lag)
        loss = self._loss()
        trials = _epochs_of(X) if trials is None else trials
        groups = self.groups if groups is None else groups
        stimuli, trained_on = self._stimuli(X, ensure_min_samples=2)
        seed = self._seed()
        fields = self._receptive_fields(stimuli.shape[1:], groups, seed)
        if self.graph is not None and self.graph.num_encoders != fields.num_encoders:
            raise ValueError(f"graph: is one of {self.graph.num_encoders} encoders, there are {fields.num_encoders}")
        scale = self.input_scale
        if scale is None:
            scale = 1 / 255 if trained_on.dtype == "uint8" and groups is None else 1.0
        ensemble = self._ensemble(stimuli.shape[1:], fields, scale, seed)
        own_seed = seed_per_encoder(derived_seed(seed, "initialization"), fields.num_encoders + 1)[-1]
        model = training_model(loss, ensemble, seed=own_seed)  # the ensemble itself, or around it what the objective owns
        model.compile(Nadam(self.learning_rate), loss)
        model.optimizer.build(model.trainable_variables)
        inputs = self._pairs(stimuli, trials) if getattr(loss, "needs_previous", False) else stimuli
        samples = Split(inputs, np.zeros(len(inputs), dtype=np.int32))
        batch_size = min(self.batch_size, len(samples))
        stop = keras.callbacks.LambdaCallback(on_train_batch_end=lambda step, logs: self._check_finite(logs["loss"]))
        with first_traces_unsaid():
            history = model.fit(
                batches(samples, batch_size, derived_seed(seed, "data_order")),
                steps_per_epoch=steps_per_epoch(len(samples), batch_size),
                epochs=self.epochs,
                shuffle=False,
                callbacks=[stop],
                verbose=self.verbose,
            )
        for weights in ensemble.get_weights():
            self._check_finite(weights)
        self._trained_on = trained_on
        self.ensemble_, self.receptive_fields_, self.history_ = ensemble, fields, history.history
        self.input_shape_, self.seed_ = stimuli.shape[1:], seed
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """The embeddings of all encoders side by side.

        Args:
            X: array of samples like those of `fit`.

        Returns:
            Float32 array (n, N * D): D columns of encoder 0, then those of encoder 1, ... A pynapple `TsdFrame` gives one, at
            the same times.

        Raises:
            ValueError: X is of other columns, of another shape or on another scale than in `fit`, or too large to embed.
        """
        from closer_tf.nn.ensemble import embed

        check_is_fitted(self)
        given = X
        stimuli, scale = self._stimuli(X, reset=False)
        if stimuli.shape[1:] != self.input_shape_:
            raise ValueError(f"X: expected stimuli of shape {self.input_shape_}, found {stimuli.shape[1:]}")
        quieter = scale.high <= self._trained_on.high and (scale.whole or not self._trained_on.whole)
        if not (stimuli.ndim == 2 and quieter):  # a few rows of features may well be smaller than any other
            try:
                check_same_scale(self._trained_on, scale, "X in fit", "X")
            except DataError as error:
                raise ValueError(str(error)) from None
        embeddings = embed(self.ensemble_, stimuli).reshape(len(stimuli), -1).astype(np.float32, copy=False)
        if not np.isfinite(embeddings).all():
            row = np.isfinite(embeddings).all(axis=1).argmin()
            raise ValueError(
                f"X: the embedding of sample {row} is not finite; its values reach {np.abs(stimuli[row]).max():.3g}"
            )
        return _like(given, embeddings)

    @property
    def _n_features_out(self):
        _, encoders, width = self.ensemble_.output_shape
        return encoders * width

    def __sklearn_tags__(self):
        """What scikit-learn should know: any number of dimensions, float32 out, results that follow from `random_state`."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _stimuli(self, X, **checks):
        """(X as float32 features (n, d) or images (n, height, width, channels), the `Scale` of what was handed over)."""
        X = np.asarray(X.d) if _is_tsd_frame(X) else X
        columns = {str(dtype).lower() for dtype in getattr(X, "dtypes", ())}  # a data frame's UInt8 is lost below
        X = validate_data(self, X, dtype="numeric", allow_nd=True, **checks)
        with np.errstate(over="ignore"):
            stimuli = self._shaped(X.astype(np.float32))
        if not np.isfinite(stimuli).all():
            raise ValueError("Input X contains infinity or a value too large for dtype('float32').")
        scale = scale_of(X if stimuli.ndim > 2 else np.abs(X))  # features may be negative in some samples alone
        return stimuli, scale._replace(dtype="uint8") if columns == {"uint8"} else scale

    def _check_finite(self, numbers):
        """Stop a training whose loss or weights are not finite."""
        if not np.isfinite(numbers).all():
            raise DivergedError(
                "the loss or a weight is not finite any more; look for fill values in X, bring it to a range of about 1, or "
                f"choose a learning_rate below {self.learning_rate:g}"
            )

    def _shaped(self, X):
        """X as features (n, d) or images (n, height, width, channels)."""
        if self.image_shape is not None and X.ndim == 2:
            shape = tuple(self.image_shape)
            shape = (*shape, 1) if len(shape) == 2 else shape
            if int(np.prod(shape)) != X.shape[1]:
                raise ValueError(f"image_shape: {tuple(self.image_shape)} does not fit rows of {X.shape[1]} features")
            return X.reshape(-1, *shape)
        if X.ndim == 3:
            X = X[..., None]
        if self.image_shape is not None and X.shape[1 : 1 + len(self.image_shape)] != tuple(self.image_shape):
            raise ValueError(f"image_shape: {tuple(self.image_shape)} does not fit images of shape {X.shape[1:]}")
        if X.ndim not in (2, 4):
            raise ValueError(f"X: expected features (n, d) or images (n, height, width, channels), found shape {X.shape}")
        return X

    def _loss(self):
        """The objective's loss."""
        from closer_tf.config.conditions import CONDITIONS
        from closer_tf.nn.objectives import CLoSeRLoss
        from closer_tf.nn.temporal import TemporalLoss

        temporal = [name for name, condition in CONDITIONS.items() if condition.weights]
        if self.objective == "closer":
            if self.term_weights is not None:
                raise ValueError(f"term_weights: go with the objectives {', '.join(temporal)}, not with 'closer'")
            return CLoSeRLoss(self.temperature, self.graph, self.stop_gradient)
        if not isinstance(self.objective, str):
            if "logits" in getattr(self.objective, "needs_outputs", ()):
                raise ValueError(f"objective: {type(self.objective).__name__} learns from labels, which `fit` never looks at")
            return self.objective
        if self.objective not in temporal:
            raise ValueError(f"objective: expected 'closer' or one of {', '.join(temporal)}, found {self.objective!r}")
        weights = CONDITIONS[self.objective].weights | (self.term_weights or {})
        return TemporalLoss(weights, self.graph)

    def _pairs(self, stimuli, trials):
        """Pairs (m, 2, d) of rows: the one `lag` before, and the current one, both of the same trial."""
        if stimuli.ndim != 2:
            raise ValueError(f"objective: '{self.objective}' takes features (n, d), X holds images")
        rows = len(stimuli)
        changes = np.zeros(rows, dtype=np.int64)  # how often the trial has changed up to a row
        if trials is not None:
            trials = np.asarray(trials)
            if trials.shape != (rows,):
                raise ValueError(f"trials: expected one for each of the {rows} rows of X, found shape {trials.shape}")
            changes[1:] = np.cumsum(trials[1:] != trials[:-1])
        current = np.arange(self.lag, rows)
        current = current[changes[current] == changes[current - self.lag]]
        if len(current) < 2:
            raise ValueError(
                f"trials: expected at least two rows with one {self.lag} before it in the same trial, found {len(current)} "
                f"among {rows} rows in {changes[-1] + 1} trials"
            )
        return np.stack([stimuli[current - self.lag], stimuli[current]], axis=1)

    def _seed(self):
        if isinstance(self.random_state, (int, np.integer)):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _receptive_fields(self, shape, groups, seed):
        if self.receptive_fields is not None:
            if groups is not None:
                raise ValueError("groups: receptive_fields are given too, which say what each encoder sees; give one of them")
            return self.receptive_fields
        if groups is not None:
            return _receptive_fields_of_groups(groups, shape)
        check_settings(num_encoders=self.num_encoders)
        masks_seed = derived_seed(seed, "masks")
        if len(shape) == 1:
            fraction = max(self.fraction, 1 / shape[0])
            return random_patch_masks((1, *shape), self.num_encoders, fraction, patch_size=1, seed=masks_seed)
        return gaussian_masks(shape[:2], self.num_encoders, self.fraction, self.sigma, masks_seed)

    def _ensemble(self, shape, fields, scale, seed):
        from closer_tf.nn.encoders import mlp
        from closer_tf.nn.ensemble import build_ensemble
        from closer_tf.nn.layers import RandomAffine
        from closer_tf.training.experiment import seed_per_encoder

        init_seeds = seed_per_encoder(derived_seed(seed, "initialization"), fields.num_encoders)
        dropout_seeds = seed_per_encoder(derived_seed(seed, "dropout"), fields.num_encoders)

        def make_mlp(i, seen):
            return mlp(
                seen,
                hidden=self.hidden,
                embedding_dim=self.embedding_dim,
                dropout=self.dropout,
                init_seed=init_seeds[i],
                dropout_seed=dropout_seeds[i],
            )

        augmentation = None
        if self.augmentation:
            if len(shape) == 1:
                raise ValueError("augmentation: only images can be augmented, X holds features")
            augmentation = RandomAffine(**self.augmentation, seed=derived_seed(seed, "augmentation"), name="augmentation")
        make_encoder = self.make_encoder or make_mlp
        return build_ensemble(shape, fields, make_encoder, input_scale=scale, augmentation=augmentation)


def _epochs_of(X):
    """The epoch of each row of a pynapple `TsdFrame`; None of anything else."""
    if not _is_tsd_frame(X):
        return None
    return np.searchsorted(np.asarray(X.time_support.start), np.asarray(X.t), side="right")


def _like(given, embeddings):
    """Embeddings as a `TsdFrame` where one was given, which pynapple need not be imported for."""
    return type(given)(t=given.t, d=embeddings, time_support=given.time_support) if _is_tsd_frame(given) else embeddings


def _is_tsd_frame(X):
    return type(X).__name__ == "TsdFrame" and hasattr(X, "time_support")


def _receptive_fields_of_groups(groups, shape):
    """One receptive field for each group of features, in the order in which the groups come first."""
    if len(shape) != 1 or len(groups) != shape[0]:
        raise ValueError(f"groups: expected one group for each of the features {shape}, found shape {np.shape(groups)}")
    try:
        groups = as_areas(groups, len(groups), "groups", numbered=True)
    except DataError as error:
        raise ValueError(str(error)) from None
    names = [name for name in dict.fromkeys(groups.tolist()) if name]
    if len(names) < 2:
        raise ValueError(f"groups: expected at least two different groups, found {names}")
    without = int((groups == "").sum())
    if without:
        warnings.warn(
            f"groups: {without} of {len(groups)} features have no group; no encoder sees them", CloserWarning, stacklevel=4
        )
    return area_masks(groups, names)
