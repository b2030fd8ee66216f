"""The conditions: one table of what encoders can learn from, and of what is read out for comparison. Everything that lists
conditions or asks what one is, reads it.

A new condition is a row here, and the function that makes its loss. The rows' order is that of pictures and tables.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from closer_tf.common.values import load

READS = ("encoders", "masked input", "principal components", "input")


@dataclass(frozen=True)
class Condition:
    """What a condition is.

    Args:
        title: what it is called in pictures, tables and reports.
        colour: its colour there, '#rrggbb'; from Okabe and Ito's palette, which people tell apart whatever colours they see.
        reads: what is read out: 'encoders' (their embeddings), 'masked input' (what each encoder sees), 'principal components'
            (of what each encoder sees, as many as an embedding has dimensions) or 'input' (all of it).
        learns_from: what the encoders are trained on: 'encoders' (each other), 'past' (the bin before) or 'labels', of which
            several are joined in a tuple; () where nothing is trained.
        objective: the keys of the config's `objective` that it has: its loss is made from these, and its results follow from
            no others.
        loss: 'module:function' of what makes its loss, called as function(compute, **objective): the config's section
            `compute`, and what is under the keys above, `graph` as an `InteractionGraph` and `weights` as a dict, and without
            `local`, by which the loss is taken at every layer; or that function itself, of an objective that was registered.
            None where nothing is trained.
        weights: dict term -> the paper's weight, for losses with `objective.weights`.
        windows: trains on windows of consecutive bins, if its loss says `needs_previous`.
        pseudo_likelihood_temperature: what the paper measures class pseudo-likelihoods with, per embedding dimension.
    """

    title: str
    colour: str
    reads: str
    learns_from: tuple[str, ...]
    objective: tuple[str, ...]
    loss: str | Callable[..., Any] | None
    weights: dict[str, float] = field(default_factory=dict)
    windows: bool = False
    pseudo_likelihood_temperature: float = 10.0

    def __post_init__(self):
        if self.reads not in READS:
            raise ValueError(f"reads: expected {', '.join(map(repr, READS[:-1]))} or {READS[-1]!r}, found {self.reads!r}")
        if unknown := set(self.learns_from) - {"encoders", "past", "labels"}:
            raise ValueError(f"learns_from: expected some of 'encoders', 'past' and 'labels', found {sorted(unknown)}")
        if bool(self.learns_from) != (self.loss is not None):
            raise ValueError("learns_from, loss: expected both of what is trained, and neither otherwise")
        if self.trained and self.reads != "encoders":
            raise ValueError(f"reads: expected 'encoders' of what is trained, found {self.reads!r}")
        if bool(self.weights) != ("weights" in self.objective):
            raise ValueError("weights: expected the paper's where `objective` has 'weights', and none otherwise")

    @property
    def trained(self) -> bool:
        """Whether there is something to train."""
        return bool(self.learns_from)

    @property
    def embeds(self) -> bool:
        """Whether there are encoders whose embeddings are read out."""
        return self.reads == "encoders"


UNTRAINED = "untrained"
"""The condition of encoders at their initialisation, which trained ones are compared with."""

MADE_IN_PYTHON = "made_in_python"
"""The condition of a model that was made in Python, with any objective: what its run folder says of it."""

CONDITIONS = {
    "masked_input": Condition("masked input", "#0072b2", "masked input", (), (), None),
    "full_input": Condition("full input", "#4d4d4d", "input", (), (), None),
    "pca": Condition("PCA", "#f0e442", "principal components", (), (), None),
    UNTRAINED: Condition("untrained", "#e69f00", "encoders", (), (), None, pseudo_likelihood_temperature=0.5),
    "closer": Condition(
        title="CLoSeR",
        colour="#009e73",
        reads="encoders",
        learns_from=("encoders",),
        objective=("temperature", "graph", "stop_gradient", "push", "local"),
        loss="closer_tf.training.experiment:closer_loss",
    ),
    "supervised": Condition(
        title="supervised",
        colour="#cc79a7",
        reads="encoders",
        learns_from=("labels",),
        objective=(),
        loss="closer_tf.training.experiment:supervised_loss",
        pseudo_likelihood_temperature=0.001,
    ),
    "lpl": Condition(
        title="LPL",
        colour="#56b4e9",
        reads="encoders",
        learns_from=("past",),
        objective=("weights", "local"),
        loss="closer_tf.nn.temporal:temporal_loss",
        weights={"cont": 1.0, "var": 1.0, "cov": 10.0},
        windows=True,
    ),
    "notcloser": Condition(
        title="NoTCLoSeR",
        colour="#d55e00",
        reads="encoders",
        learns_from=("encoders",),
        objective=("graph", "weights", "local"),
        loss="closer_tf.nn.temporal:temporal_loss",
        weights={"pull": 2.0, "var": 1.0, "cov": 10.0},
        windows=True,
    ),
    "tcloser": Condition(
        title="TCLoSeR",
        colour="#009e73",  # CLoSeR in time
        reads="encoders",
        learns_from=("encoders", "past"),
        objective=("graph", "weights", "local"),
        loss="closer_tf.nn.temporal:temporal_loss",
        weights={"tpull": 2.0, "var": 1.0, "cov": 10.0},
        windows=True,
    ),
    "distilled": Condition(
        title="distilled",
        colour="#332288",
        reads="encoders",
        learns_from=("encoders",),
        objective=("graph", "momentum", "predictor"),
        loss="closer_tf.nn.distilled:distilled_loss",
    ),
    MADE_IN_PYTHON: Condition(
        title="own objective",
        colour="#bbbbbb",
        reads="encoders",
        learns_from=("encoders",),
        objective=("options",),
        loss="closer_tf.training.experiment:loss_made_in_python",
    ),
}
"""name, as in a config -> `Condition`"""


def trained_conditions() -> list[str]:
    """The names of the conditions that train, in the table's order."""
    return [name for name, condition in CONDITIONS.items() if condition.trained]


def compared_conditions() -> list[str]:
    """The names of the conditions that train nothing, which a run's own is compared with."""
    return [name for name, condition in CONDITIONS.items() if not condition.trained]


def is_trained(name: str) -> bool:
    """Whether a condition trains; one that this version does not know counts as one that does not."""
    return name in CONDITIONS and CONDITIONS[name].trained


def title_of(name: str) -> str:
    """What a condition is called in pictures and tables; one that this version does not know keeps its name."""
    return CONDITIONS[name].title if name in CONDITIONS else name


def colour_of(name: str) -> str:
    """The colour of a condition; grey of one that this version does not know."""
    return CONDITIONS[name].colour if name in CONDITIONS else "#7f7f7f"


def in_order(names: Iterable[str]) -> list[str]:
    """Names of conditions in the table's order, unknown ones last.

    Args:
        names: of conditions; what follows a comma in a name tells variants of a condition apart.

    Returns:
        List of str.
    """
    names, order = list(names), list(CONDITIONS)
    place = {name: order.index(name.partition(",")[0]) if name.partition(",")[0] in order else len(order) for name in names}
    return sorted(names, key=lambda name: (place[name], name))


def function_of(path: str | Callable[..., Any]) -> Callable[..., Any]:
    """The function that a row of the table names as 'module:function', or is given."""
    return path if callable(path) else load(path)
