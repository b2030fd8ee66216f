"""Config section: the readout."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from closer_tf.common.values import BOUNDS
from closer_tf.config.base import NameOf, Section, inconsistent
from closer_tf.config.conditions import UNTRAINED, compared_conditions

PUBLISHED_C_GRID = (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
PROBE_ITERATIONS = {"published": 100, "converged": 5000}  # readout.protocol -> most iterations per fit


class Readout(Section):
    """The linear probe: multinomial logistic regression on the z-scored embeddings."""

    after_training: bool = True
    """Read out as soon as the training is done."""
    at_epochs: list[Annotated[int, Field(ge=0)]] = Field([], max_length=1000, json_schema_extra={"uniqueItems": True})
    """Also read out the run's own condition as it was after these epochs, in ascending order: accuracy over epochs. 0 is the
    untrained ensemble. The training keeps the weights of these epochs as it passes them; those past `training.epochs` are left
    out. May be given for a run that is under way: for epochs that it has passed by then, weights are seldom there."""
    C: list[Annotated[float, Field(**BOUNDS["C"])]] = Field(list(PUBLISHED_C_GRID), min_length=1)
    """Inverse L2 penalties to choose from by validation accuracy; 0 stands for no penalty. Ties go to the first."""
    protocol: Literal["published", "converged"] = "published"
    """How the probe is fitted. 'published': as scikit-learn does by default, which stops most fits after 100 iterations, short
    of the optimum. 'converged': each fit to its optimum, by scikit-learn's objective and tolerance."""
    max_iter: int | None = Field(None, **BOUNDS["max_iter"])
    """Most L-BFGS iterations per fit. Default null: the protocol's own, 100 for 'published' and 5000 for 'converged'."""
    precision: Literal["float64", "float32"] = "float64"
    """Of the products in the fits of protocol 'published'; sums over samples are in float64 either way. float32 takes two
    thirds of the time on CIFAR. These fits stop short of the optimum, and rounding grows on the way there: a single probe may
    come out some thousandths higher or lower, means over encoders hardly move (docs/performance.md has measurements)."""
    validation_fraction: float = Field(0.1, gt=0, lt=1)
    """Fraction of all training samples that chooses C; drawn apart from the training loop's validation set."""
    conditions: list[Annotated[str, NameOf(compared_conditions)]] = ["masked_input", UNTRAINED]
    """What to read out beside the run's own condition, for comparison. 'pca', the first `embedding_dim` principal components
    of what each encoder sees, is not in the paper."""
    pseudo_likelihood_draws: int = Field(100, ge=1, le=1_000_000)
    """How many random sets of samples the class mean pseudo-likelihood is averaged over. A draw costs the square of the number
    of classes: 100 draws at 100 classes take some 2 minutes of one core for each encoder and condition."""
    layers: bool = False
    """Also read out the activity of every hidden layer, after its non-linearity, of the encoders that are read out: what each
    layer gains. For MLP encoders of equal hidden widths; `layer_1_single`, `layer_1_ensemble`, ... in results.json."""
    knn_neighbours: int | None = Field(None, **BOUNDS["knn_neighbours"])
    """Also classify by the k nearest training samples. Default null: don't."""
    whiten: bool = False
    """Also fit the probe on whitened features: multiplied by the inverse root of their covariance over the probe's training
    samples, with the shrinkage of Ledoit and Wolf. The penalty of the probe on z-scored features keeps it from directions in
    which features hardly vary; that on whitened ones treats all alike. Not in the paper."""

    @model_validator(mode="after")
    def _to_the_optimum(self):
        if self.protocol == "converged" and self.precision != "float64":
            inconsistent("precision", "protocol 'converged' chooses its own; expected 'float64', found 'float32'")
        return self

    @field_validator("at_epochs", mode="after")
    @classmethod
    def _ascending(cls, epochs):
        if any(later <= earlier for earlier, later in zip(epochs, epochs[1:])):
            raise ValueError(f"expected epochs in ascending order, each once, found {epochs}")
        return epochs
