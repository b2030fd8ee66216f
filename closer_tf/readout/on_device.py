"""The probe's objective on an accelerator, under JAX: the features lie there, and products with them are done there.

In float64, so that the fits are those of the processor up to rounding; only weights and gradients travel.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from closer_tf.readout.probes import Problem


class DeviceProblem(Problem):
    """As `Problem`, computed where JAX computes; arguments as there."""

    def __init__(self, features, labels, C):
        super().__init__(features, labels, C)
        with jax.enable_x64(True):
            self._on_device = jnp.asarray(features), jnp.asarray(labels.astype(np.int32))

    def sums(self, stacked, cores):
        """(losses (fits,), gradient (fits * outputs, d + 1)), summed over samples; `cores` is not used."""
        fits = len(self.penalties)  # always as many, so that one program serves until the last fit has ended
        whole = np.zeros((fits * self.outputs, stacked.shape[1]), stacked.dtype)
        whole[: len(stacked)] = stacked
        with jax.enable_x64(True):
            losses, gradient = _sums(*self._on_device, whole, self.outputs)
        used = len(stacked)
        return np.array(losses, np.float64)[: used // self.outputs], np.array(gradient, np.float64)[:used]


@functools.partial(jax.jit, static_argnums=3)
def _sums(x, labels, stacked, outputs):
    times = functools.partial(jnp.matmul, precision="highest")
    raw = (times(stacked[:, :-1], x.T) + stacked[:, -1:]).reshape(-1, outputs, len(x))
    if outputs == 1:
        sign = 1 - 2 * labels  # the loss is log(1 + exp(sign * raw))
        losses = jnp.logaddexp(0.0, sign * raw).sum(axis=(1, 2), dtype=jnp.float64)
        slopes = sign * jax.nn.sigmoid(sign * raw)
    else:
        log_p = jax.nn.log_softmax(raw, axis=1)
        own = labels == jnp.arange(outputs)[:, None]
        losses = -jnp.where(own, log_p, 0.0).sum(axis=(1, 2), dtype=jnp.float64)
        slopes = jnp.exp(log_p) - own
    slopes = slopes.reshape(-1, len(x))
    return losses, jnp.concatenate([times(slopes, x), slopes.sum(axis=1, keepdims=True)], axis=1)
