"""From a run config to the objects it describes: data, receptive fields, ensemble, objective, optimizer.

The one place that knows both the config and the library. A value that the data shows to be impossible becomes a
`ConfigError` that names its key.
"""

import contextlib

import numpy as np

from closer_tf import masks
from closer_tf.config import build_graph
from closer_tf.config.conditions import CONDITIONS, function_of
from closer_tf.data.neuro.sessions import area_sizes
from closer_tf.data.scales import scale_of, warn_if_unscaled
from closer_tf.errors import ConfigError, DataError
from closer_tf.training.memory import check_memory


def load_splits(config):
    """The config's data as `Splits`; windows of consecutive bins only where the objective looks back.

    Raises:
        DataError: the data cannot be read.
        ConfigError: the data cannot be trained on with these settings.
    """
    from closer_tf.data import load_data

    data = load_data(
        validation_fraction=config.training.validation_fraction,
        validation_seed=config.seeds.validation_split,
        **config.dataset.model_dump(exclude={"input_scale", "standardise"}),
    )
    if not len(data.train):
        raise ConfigError(
            f"training.validation_fraction: {config.training.validation_fraction:g} leaves none of the {len(data.validation)} "
            f"training samples of {data.name} to train on; choose a smaller one"
        )
    if config.training.batch_size > len(data.train):
        raise ConfigError(
            f"training.batch_size: expected at most the {len(data.train)} training samples of {data.name}, "
            f"found {config.training.batch_size}; choose a smaller one, such as --set training.batch_size=32"
        )
    past, labels = looks_back(config), "labels" in CONDITIONS[config.condition].learns_from
    if past and not data.windowed:
        raise ConfigError(f"condition: '{config.condition}' needs consecutive bins; dataset '{data.name}' has none")
    if labels and not data.labelled:
        raise ConfigError(
            f"condition: '{config.condition}' needs labels, dataset '{data.name}' has none here; 'closer' needs none"
        )
    if labels and not data.label_names:
        raise ConfigError(
            f"condition: '{config.condition}' needs labels that are classes; dataset.label '{config.dataset.label}' is a number"
        )
    if getattr(config.dataset, "input_scale", 1.0) is None:
        warn_if_unscaled(scale_of(data.train.inputs), data.input_scale)
    return data if past else data.current()


def looks_back(config):
    """Whether a config's objective needs windows of consecutive bins.

    Raises:
        ConfigError: as `make_objective`.
    """
    return CONDITIONS[config.condition].windows and make_objective(config).needs_previous


def make_receptive_fields(config, data):
    """The config's receptive fields over the data's stimuli, drawn from `seeds.masks`.

    Args:
        config: resolved `RunConfig`.
        data: `Splits`.

    Raises:
        ConfigError: there are none such over these stimuli.
        DataError: the file of custom masks cannot be read.
    """
    options, size, count, seed = config.masks, data.input_shape[:2], config.num_encoders, config.seeds.masks
    if (options.scheme == "areas") != bool(data.unit_areas):
        fitting = "areas" if data.unit_areas else "gaussian, random_patches, contiguous_patches, custom"
        raise ConfigError(f"masks.scheme: expected {fitting} for dataset '{data.name}', found '{options.scheme}'")
    with _about("masks"):
        if options.scheme == "areas":
            sizes = area_sizes(np.array(data.unit_areas), exclude=("grey",))
            if options.areas is None and len(sizes) < count:
                raise ValueError(f"num_encoders is {count}, the data has {len(sizes)} areas: {', '.join(sizes)}")
            return masks.area_masks(data.unit_areas, options.areas or list(sizes)[:count])
        if options.scheme == "gaussian":
            return masks.gaussian_masks(size, count, options.fraction, options.sigma, seed)
        if options.scheme == "random_patches":
            return masks.random_patch_masks(size, count, options.fraction, options.patch_size, seed)
        if options.scheme == "contiguous_patches":
            return masks.contiguous_patch_masks(size, count, options.fraction, options.patch_size, options.centres, seed)
        fields = masks.read_masks(options.path, options.patch_size)
        if fields.num_encoders != count:
            raise ValueError(f"{options.path} holds {fields.num_encoders} masks, num_encoders is {count}")
        if tuple(side * fields.patch_size for side in fields.grid) != tuple(size):
            raise ValueError(
                f"{options.path} holds masks of {fields.grid} cells of {fields.patch_size} x {fields.patch_size} pixels, "
                f"the images have {size[0]} x {size[1]} pixels"
            )
        return fields


def check_masks(receptive_fields, config, data):
    """Refuse a run's stored receptive fields when the file that they were read from now holds others.

    Args:
        receptive_fields: `ReceptiveFields` of a run folder.
        config: resolved `RunConfig`.
        data: `Splits`.

    Raises:
        DataError: the file's masks are others. A file that is gone says nothing.
    """
    if config.masks.scheme != "custom":
        return
    try:
        now = make_receptive_fields(config, data).indices
    except (ConfigError, DataError):
        return
    if len(now) != len(receptive_fields.indices) or not all(map(np.array_equal, now, receptive_fields.indices)):
        raise DataError(
            f"{config.masks.path}: no longer holds the masks that the run was made with, which it keeps in masks.npz. Put them "
            f"back, move the file away to go on with the run's own, or train with these in another folder with --run-dir"
        )


def check_units(receptive_fields, data):
    """Refuse a run's stored receptive fields when the data's units lie in another order than when they were made, or its images
    have another size.

    Args:
        receptive_fields: `ReceptiveFields` of a run folder.
        data: `Splits`.

    Raises:
        DataError: an encoder would see units of another area, or other pixels.
    """
    if not data.unit_areas:
        size = tuple(side * receptive_fields.patch_size for side in receptive_fields.grid)
        if len(data.input_shape) == 3 and (receptive_fields.labels or size != tuple(data.input_shape[:2])):
            raise DataError(
                f"dataset: the run's receptive fields are for images of {size[0]} x {size[1]} pixels, found stimuli of shape "
                f"{tuple(data.input_shape)}; expected the data that the run was made with. Train anew with --run-dir"
            )
        return
    expected = {area: np.flatnonzero(np.array(data.unit_areas) == area) for area in receptive_fields.labels}
    for area, cells in zip(receptive_fields.labels, receptive_fields.indices):
        if not np.array_equal(cells, expected[area]):
            raise DataError(
                f"dataset: the run's receptive field of area '{area}' does not hold the {len(expected[area])} units that the "
                f"data has there; expected the units in the order in which the run was made. Train anew with --run-dir"
            )


def make_ensemble(config, receptive_fields, data):
    """The config's ensemble at its initialisation, a `CLoSeR` model, not yet compiled.

    Args:
        config: resolved `RunConfig`.
        receptive_fields: `ReceptiveFields`.
        data: `Splits`; its shape, its scale where the config gives none, and its statistics where they are asked for.

    Raises:
        ConfigError: images are to be augmented where there are none, or the encoders do not fit into the memory.
    """
    from closer_tf.nn.ensemble import build_ensemble

    check_memory(config, receptive_fields, data)

    init_seeds = seed_per_encoder(config.seeds.initialization, config.num_encoders)
    dropout_seeds = seed_per_encoder(config.seeds.dropout, config.num_encoders)

    options = config.each_encoder()

    def make_encoder(i, shape):
        with _precision(config.compute.precision):
            return _encoder(options[i], shape, init_seeds[i], dropout_seeds[i])

    return build_ensemble(
        data.input_shape,
        receptive_fields,
        make_encoder,
        input_scale=getattr(config.dataset, "input_scale", None) or data.input_scale,
        normalisation=_normalisation(config, data),
        augmentation=_augmentation(config, data),
    )


@contextlib.contextmanager
def on_devices(config):
    """Context in which to make a config's ensemble and training model, so that they use the devices that it asks for.

    Raises:
        ConfigError: these devices are not here, or the batch does not divide among them.
    """
    import keras

    if config.compute.distribution == "none":
        yield
        return
    if keras.backend.backend() != "tensorflow":
        raise ConfigError(f"compute.distribution: expected 'none' under Keras's backend '{keras.backend.backend()}'")
    from closer_tf.nn.distribution import strategy_of

    with strategy_of(config).scope():
        yield


def make_training_model(config, ensemble, num_labels):
    """The compiled model to `fit`: the ensemble itself, or the ensemble with its supervised heads.

    Args:
        config: resolved `RunConfig`.
        ensemble: from `make_ensemble`; shares its weights with what is returned.
        num_labels: number of labels in the data.
    """
    import keras

    from closer_tf.nn.ensemble import with_heads

    model = ensemble
    if "labels" in CONDITIONS[config.condition].learns_from:
        # The heads' seed follows the encoders': one more "encoder" than there are.
        seed = seed_per_encoder(config.seeds.initialization, config.num_encoders + 1)[-1]
        model = with_heads(ensemble, num_labels, seed)
    jit = config.compute.xla if keras.backend.backend() == "tensorflow" else "auto"
    model.compile(_optimizer(config), make_objective(config), jit_compile=jit)
    model.optimizer.build(model.trainable_variables)  # what is saved before the first step can be loaded again
    return model


def make_objective(config):
    """The objective of the config's condition; CLoSeR's where nothing is trained.

    Raises:
        ConfigError: there is no such graph, or no such weights.
    """
    condition = CONDITIONS[config.condition if config.trains else "closer"]
    options = {key: getattr(config.objective, key) for key in condition.objective}
    with _about("objective.graph"):  # also where the condition has none: what is impossible is said
        graph = build_graph(config.objective.graph, config.num_encoders, config.seeds.graph)
    if "graph" in options:
        options["graph"] = graph
    if "weights" in options:
        options["weights"] = options["weights"].model_dump()
    make = function_of(condition.loss)
    with _about("objective.weights"):
        return make(config.compute, **options)


def closer_loss(compute, temperature, graph, stop_gradient):
    """The loss of condition 'closer'."""
    from closer_tf.nn.losses import CLoSeRLoss

    return CLoSeRLoss(temperature, graph, stop_gradient, compute.loss_memory_mb)


def supervised_loss(compute):
    """The loss of condition 'supervised'."""
    from closer_tf.nn.losses import SupervisedLoss

    return SupervisedLoss()


def temporal_loss(compute, weights, graph=None):
    """The loss of the conditions with temporal terms."""
    from closer_tf.nn.temporal import TemporalLoss

    return TemporalLoss(weights, graph)


def _optimizer(config):
    from closer_tf.nn.optimizers import Nadam

    return Nadam(**config.optimizer.model_dump(exclude={"name"}))


def _encoder(options, shape, init_seed, dropout_seed):
    from closer_tf.nn import encoders

    make = {"mlp": encoders.mlp, "vit_lite": encoders.vit_lite}[options.type]
    return make(shape, **options.model_dump(exclude={"type"}), init_seed=init_seed, dropout_seed=dropout_seed)


def _normalisation(config, data):
    if not getattr(config.dataset, "standardise", False):
        return None
    counts = data.current().train.inputs
    return counts.mean(axis=0), counts.std(axis=0, ddof=1)


def _augmentation(config, data):
    from closer_tf.nn.augmentation import RandomAffine

    options = config.augmentation
    if not (options.horizontal_flip or options.rotation or options.zoom):
        return None
    if data.unit_areas:
        raise ConfigError(f"augmentation: only images can be augmented; dataset '{data.name}' holds spike counts")
    return RandomAffine(**options.model_dump(), seed=config.seeds.augmentation, name="augmentation")


def seed_per_encoder(seed, count):
    """List of `count` ints, one encoder's seed each, that follow from one seed."""
    return [int(np.random.SeedSequence([seed, i]).generate_state(1)[0] >> 1) for i in range(count)]


@contextlib.contextmanager
def _precision(name):
    """Layers made here compute in `name` and keep their weights in float32."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if name == "bfloat16" else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@contextlib.contextmanager
def _about(key):
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from None
