"""CLoSeR as a scikit-learn transformer over arrays: `CLoSeRTransformer().fit(X).transform(X)`."""

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from closer_tf.config import derived_seed
from closer_tf.masks import area_masks, gaussian_masks, random_patch_masks


class CLoSeRTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Train a CLoSeR ensemble on arrays, and embed arrays with it.

    `fit` takes images (n, height, width, channels) or (n, height, width), or features (n, d); labels are never looked at.
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
        groups: sequence (d,), a group for each feature, such as its brain area: one encoder per group, which sees it whole.
        receptive_fields: `ReceptiveFields` of your own.
        image_shape: (height, width) or (height, width, channels): take rows of X for flattened images of this shape.
        input_scale: what inputs are multiplied by. Default: 1/255 if `fit` gets 8-bit integers, else 1.
        augmentation: dict of `RandomAffine`'s arguments, such as {"rotation": 0.02, "zoom": 0.1}. Default: none.
        temperature: scale of squared distances [tau]. Default: 10 D.
        graph: `InteractionGraph` over the encoders. Default: all-to-all.
        stop_gradient: an edge (i, j) of the graph moves encoder i only.
        learning_rate: Nadam's step size.
        epochs: passes over X.
        batch_size: samples per step; at most all of X.
        random_state: int, RandomState or None. An int gives the receptive fields, initialisation and order of samples that
            the same `seed` gives in a run config.
        verbose: 0, 1 or 2, as in Keras's `fit`.

    Attributes:
        ensemble_: the trained `CLoSeR` model. `closer_tf.export_ensemble` exports it.
        receptive_fields_: `ReceptiveFields`.
        history_: dict of lists, the losses of each epoch.
        input_shape_: shape of one stimulus as the ensemble takes it.
        n_features_in_: number of columns of X; of images, their height.
    """

    def __init__(
        self,
        num_encoders=10,
        embedding_dim=64,
        hidden=(256, 128),
        dropout=0.1,
        make_encoder=None,
        fraction=0.2,
        sigma=2.0,
        groups=None,
        receptive_fields=None,
        image_shape=None,
        input_scale=None,
        augmentation=None,
        temperature=None,
        graph=None,
        stop_gradient=False,
        learning_rate=1e-3,
        epochs=100,
        batch_size=128,
        random_state=None,
        verbose=0,
    ):
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

    def fit(self, X, y=None, groups=None):
        """Train an ensemble.

        Args:
            X: array (n, d), (n, height, width) or (n, height, width, channels), at least two samples.
            y: ignored.
            groups: as in the constructor, which it goes before. Inside cross-validation set the constructor's.

        Returns:
            The estimator.

        Raises:
            ValueError: X, the groups, or a setting cannot be used.
        """
        del y
        import keras  # before the modules that use it  # noqa: F401

        from closer_tf.data import Split
        from closer_tf.loop import batches, steps_per_epoch
        from closer_tf.losses import CLoSeRLoss
        from closer_tf.optimizers import Nadam

        eight_bit = getattr(X, "dtype", None) == np.uint8
        X = validate_data(self, X, dtype=np.float32, allow_nd=True, ensure_min_samples=2)
        stimuli = self._shaped(X)
        seed = self._seed()
        fields = self._receptive_fields(stimuli.shape[1:], self.groups if groups is None else groups, seed)
        if self.graph is not None and self.graph.num_encoders != fields.num_encoders:
            raise ValueError(f"graph: is one of {self.graph.num_encoders} encoders, there are {fields.num_encoders}")
        scale = self.input_scale if self.input_scale is not None else 1 / 255 if eight_bit else 1.0
        ensemble = self._ensemble(stimuli.shape[1:], fields, scale, seed)
        ensemble.compile(Nadam(self.learning_rate), CLoSeRLoss(self.temperature, self.graph, self.stop_gradient))
        ensemble.optimizer.build(ensemble.trainable_variables)
        samples = Split(stimuli, np.zeros(len(stimuli), dtype=np.int32))
        batch_size = min(self.batch_size, len(stimuli))
        history = ensemble.fit(
            batches(samples, batch_size, derived_seed(seed, "data_order")),
            steps_per_epoch=steps_per_epoch(samples, batch_size),
            epochs=self.epochs,
            shuffle=False,
            verbose=self.verbose,
        )
        self.ensemble_, self.receptive_fields_, self.history_ = ensemble, fields, history.history
        self.input_shape_ = stimuli.shape[1:]
        return self

    def transform(self, X):
        """The embeddings of all encoders side by side.

        Args:
            X: array of samples like those of `fit`.

        Returns:
            Float32 array (n, N * D): D columns of encoder 0, then those of encoder 1, ...
        """
        from closer_tf.ensemble import embed

        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, allow_nd=True, reset=False)
        stimuli = self._shaped(X)
        if stimuli.shape[1:] != self.input_shape_:
            raise ValueError(f"X: expected stimuli of shape {self.input_shape_}, found {stimuli.shape[1:]}")
        return embed(self.ensemble_, stimuli).reshape(len(stimuli), -1)

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

    def _shaped(self, X):
        """X as features (n, d) or images (n, height, width, channels)."""
        if self.image_shape is not None and X.ndim == 2:
            shape = tuple(self.image_shape)
            shape = (*shape, 1) if len(shape) == 2 else shape
            if int(np.prod(shape)) != X.shape[1]:
                raise ValueError(f"image_shape: {tuple(self.image_shape)} does not fit rows of {X.shape[1]} features")
            return X.reshape(-1, *shape)
        if X.ndim == 3:
            return X[..., None]
        if X.ndim not in (2, 4):
            raise ValueError(f"X: expected features (n, d) or images (n, height, width, channels), found shape {X.shape}")
        return X

    def _seed(self):
        if isinstance(self.random_state, (int, np.integer)):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _receptive_fields(self, shape, groups, seed):
        if self.receptive_fields is not None:
            return self.receptive_fields
        if groups is not None:
            groups = np.asarray(groups)
            if len(shape) != 1 or groups.shape != shape:
                raise ValueError(f"groups: expected one group for each of the features {shape}, found shape {groups.shape}")
            names = list(dict.fromkeys(groups.tolist()))
            if len(names) < 2:
                raise ValueError(f"groups: expected at least two different groups, found {names}")
            return area_masks(groups, names)
        if self.num_encoders < 2:
            raise ValueError(f"num_encoders: expected at least 2, found {self.num_encoders}")
        masks_seed = derived_seed(seed, "masks")
        if len(shape) == 1:
            fraction = max(self.fraction, 1 / shape[0])
            return random_patch_masks((1, *shape), self.num_encoders, fraction, patch_size=1, seed=masks_seed)
        return gaussian_masks(shape[:2], self.num_encoders, self.fraction, self.sigma, masks_seed)

    def _ensemble(self, shape, fields, scale, seed):
        from closer_tf.augmentation import RandomAffine
        from closer_tf.encoders import mlp
        from closer_tf.ensemble import build_ensemble
        from closer_tf.experiment import seed_per_encoder

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
            augmentation = RandomAffine(**self.augmentation, seed=derived_seed(seed, "augmentation"), name="augmentation")
        make_encoder = self.make_encoder or make_mlp
        return build_ensemble(shape, fields, make_encoder, input_scale=scale, augmentation=augmentation)
