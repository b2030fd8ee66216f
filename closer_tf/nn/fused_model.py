"""Several trainings in one: S ensembles of equal architecture side by side, as one batch of S * N encoders.

The interaction graph of the whole is block-diagonal, a block per run, so that no run sees another: each has its own batches,
masks, random numbers and loss. Gradients therefore are those of the separate trainings, and since Nadam works on each weight by
itself, with one schedule for all, so are its steps. Results differ from separate ones by rounding only.
"""

import json

import keras
import numpy as np
from keras import ops

from closer_tf.common.backend import true_float32, unsaid
from closer_tf.common.values import load
from closer_tf.common.wiring import described, is_of_known_parts
from closer_tf.nn.ensemble import CLoSeR, Stack, numbered
from closer_tf.nn.layers import Heads, RandomAffine, affine
from closer_tf.nn.objectives import Objective, collapse_gauge
from closer_tf.nn.optimizers import Nadam

ACROSS_WEIGHTS = ("clipnorm", "global_clipnorm", "use_ema", "gradient_accumulation_steps", "weight_decay")
"""Settings of an optimizer by which a stacked weight is not updated as those in it are."""

LOOPS = "Using a while_loop for converting"  # TensorFlow, of operations that it maps one by one, such as random numbers


class FusedEnsembles(keras.Model):
    """S compiled ensembles as one Keras model: stimuli (S, B, ...) -> embeddings (S, B, N, D), run by run.

    The ensembles stay what they are and serve as the ordinary form of the state: `gather` takes weights, optimizer and running
    means from them, `scatter` hands them back; the encoders' states go with them. Those of the augmentation are
    shared and always up to date in both.

    Args:
        models: list of S compiled `CLoSeR` models, with or without heads, whose i-th encoders have one architecture each.
        stack: True: all encoders of one architecture take one product per layer, which fills a GPU; one with layers or
            functions that are neither Keras's nor this package's takes its own. False: each encoder takes its own.

    Raises:
        ValueError: the models differ in architecture or in what their objectives are made of.
    """

    def __init__(self, models, stack=True, **kwargs):
        super().__init__(name="fused", **kwargs)
        self.__dict__["models"] = list(models)  # past Keras's tracking: their weights are not this model's
        self.fronts = [_front(model) for model in models]
        self.__dict__["cells"] = [_cells(model) for model in models]
        groups = places(models, stack)
        self.stacks = [StackedEncoders([models[s].encoders[i] for s, i in group]) for group in groups]
        self.__dict__["places"] = groups
        order = [place for group in groups for place in group]
        self.__dict__["order"] = np.argsort([s * len(models[0].encoders) + i for s, i in order]).astype("int32")
        heads = _heads(models[0])
        self.__dict__["heads"] = [
            self.add_weight(shape=(len(models), *weight.shape), initializer="zeros", name=f"heads_{weight.name}")
            for weight in (heads.trainable_variables if heads else ())
        ]
        self.built = True
        first = models[0]
        if any(model.loss.term_names != first.loss.term_names for model in models):
            raise ValueError("the objectives of trainings in one must consist of the same terms")
        self.compile(type(first.optimizer).from_config(first.optimizer.get_config()), jit_compile=first.jit_compile)
        self.optimizer.build(self.trainable_variables)
        self.__dict__["means"] = [MeanOfRuns(len(models), name=metric.name) for metric in first.metrics]
        self.gather()

    def call(self, stimuli, training=False):
        """Embeddings (S, B, N, D), or a dict of them and `logits` (S, B, N, labels) where the ensembles have heads."""
        windows = len(stimuli.shape) == len(self.models[0].inputs[0].shape) + 2
        bins = stimuli.shape[2] if windows else 1
        x = ops.cast(stimuli, self.models[0].inputs[0].dtype)
        x = ops.reshape(x, (x.shape[0], -1, *x.shape[3:])) if windows else x
        for layers in zip(*self.fronts):
            x = _side_by_side(layers, x, training)
        sequences = [x[s] for s in range(len(self.models))]
        outputs = [
            encoders(self._seen(sequences, group), training=training) for encoders, group in zip(self.stacks, self.places)
        ]
        together = ops.cast(outputs[0] if len(outputs) == 1 else ops.concatenate(outputs, axis=0), self.compute_dtype)
        if not np.array_equal(self.order, np.arange(len(self.order))):
            together = ops.take(together, self.order, axis=0)
        runs, encoders, dim = len(self.models), len(self.models[0].encoders), together.shape[-1]
        by_run = ops.transpose(ops.reshape(together, (runs, encoders, -1, dim)), (0, 2, 1, 3))
        if windows:
            return ops.reshape(by_run, (runs, -1, bins, encoders, dim))
        if self.heads:
            kernel, bias = self.heads
            logits = ops.einsum("sbnd,sndc->sbnc", by_run, kernel) + ops.expand_dims(bias, 1)
            return {"embeddings": by_run, "logits": logits}
        return by_run

    def _seen(self, sequences, group):
        """What the encoders of a group see: (G, B, cells, values)."""
        parts = []
        for s, sequence in enumerate(sequences):
            cells = [self.cells[s][i] for run, i in group if run == s]
            if cells:
                seen = ops.take(sequence, np.concatenate(cells).astype("int32"), axis=1)
                seen = ops.reshape(seen, (-1, len(cells), len(cells[0]), sequence.shape[2]))
                parts.append(ops.transpose(seen, (1, 0, 2, 3)))
        return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=0)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The sum of the runs' losses, whose gradient is each run's own; their terms and collapse gauges are tracked."""
        del x, sample_weight, training
        with true_float32():
            terms = self._terms(y_pred, y)
        penalties = self._regularisation()
        if penalties is not None:
            terms["regularisation"] = ops.stack(penalties)
            terms["loss"] = terms["loss"] + terms["regularisation"]
        samples = ops.shape(keras.tree.flatten(y_pred)[0])[1]
        for mean in self.means:
            mean.update_state(terms[mean.name], sample_weight=samples)
        return ops.sum(terms["loss"])

    def _terms(self, outputs, labels):
        """dict name -> tensor (S,): every run's objective, its parts and the collapse gauge."""

        def of_run(loss, outputs, labels):
            embeddings = outputs["embeddings"] if isinstance(outputs, dict) else outputs
            return {**loss.terms(outputs, labels), **collapse_gauge(embeddings)}

        losses = [model.loss for model in self.models]
        if keras.backend.backend() == "jax" and _alike(losses):
            return ops.vectorized_map(lambda run: of_run(losses[0], *run), (outputs, labels))
        rows = []
        for s, loss in enumerate(losses):
            own = keras.tree.map_structure(lambda values, s=s: values[s], outputs)
            rows.append(of_run(loss, own, None if labels is None else labels[s]))
        return {name: ops.stack([row[name] for row in rows]) for name in rows[0]}

    def _regularisation(self):
        """List of S scalars, or None."""
        sums = [None] * len(self.models)
        for encoders, group in zip(self.stacks, self.places):
            each = encoders.regularisation()
            for k, (s, i) in enumerate(group if each is not None else ()):
                penalty = each[k] * float(i not in getattr(self.models[s].loss, "at_rest", ()))
                sums[s] = penalty if sums[s] is None else sums[s] + penalty
        return None if sums[0] is None else sums

    def train_step(self, *args):
        """One step of all runs. Called by `fit`."""
        if keras.backend.backend() != "tensorflow":
            return super().train_step(*args)
        descend = load("closer_tf.nn.tensorflow:descend")
        descend(self, *args)
        return self.get_metrics_result()

    @property
    def metrics(self):
        """The running means, each a vector over runs."""
        return list(self.__dict__.get("means", ()))

    def pairs(self):
        """List of (weight of this model, list of the ensembles' own weights it is stacked from, list of whose those are)."""
        found = []
        for encoders, group in zip(self.stacks, self.places):
            runs = [s for s, _ in group]
            found += [(weight, own, runs) for weight, own in encoders.pairs()]
        if self.heads:
            own = zip(*(_heads(model).trainable_variables for model in self.models))
            found += [(weight, list(each), range(len(self.models))) for weight, each in zip(self.heads, own)]
        return found

    def gather(self):
        """Take weights, optimizer state and running means from the ensembles.

        Raises:
            ValueError: the ensembles' optimizers are not at the same step.
        """
        for ours, own in self._state():
            values = [np.asarray(variable) for variable in own]
            if len(ours.shape) == len(values[0].shape) and any((value != values[0]).any() for value in values):
                found = [value.tolist() for value in values]
                raise ValueError(f"{ours.path}: expected trainings at the same step, found {found}")
            ours.assign(_together(ours, values, np))
        self.gather_means()

    def scatter(self):
        """Hand weights, optimizer state and running means back to the ensembles."""
        self._settle()
        for ours, own in self._state():
            for variable, value in zip(own, _apart(np.asarray(ours), own)):
                variable.assign(value)
        self.scatter_means()

    def stacked(self, known):
        """As `gather`, of values: dict id of an ensemble's variable -> value; returns one of this model's variables."""
        return {
            id(ours): _together(ours, [known[id(variable)] for variable in own], ops)
            for ours, own in [*self._state(), *self._means_of_runs()]
            if id(own[0]) in known
        }

    def unstacked(self, known):
        """As `scatter`, of values: dict id of one of this model's variables -> value; returns one of the ensembles'."""
        return {
            id(variable): value
            for ours, own in [*self._state(), *self._means_of_runs()]
            if id(ours) in known
            for variable, value in zip(own, _apart(known[id(ours)], own))
        }

    def _settle(self):
        """Under JAX, `fit` keeps the variables' values apart until it is asked for them."""
        if keras.backend.backend() == "jax":
            self.jax_state_sync()

    def scatter_means(self):
        """Hand the epoch's running means back to the ensembles."""
        self._settle()
        for ours, own in self._means_of_runs():
            for variable, value in zip(own, np.asarray(ours)):
                variable.assign(value)

    def gather_means(self):
        """Take the epoch's running means from the ensembles."""
        for ours, own in self._means_of_runs():
            ours.assign([float(np.asarray(variable)) for variable in own])

    def _means_of_runs(self):
        """As `_state`, of the running means."""
        metrics = list(zip(self.means, *(model.metrics for model in self.models)))
        return [(mean.total, [metric.total for metric in own]) for mean, *own in metrics] + [
            (mean.count, [metric.count for metric in own]) for mean, *own in metrics
        ]

    def _state(self):
        """List of (variable of this model or its optimizer, list of the ensembles' own that it stands for).

        A variable stands for equal ones, or for those that are stacked along its first axis, which they lack."""
        optimizers, found = [model.optimizer for model in self.models], []
        for weight, own, runs in self.pairs():
            found.append((weight, own))
            for slots in ("_momentums", "_velocities"):
                of_runs = [_slot(optimizers[s], slots, each) for s, each in zip(runs, own)]
                found.append((_slot(self.optimizer, slots, weight), of_runs))
        for encoders in self.stacks:
            found += encoders.states()
        rate = ["_learning_rate"] if isinstance(self.optimizer._learning_rate, keras.Variable) else []
        for name in ("iterations", "_mu_product", *rate):
            found.append((getattr(self.optimizer, name), [getattr(optimizer, name) for optimizer in optimizers]))
        return found


def _alike(losses):
    """Whether several objectives of this package are one; an objective of one's own need not give its arguments."""
    first, *others = losses
    if not others or not type(first).__module__.startswith("closer_tf."):
        return False
    return all(type(loss) is type(first) and loss.get_config() == first.get_config() for loss in others)


def _together(ours, values, library):
    """Values of the ensembles' variables as this model's variable holds them."""
    return library.stack(values) if len(ours.shape) > len(values[0].shape) else values[0]


def _apart(value, own):
    """The inverse of `_together`: list of values for the ensembles' variables `own`."""
    return list(value) if len(value.shape) > len(own[0].shape) else [value] * len(own)


def _slot(optimizer, slots, weight):
    return getattr(optimizer, slots)[optimizer._get_variable_index(weight)]


class MeanOfRuns(keras.metrics.Metric):
    """The running means of S runs, each computed as `keras.metrics.Mean` does.

    Args:
        runs: number of runs S.
        name: the metric's name.
    """

    def __init__(self, runs, name="mean_of_runs", **kwargs):
        super().__init__(name=name, **kwargs)
        self.total = self.add_variable(shape=(runs,), initializer="zeros", dtype=self.dtype, name="total")
        self.count = self.add_variable(shape=(runs,), initializer="zeros", dtype=self.dtype, name="count")

    def update_state(self, values, sample_weight=1):
        """Add values (S,), each of which counts as often as `sample_weight` says."""
        weight = ops.cast(sample_weight, self.dtype)
        self.total.assign(self.total + ops.cast(values, self.dtype) * weight)
        self.count.assign(self.count + weight)

    def result(self):
        """Tensor (S,)."""
        return ops.divide_no_nan(self.total, self.count)


def _cells(model):
    """The cells that each encoder of an ensemble sees: list of int arrays."""
    return [np.array(layer.cells) for layer in numbered(model, "receptive_field_")]


def _front(model):
    """The layers from the stimulus to the cells, in order."""
    names = [layer.name for layer in model.layers]
    return model.layers[1 : names.index("cells") + 1]


def _side_by_side(layers, x, training):
    """One layer of each run on x (S, B, ...), at once where the runs' layers do the same."""
    first, shape = layers[0], ops.shape(x)
    if isinstance(first, RandomAffine):
        images = ops.reshape(x, (-1, *x.shape[2:]))
        for drawn in zip(*(layer.draw(shape[1]) for layer in layers)) if training else ():
            images = affine(images, *(ops.concatenate(of_runs) for of_runs in zip(*drawn)))
        return ops.reshape(images, shape)
    if any(first.get_config() != layer.get_config() for layer in layers):
        return ops.stack([layer(part) for layer, part in zip(layers, ops.unstack(x, len(layers)))])
    y = first(ops.reshape(x, (-1, *x.shape[2:])))
    return ops.reshape(y, (shape[0], -1, *y.shape[1:]))


def _heads(model):
    return next((layer for layer in model.layers if layer.name == "heads"), None)


def can_be_fused(model):
    """Whether `FusedEnsembles` can compute a compiled ensemble."""
    return why_not_fused(model) is None


def why_not_fused(model):
    """What keeps `FusedEnsembles` from computing a compiled ensemble, in words; None where nothing does.

    It must be a `CLoSeR` model itself and its optimizer take weights apart, on which there may be no constraints; its encoders
    must have known shapes, share no weights and not run over the bins of windows; nothing before them may have weights to
    train, and its objective may own heads alone.
    """
    if type(model) is not CLoSeR:
        return f"the model is a {type(model).__name__}, which may train otherwise than CLoSeR does"
    optimizer = model.optimizer
    if not isinstance(optimizer, Nadam) or any(getattr(optimizer, name) for name in ACROSS_WEIGHTS):
        return f"the optimizer {type(optimizer).__name__} may not take every weight by itself"
    for i, encoder in enumerate(model.encoders):
        if not (hasattr(encoder, "input_shape") and hasattr(encoder, "output_shape")):
            return (
                f"encoder {i} is a {type(encoder).__name__}, no functional or sequential model, which would have known shapes"
            )
    of_all = [id(variable) for encoder in model.encoders for variable in encoder.variables]
    if len({*of_all}) < len(of_all):
        return "its encoders share weights"
    if any(getattr(variable, "constraint", None) is not None for variable in model.trainable_variables):
        return "there are constraints on weights, which stacked ones do not keep"
    if any(len(encoder.output_shape) > 2 for encoder in model.encoders):
        return "its encoders run over the bins of windows"
    trained = [layer.name for layer in _front(model) if layer.trainable_variables]
    if trained:
        return f"what comes before its encoders has weights to train: {', '.join(trained)}"
    owned = _owned(model)
    if owned:
        return f"the objective {type(model.loss).__name__} owns more than heads: {', '.join(owned)}"
    if not _has_plain_outputs(model):
        return f"the objective {type(model.loss).__name__} takes other outputs than the embeddings and heads on them"
    if getattr(type(model.loss), "after_step", Objective.after_step) is not Objective.after_step:
        return f"the objective {type(model.loss).__name__} brings states up to date after each step"
    return None


def _owned(model):
    """The names of an ensemble's operations, layers or not, that are neither its own nor a layer of heads."""
    known = [*model.layers[: len(_front(model)) + 1], *numbered(model, "receptive_field_"), *model.encoders]
    kinds = {"embeddings": Stack, "heads": Heads}
    return [
        operation.name
        for operation in model.operations
        if not any(operation is each for each in known) and type(operation) is not kinds.get(operation.name)
    ]


def _has_plain_outputs(model):
    """Whether an ensemble's outputs are its embeddings, or a dict of these and of the logits of its heads on them."""
    embeddings, heads = model.get_layer("embeddings").output, _heads(model)
    if heads is None:
        return model.output is embeddings
    outputs = model.output if isinstance(model.output, dict) else {}
    return (
        set(outputs) == {"embeddings", "logits"}
        and outputs["embeddings"] is heads.input is embeddings
        and outputs["logits"] is heads.output
    )


def places(models, stack=True):
    """Groups of encoders that compute the same but for their weights: lists of (run, encoder), in order.

    Raises:
        ValueError: the i-th encoders of two ensembles differ.
    """
    groups = {}
    for s, model in enumerate(models):
        if len(model.encoders) != len(models[0].encoders):
            raise ValueError(f"expected ensembles of {len(models[0].encoders)} encoders, found {len(model.encoders)}")
        for i, encoder in enumerate(model.encoders):
            found, first = architecture(encoder), architecture(models[0].encoders[i])
            if found != first:
                raise ValueError(f"encoder {i} of run {s} has another architecture, or sees more or fewer cells, than in run 0")
            groups.setdefault(found if stack and is_of_known_parts(encoder) else (s, i), []).append((s, i))
    return list(groups.values())


def architecture(encoder):
    """What two encoders must agree in to be stacked: all but names, seeds and the values of their weights (hashable).

    Of one with parts that are not known, only the shapes of what it sees and gives.
    """
    known = described(encoder) if is_of_known_parts(encoder) else None
    return json.dumps([list(encoder.input_shape[1:]), list(encoder.output_shape[1:]), known], default=str, sort_keys=True)


class StackedEncoders(keras.layers.Layer):
    """G encoders of equal architecture as one layer: what they see (G, B, cells, values) -> embeddings (G, B, D).

    Args:
        encoders: list of G built Keras models. They are not touched, and this layer's variables (G, ...) start at zero: see
            `FusedEnsembles.gather`.
    """

    def __init__(self, encoders, **kwargs):
        super().__init__(**kwargs)
        self.__dict__["encoders"] = list(encoders)  # past Keras's tracking: their weights are not this layer's
        first = self.encoders[0]
        self.__dict__["weights_of"] = [self._stacked(weight, trainable=True) for weight in first.trainable_variables]
        self.__dict__["states_of"] = [self._stacked(state, trainable=False) for state in first.non_trainable_variables]
        self.__dict__["penalties"] = None
        self.built = True

    def _stacked(self, variable, trainable):
        return self.add_weight(
            shape=(len(self.encoders), *variable.shape),
            initializer="zeros",
            dtype=variable.dtype,
            trainable=trainable,
            autocast=False,  # the encoders' layers cast
            name=variable.path.replace("/", "_"),
        )

    def call(self, seen, training=False):
        """The embeddings."""

        def one(weights, states, x):
            return self.encoders[0].stateless_call(weights, states, x, training=training, return_losses=True)

        arguments = [ops.convert_to_tensor(weight) for weight in self.weights_of], [state * 1 for state in self.states_of], seen
        if len(self.encoders) == 1:
            alone = keras.tree.map_structure(lambda values: values[0], arguments)
            found = keras.tree.map_structure(lambda value: ops.expand_dims(value, 0), one(*alone))
        else:
            with unsaid(LOOPS):
                found = ops.vectorized_map(lambda each: one(*each), arguments)
        embeddings, states, penalties = found
        for variable, state in zip(self.states_of, states):
            variable.assign(state)
        self.__dict__["penalties"] = sum(penalties) if penalties else None
        return embeddings

    def regularisation(self):
        """Tensor (G,): each encoder's regularisation in the last call, or None where there is none."""
        return self.penalties

    def pairs(self):
        """List of (stacked weight, list of the G encoders' own weights)."""
        return list(zip(self.weights_of, zip(*(encoder.trainable_variables for encoder in self.encoders), strict=True)))

    def states(self):
        """As `pairs`, of what is not trained: the states of dropout's generators, moving averages."""
        return list(zip(self.states_of, zip(*(encoder.non_trainable_variables for encoder in self.encoders))))
