"""What JAX alone has: many training steps in one compiled call, with the data on the device once and the steps a `lax.scan`.

Keras's `fit` comes back to Python after every batch, which costs as much as a small step itself. Here Python hands over the
order of the samples and gets back the epoch's running means. The encoders of one ensemble are computed side by side, as those
of several runs are: within a call its state is that of `FusedEnsembles`. Each step is the model's own `train_step`, so that the
weights are those that `fit` would reach, up to rounding.
"""

import math

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.extend.random import threefry_2x32

from closer_tf.data.splits import steps_per_epoch
from closer_tf.data.streams import epoch_order, steps_per_execution
from closer_tf.nn.fused_model import FusedEnsembles, can_be_fused


class CompiledSteps:
    """Trains and validates a compiled Keras model, many steps at a call.

    Args:
        model: compiled `CLoSeR` model, or `FusedEnsembles` of S runs.
        train, validation: list of the `Split` of a `CLoSeR` model, or of the S runs' `Split`s, all of one length.
        batch_size: samples per step and run; the last batch of an epoch holds what is left.
        seeds: list of ints, one per `Split`: seeds of the order of the training samples.
        at_once: steps at a call. Default: all of an epoch.
    """

    def __init__(self, model, train, validation, batch_size, seeds, at_once=None):
        self.model, self.batch_size, self.seeds = model, batch_size, seeds
        self.one_run = not isinstance(model, FusedEnsembles)
        self.computed = FusedEnsembles([model]) if self.one_run and can_be_fused(model) else model
        self.steps = steps_per_epoch(len(train[0]), batch_size)
        self.at_once = at_once or self.steps
        self.train, self.validation = Samples(train), Samples(validation)
        self._train = jax.jit(self._train_steps, donate_argnums=0)
        self._test = jax.jit(self._test_steps, donate_argnums=0)

    def fit(self, first, last, callbacks=(), done=0):
        """Train epochs `first` to `last`, of the first one what is left after `done` steps.

        Args:
            first, last: epochs, counted from 0; `last` itself is not trained.
            callbacks: Keras callbacks, called as `fit` does; between a call's steps and within the validation they are not.
            done: steps of the first epoch that are done already.
        """
        model = self.model
        watching = keras.callbacks.CallbackList(list(callbacks), model=model, epochs=last, steps=self.steps)
        model.stop_training = False
        watching.on_train_begin()
        for epoch in range(first, last):
            model.reset_metrics()
            watching.on_epoch_begin(epoch)
            for begin, end, rows, rest in self._calls(epoch, done):
                watching.on_train_batch_begin(begin)
                logs = self._run(self._train, _trained(self.model), self.train, rows, rest)
                watching.on_train_batch_end(end, logs)
                if model.stop_training:
                    break
            whole, done = end == self.steps - done - 1, 0
            if whole:  # not broken off by a callback
                logs |= {f"val_{name}": value for name, value in self.evaluate().items()}
            watching.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
        watching.on_train_end(logs)

    def evaluate(self):
        """dict: name -> running mean over the validation samples, each an array over the runs of `FusedEnsembles`.

        Empty with fewer than two samples, which have no loss. It starts the model's running means anew.
        """
        if len(self.validation) < 2:
            return {}
        self.model.reset_metrics()
        order = np.arange(len(self.validation), dtype="int32")
        rows, rest = self._in_batches(np.broadcast_to(order, (len(self.seeds), len(order))))
        return self._run(self._test, _tested(self.model), self.validation, rows, rest)

    def _calls(self, epoch, done):
        """What the calls of an epoch take: (first step, last step, rows of whole batches, rows of the partial one)."""
        order = np.stack([epoch_order(len(self.train), seed, epoch) for seed in self.seeds]).astype("int32")
        for first in range(done, self.steps, self.at_once):
            last = min(first + self.at_once, self.steps)
            rows, rest = self._in_batches(order[:, first * self.batch_size : last * self.batch_size])
            yield first - done, last - done - 1, rows, rest

    def _in_batches(self, order):
        """Rows (S, n) as whole batches (k, S, B) and a partial one (S, r); without S for one run, None where there is none."""
        whole = order.shape[1] // self.batch_size * self.batch_size
        rows = np.moveaxis(order[:, :whole].reshape(len(order), -1, self.batch_size), 1, 0)
        rest = order[:, whole:]
        if not isinstance(self.computed, FusedEnsembles):
            rows, rest = rows[:, 0], rest[0]
        return rows if rows.size else None, rest if rest.size else None

    def _run(self, compiled, variables, samples, rows, rest):
        """Call compiled steps on the model's state and hand the state back; returns the running means as NumPy has them."""
        state = [[variable.value for variable in group] for group in variables]
        rows, rest = (None if part is None else samples.at(part) for part in (rows, rest))
        means, state = compiled(state, samples.inputs, samples.labels, rows, rest)
        for group, values in zip(variables, state):
            for variable, value in zip(group, values):
                variable.assign(value)
        return dict(zip([metric.name for metric in self.model.metrics], np.asarray(means)))  # fetched in one piece

    def _train_steps(self, *arguments):
        return self._all_steps(self.computed.train_step, _trained, *arguments)

    def _test_steps(self, *arguments):
        return self._all_steps(self.computed.test_step, _tested, *arguments)

    def _all_steps(self, one_step, groups, state, inputs, labels, rows, rest):
        """(running means (metrics, ...), state) after a step for each of rows (k, ..., B) and one for rest (..., r).

        Args:
            one_step: the step of what is computed.
            groups: function from a model to the groups of variables that the step takes.
            state: the values of those of `self.model`.
        """
        own, computed = groups(self.model), groups(self.computed)
        known = {id(variable): value for of, values in zip(own, state) for variable, value in zip(of, values)}
        if self.computed is not self.model:
            known |= self.computed.stacked(known)
        carry = [[known[id(variable)] for variable in group] for group in computed]

        def step(carry, chosen):
            batch = [jnp.take(values, chosen, axis=0, mode="clip") for values in (inputs, labels)]
            return list(one_step(tuple(carry), tuple(batch))[1]), None

        if rows is not None:
            carry, _ = jax.lax.scan(step, carry, rows)
        if rest is not None:
            carry, _ = step(carry, rest)
        known |= {id(variable): value for of, values in zip(computed, carry) for variable, value in zip(of, values)}
        if self.computed is not self.model:
            known |= self.computed.unstacked(known)
        state = [[known[id(variable)] for variable in group] for group in own]
        with keras.StatelessScope(state_mapping=list(zip(self.model.metrics_variables, state[-1]))):
            return jnp.stack([metric.result() for metric in self.model.metrics]), state


def _trained(model):
    return [model.trainable_variables, model.non_trainable_variables, model.optimizer.variables, model.metrics_variables]


def _tested(model):
    return [model.trainable_variables, model.non_trainable_variables, model.metrics_variables]


class Samples:
    """Samples of one or several splits in the device's memory, each array once.

    Args:
        splits: list of `Split`s of one length; those that share their arrays are held once.
    """

    def __init__(self, splits):
        own = list({id(split.inputs): split for split in splits}.values())
        self.inputs = jnp.asarray(_joined([split.inputs for split in own]))
        self.labels = jnp.asarray(_joined([_as_labels(split.labels) for split in own]))
        self.length = len(splits[0])
        places = {id(split.inputs): k for k, split in enumerate(own)}
        self.firsts = np.array([places[id(split.inputs)] * self.length for split in splits], dtype="int32")

    def __len__(self):
        return self.length

    def at(self, rows):
        """Where the samples `rows` (..., S, B) of each of S splits lie; for one split rows are (..., B)."""
        return rows + self.firsts[:, None] if len(self.firsts) > 1 else rows


def _joined(arrays):
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _as_labels(labels):
    """Labels as JAX takes them without widening: whole numbers in 32 bits."""
    return labels.astype("int32") if labels.dtype.kind in "iu" else labels


def levels(seed, shape):
    """Random whole numbers of 16 bits; arguments as in `closer_tf.nn.tensorflow.levels`.

    `jax.random.bits` computes 64 bits for each number, whatever its width; here each 64 are four numbers.
    """
    count = math.prod(shape)
    words = threefry_2x32(seed.astype("uint32"), jnp.arange(-(-count // 2), dtype="uint32"))
    return jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[:count].reshape(shape)


def epochs(model, data, configs, keeper, callbacks):
    """How `closer_tf.training.loop` trains: many steps at a call; the rest as `closer_tf.nn.tensorflow.epochs`."""
    splits = [each.train for each in data], [each.validation for each in data]
    seeds = [config.seeds.data_order for config in configs]
    at_once = steps_per_execution(configs[0], keeper.steps)
    compiled = CompiledSteps(model, *splits, configs[0].training.batch_size, seeds, at_once)
    return lambda first, last, done=0: compiled.fit(first, last, [keeper, *callbacks], done), compiled.evaluate
