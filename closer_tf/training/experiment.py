"""From a run config to the objects it describes: data, receptive fields, ensemble, objective, optimizer.

The one place that knows both the config and the library. A value that the data shows to be impossible becomes a
`ConfigError` that names its key.
"""

import contextlib
import math
import os
import re
import shlex

import numpy as np

from closer_tf import masks
from closer_tf.common.files import memory
from closer_tf.common.values import load
from closer_tf.config import build_graph
from closer_tf.config.conditions import CONDITIONS, function_of
from closer_tf.config.own_parts import call
from closer_tf.data.neuro.sessions import area_sizes
from closer_tf.data.scales import scale_of, warn_if_unscaled
from closer_tf.errors import ConfigError, DataError

COPIES = 4  # of every parameter while training: itself, its gradient, the optimizer's two running means


def load_splits(config):
    """The config's data as `Splits`; windows of consecutive bins only where the objective looks back.

    Raises:
        DataError: the data cannot be read.
        ConfigError: the data cannot be trained on with these settings.
    """
    from closer_tf.data import load_data

    try:
        data = load_data(
            validation_fraction=config.training.validation_fraction,
            validation_seed=config.seeds.validation_split,
            **config.dataset.model_dump(exclude={"input_scale", "standardise"}),
        )
    except DataError as error:
        for key in ("path", "test_path"):
            if not os.path.exists(getattr(config.dataset, key, None) or "."):
                remedy = f"--set dataset.{key}=PATH names another{_made_by(config.dataset)}"
                raise ConfigError(f"dataset.{key}: {error}; {remedy}") from None
        raise
    if not len(data.train):
        raise ConfigError(
            f"training.validation_fraction: {config.training.validation_fraction:g} leaves none of the {len(data.validation)} "
            f"training samples of {data.name} to train on; choose a smaller one"
        )
    if config.training.batch_size > len(data.train):
        raise ConfigError(
            f"training.batch_size: expected at most the {len(data.train)} training samples of {data.name}, "
            f"found {config.training.batch_size}; choose a smaller one, such as "
            f"--set training.batch_size={_fitting(len(data.train))}"
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
    return for_encoders(config, data)


def _made_by(dataset):
    """Where a file of recordings that is not there comes from, if its name or kind says so."""
    folder, name = os.path.split(dataset.path)
    number = re.fullmatch(r"session_(\d{9})\.npz", name)
    if dataset.name == "session" and number:
        command = f"closer_tf allen {number[1]} --out {shlex.quote(folder or '.')} --yes"
        return f", and `{command}` downloads the mouse's recording and makes the file"
    return ". docs/neuroscientists.md says what the file holds" if dataset.name in ("natural_movie", "gabors") else ""


def _fitting(samples):
    """A batch size for so few samples: a power of 2, of which an epoch has four batches, or as many as there can be."""
    return 2 ** max(1, (samples // 4).bit_length() - 1) if samples > 2 else samples


def for_encoders(config, data):
    """A recording's windows as the config's encoders take them: the current bin, with the one before where the objective looks
    back; or the whole window, over which recurrent encoders run.

    Args:
        config: resolved `RunConfig`.
        data: `Splits`.

    Raises:
        ConfigError: there are no windows to run over, or too short ones.
    """
    if config.takes_windows and not data.windowed:
        raise ConfigError(f"encoder.type: 'rnn' runs over consecutive bins; dataset '{data.name}' has none")
    past = looks_back(config)
    if past and data.windowed and data.train.inputs.shape[1] < 2:
        raise ConfigError(
            f"dataset.window: condition '{config.condition}' looks at the bin before; expected 2 at least, found 1"
        )
    if config.takes_windows:
        return data.as_sequences()
    return data.recent(2) if past else data.current()


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
        ConfigError: there are none such over these stimuli, or the file of custom masks cannot be read.
    """
    options, size, count, seed = config.masks, data.input_shape[:2], config.num_encoders, config.seeds.masks
    if options.scheme == "own":
        return _own_masks(options, size if len(size) > 1 else (1, *size), count, seed, data.unit_areas)
    if (options.scheme == "areas") != bool(data.unit_areas):
        fitting = "areas" if data.unit_areas else "gaussian, retinotopic, random_patches, contiguous_patches, custom"
        remedy = '; --set \'masks={"scheme": "areas"}\' takes the areas with most units' * bool(data.unit_areas)
        raise ConfigError(f"masks.scheme: expected {fitting} for dataset '{data.name}', found '{options.scheme}'{remedy}")
    with _about("masks", options):
        if options.scheme == "areas":
            sizes = area_sizes(np.array(data.unit_areas), exclude=("grey",))
            if options.areas is None and len(sizes) < count:
                raise ConfigError(
                    f"num_encoders: expected at most one for each of the data's {len(sizes)} areas, {', '.join(sizes)}; "
                    f"found {count}"
                )
            return masks.area_masks(data.unit_areas, options.areas or list(sizes)[:count])
        if options.scheme == "gaussian":
            return masks.gaussian_masks(size, count, options.fraction, options.sigma, seed)
        if options.scheme == "retinotopic":
            return masks.retinotopic_masks(size, count, **options.model_dump(exclude={"scheme"}), seed=seed)
        if options.scheme == "random_patches":
            return masks.random_patch_masks(size, count, options.fraction, options.patch_size, seed)
        if options.scheme == "contiguous_patches":
            return masks.contiguous_patch_masks(size, count, options.fraction, options.patch_size, options.centres, seed)
        return _custom_masks(options, size, count)


def _custom_masks(options, size, count):
    """The receptive fields of a file, if they are as many as encoders and as large as the images."""
    try:
        fields = masks.read_masks(options.path, options.patch_size)
    except DataError as error:
        raise ConfigError(f"masks.path: {error}") from None
    if fields.num_encoders != count:
        raise ValueError(f"path: {options.path}: expected {count} masks (num_encoders), found {fields.num_encoders}")
    if tuple(side * fields.patch_size for side in fields.grid) != tuple(size):
        raise ValueError(
            f"path: {options.path}: holds masks of {fields.grid} cells of {fields.patch_size} x {fields.patch_size} pixels, "
            f"the images have {size[0]} x {size[1]} pixels"
        )
    return fields


def _own_masks(options, size, count, seed, unit_areas):
    """The receptive fields of a registered mask scheme."""
    given = {"image_size": size, "num_encoders": count, "seed": seed, "unit_areas": unit_areas}
    with _about("masks"):
        fields = call("mask", options.name, given, options.options)
        if not isinstance(fields, masks.ReceptiveFields) or fields.num_encoders != count:
            raise ValueError(f"mask '{options.name}': expected ReceptiveFields of {count} encoders, found {fields!r}")
        return fields


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


def check_memory(config, receptive_fields, data):
    """Refuse encoders that the machine's memory cannot hold, before any of it is taken.

    Args:
        config: resolved `RunConfig`.
        receptive_fields: `ReceptiveFields`.
        data: `Splits`.

    Raises:
        ConfigError: training them takes more memory than there is.
    """
    channels = math.prod(data.input_shape[2:]) * receptive_fields.patch_size**2
    encoders = zip(config.each_encoder(), receptive_fields.indices)
    parameters = sum(count_parameters(options, len(cells), channels) for options, cells in encoders)
    needed, there = 4 * COPIES * parameters / 2**30, memory() / 2**30
    if needed > there:
        raise ConfigError(
            f"encoder: {parameters:,} parameters take {needed:,.0f} GB to train, there are {there:,.0f} GB; expected fewer: "
            f"smaller layers, fewer num_encoders or a smaller masks.fraction"
        )


def count_parameters(options, cells, values):
    """Roughly the parameters of one encoder: its kernels, without biases and scales.

    Args:
        options: a config's `encoder`.
        cells: cells of its receptive field.
        values: values per cell.
    """
    if options.type == "own":
        return 0  # not known before it is made
    if options.type == "mlp":
        widths = [cells * values, *options.hidden, options.embedding_dim]
        return sum(a * b for a, b in zip(widths, widths[1:]))
    if options.type == "rnn":
        gates = 3 if options.cell == "gru" else 1
        widths = [max(cells, values), *options.units]  # the sequence runs over the one or the other
        return sum(gates * (a + b) * b for a, b in zip(widths, widths[1:])) + options.units[-1] * options.embedding_dim
    width = options.embedding_dim
    block = 4 * width * options.heads * options.key_dim + 2 * width * options.mlp_dim
    return width * (values + cells + 2) + options.blocks * block


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
            return _encoder(options[i], shape, init_seeds[i], dropout_seeds[i], data.sequences)

    normalisation, augmentation = _normalisation(config, data), _augmentation(config, data)
    with _about("encoder"), _precision("float32"):  # whatever Keras's global policy is
        return build_ensemble(
            data.input_shape,
            receptive_fields,
            make_encoder,
            input_scale=getattr(config.dataset, "input_scale", None) or data.input_scale,
            normalisation=normalisation,
            augmentation=augmentation,
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
    with load("closer_tf.nn.tensorflow:strategy_of")(config).scope():
        yield


def make_training_model(config, ensemble, num_labels):
    """The compiled model to `fit`: the ensemble itself, or the ensemble with what its objective owns, such as heads.

    Args:
        config: resolved `RunConfig`.
        ensemble: from `make_ensemble`; shares its weights with what is returned.
        num_labels: number of labels in the data.

    Raises:
        ConfigError: as `make_objective`; or the objective does not fit the ensemble.
    """
    import keras

    from closer_tf.nn.ensemble import receptive_fields_of, with_previous
    from closer_tf.nn.objectives import training_model

    objective = make_objective(config, receptive_fields_of(ensemble).centres())
    if config.takes_windows and looks_back(config):
        ensemble = with_previous(ensemble)
    # The seed of what the objective owns follows the encoders': one more "encoder" than there are.
    seed = seed_per_encoder(config.seeds.initialization, config.num_encoders + 1)[-1]
    with _about(f"condition '{config.condition}'"), _precision("float32"):
        model = training_model(objective, ensemble, num_labels, seed)
    jit = config.compute.xla if keras.backend.backend() == "tensorflow" else "auto"
    model.compile(_optimizer(config), objective, jit_compile=jit)
    model.optimizer.build(model.trainable_variables)  # what is saved before the first step can be loaded again
    return model


def make_objective(config, centres=None):
    """The objective of the config's condition; CLoSeR's where nothing is trained.

    Args:
        config: resolved `RunConfig`.
        centres: array (N, 2), where the receptive fields lie; None where they have no place.

    Raises:
        ConfigError: there is no such graph, or no such weights.
    """
    condition = CONDITIONS[config.condition if config.trains else "closer"]
    options = {key: getattr(config.objective, key) for key in condition.objective}
    with _about("objective.graph"):  # also where the condition has none: what is impossible is said
        graph = build_graph(config.objective.graph, config.num_encoders, config.seeds.graph, centres)
    if "graph" in options:
        options["graph"] = graph
    if options.get("push") is not None:
        with _about("objective.push.graph"):  # random edges that push are others than those that pull
            push_seed = seed_per_encoder(config.seeds.graph, 1)[0]
            options["push"] = build_graph(config.objective.push.graph, config.num_encoders, push_seed, centres)
            options["push_weight"] = config.objective.push.weight
    local = options.pop("local", False)
    if "weights" in options:
        options["weights"] = options["weights"].model_dump()
    make = function_of(condition.loss)
    with _about("objective.options") if "options" in options else _about("objective", config.objective):
        objective = make(config.compute, **options)
        if local:  # at every layer of the encoders
            objective = load("closer_tf.nn.layer_local:LayerLocal")(objective, len(config.each_encoder()[0].hidden) + 1)
        check_objective(objective, f"'{config.condition}'")
        return objective


def check_objective(objective, what):
    """Refuse what is no objective, or what a saved model could not hold.

    Args:
        objective: what is to be one.
        what: what to call it in messages.

    Raises:
        ValueError: it says what was expected.
    """
    import keras

    if not hasattr(objective, "terms") or not hasattr(objective, "term_names"):
        raise ValueError(f"{what}: expected a closer_tf.Objective, found {objective!r}")
    kind = type(objective)
    if keras.saving.get_registered_object(keras.saving.get_registered_name(kind)) is not kind:
        raise ValueError(
            f"{what}: {kind.__name__} is not registered with Keras, so that no saved model could hold it; put "
            f'@keras.saving.register_keras_serializable("mine") above the class'
        )


def closer_loss(compute, temperature, graph, stop_gradient, push=None, push_weight=1.0):
    """The loss of condition 'closer'."""
    from closer_tf.nn.objectives import CLoSeRLoss

    return CLoSeRLoss(temperature, graph, stop_gradient, compute.loss_memory_mb, push, push_weight)


def supervised_loss(compute):
    """The loss of condition 'supervised'."""
    from closer_tf.nn.objectives import SupervisedLoss

    return SupervisedLoss()


def loss_made_in_python(compute, options):
    """No config has what it takes to make it."""
    return call("objective", None, {}, {})


def _optimizer(config):
    from closer_tf.nn.optimizers import Nadam

    return Nadam(**config.optimizer.model_dump(exclude={"name"}))


def _encoder(options, shape, init_seed, dropout_seed, over_bins):
    from closer_tf.nn import encoders

    if options.type == "own":
        return _own_encoder(options, shape, init_seed, dropout_seed)
    make = {"mlp": encoders.mlp, "vit_lite": encoders.vit_lite, "rnn": encoders.rnn}[options.type]
    settings = options.model_dump(exclude={"type"}) | ({"over_bins": over_bins} if options.type == "rnn" else {})
    return make(shape, **settings, init_seed=init_seed, dropout_seed=dropout_seed)


def _own_encoder(options, shape, init_seed, dropout_seed):
    """A registered encoder, whose embeddings have to be as wide as the config says."""
    given = {"embedding_dim": options.embedding_dim, "init_seed": init_seed, "dropout_seed": dropout_seed}
    encoder = call("encoder", options.name, given, options.options, shape)
    found = getattr(encoder, "output_shape", None)
    if found != (None, options.embedding_dim):
        raise ValueError(
            f"encoder '{options.name}': expected a Keras model with one output of shape (batch, {options.embedding_dim}), as "
            f"embedding_dim says, found {found or encoder!r}"
        )
    return encoder


def _normalisation(config, data):
    if not getattr(config.dataset, "standardise", False):
        return None
    counts = data.now(data.train)
    return counts.mean(axis=0), counts.std(axis=0, ddof=1)


def _augmentation(config, data):
    from closer_tf.nn.layers import RandomAffine

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
def _about(key, options=None):
    """Say of which key a mistake is: of the section's, or of one of its `options` that the message begins with."""
    try:
        yield
    except ValueError as error:
        name, colon, _ = str(error).partition(": ")
        joint = "." if colon and name.isidentifier() and hasattr(options, name) else ": "
        raise ConfigError(f"{key}{joint}{error}") from None


def graph_of(config, fields):
    """The `InteractionGraph` of a run; None where its condition has none.

    Args:
        config: resolved `RunConfig`.
        fields: `ReceptiveFields`.
    """
    if "graph" not in CONDITIONS[config.condition].objective:
        return None
    return build_graph(config.objective.graph, config.num_encoders, config.seeds.graph, fields.centres())
