"""Config sections: the objective, its interaction graph and its terms."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, JsonValue, field_validator, model_validator
from pydantic_core import PydanticCustomError

from closer_tf import graphs
from closer_tf.common.values import BOUNDS
from closer_tf.config.base import Section
from closer_tf.config.own_parts import call, check_name

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class NamedGraph(Section):
    """A graph that follows from the number of encoders alone."""

    family: Literal["all_to_all", "star", "bidirectional_ring", "directional_ring"]
    """'all_to_all': every ordered pair. 'star': all towards encoder 0 and back. 'bidirectional_ring': each towards its two
    neighbours. 'directional_ring': each towards the next two."""
    weighting: Literal["uniform", "per_target"] = "uniform"
    """'uniform': every edge weighs the same. 'per_target': edges weigh 1 / in-degree of their target (the published star)."""


class RandomGraph(Section):
    """Ordered pairs drawn uniformly without repeats, from `seeds.graph` [G_N^k]."""

    family: Literal["random"]
    """Chooses this family."""
    num_edges: int = Field(**BOUNDS["num_edges"])
    """Number of edges [k], at most N (N - 1)."""
    weighting: Literal["uniform", "per_target"] = "uniform"
    """As for the other graphs."""


class SpatialGraph(Section):
    """Ordered pairs drawn without repeats, from `seeds.graph`, near receptive fields more often than far ones."""

    family: Literal["spatial"]
    """Chooses this family."""
    num_edges: int = Field(**BOUNDS["num_edges"])
    """Number of edges [k], at most N (N - 1)."""
    length: float = Field(**BOUNDS["length"])
    """A pair is drawn with a probability proportional to exp(-d / length); d is the distance in pixels between the middles of
    what the two encoders see."""
    weighting: Literal["uniform", "per_target"] = "uniform"
    """As for the other graphs."""


class SmallWorldGraph(Section):
    """A ring of neighbours, some of whose links are laid anew, from `seeds.graph` (Watts and Strogatz). Both ways of a link are
    edges; of more than `num_edges` some are left out."""

    family: Literal["small_world"]
    """Chooses this family."""
    num_edges: int = Field(**BOUNDS["num_edges"])
    """Number of edges [k], at most N (N - 1)."""
    rewiring: float = Field(0.1, **BOUNDS["rewiring"])
    """Probability with which a link is laid anew."""
    weighting: Literal["uniform", "per_target"] = "uniform"
    """As for the other graphs."""


class ClusteredGraph(Section):
    """Ordered pairs drawn from `seeds.graph`, most of them within clusters (a stochastic block model)."""

    family: Literal["clustered"]
    """Chooses this family."""
    num_edges: int = Field(**BOUNDS["num_edges"])
    """Number of edges [k]."""
    clusters: int = Field(2, **BOUNDS["clusters"])
    """Number of clusters: consecutive encoders, as equally many as can be."""
    inside: float = Field(0.8, **BOUNDS["inside"])
    """Share of the edges that lie within clusters."""
    weighting: Literal["uniform", "per_target"] = "uniform"
    """As for the other graphs."""


class ScaleFreeGraph(Section):
    """Ordered pairs drawn one by one from `seeds.graph`; who has many edges towards it gets more (preferential attachment)."""

    family: Literal["scale_free"]
    """Chooses this family."""
    num_edges: int = Field(**BOUNDS["num_edges"])
    """Number of edges [k], at most N (N - 1)."""
    weighting: Literal["uniform", "per_target"] = "uniform"
    """As for the other graphs."""


class CustomGraph(Section):
    """A graph of your own: `edges`, or the weighted N x N matrix of a .json, .csv, .npy or .npz file (array
    `graph`)."""

    family: Literal["custom"]
    """Chooses this family."""
    edges: list[Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)]] | None = None
    """Pairs [i, j]: encoder i is pulled towards encoder j."""
    weights: list[Annotated[float, Field(ge=0)]] | None = None
    """One weight per edge, scaled to sum to 1. Default null: all the same."""
    path: str | None = None
    """File with a matrix whose entry (i, j) is the weight of edge (i, j); 0 is no edge. The run keeps the edges."""
    weighting: Literal["uniform", "per_target"] = "uniform"
    """'uniform': weights as given. 'per_target': each divided by the sum of the weights towards its target."""

    @model_validator(mode="after")
    def _one_source(self):
        if (self.edges is None) == (self.path is None):
            raise PydanticCustomError("inconsistent", "expected either 'edges' or 'path'")
        if self.weights is not None and self.path is not None:
            raise PydanticCustomError("inconsistent", "'weights' go with 'edges'; the file at 'path' holds its own")
        return self


class OwnGraph(Section):
    """A graph family of your own, which a module registers: docs/extending.md."""

    family: Literal["own"]
    """Chooses this family."""
    name: str
    """What it was registered as."""
    options: dict[str, JsonValue] = {}
    """Its own arguments, by name; what is random in it is drawn from `seeds.graph`."""
    weighting: Literal["uniform", "per_target"] = "uniform"
    """As for custom graphs."""

    @field_validator("name", mode="after")
    @classmethod
    def _is_registered(cls, name):
        return check_name("graph", name)


Graph = Annotated[
    NamedGraph | RandomGraph | SpatialGraph | SmallWorldGraph | ClusteredGraph | ScaleFreeGraph | CustomGraph | OwnGraph,
    Field(discriminator="family"),
]


class Push(Section):
    """Edges that push, beside those of `objective.graph` that pull: encoder i shall not be recognised by encoder j. Beyond the
    paper: docs/beyond.md."""

    graph: Graph
    """The graph of the edges that push, with the same families as the interaction graph."""
    weight: float = Field(1.0, **BOUNDS["push_weight"])
    """Its weight in the loss [lambda]; 0 is the paper's loss."""


class Predictor(Section):
    """The predictors of condition distilled, one per encoder, which serve the training alone. Beyond the paper:
    docs/beyond.md."""

    hidden: int | None = Field(None, **BOUNDS["hidden"])
    """Width of their hidden layer. Default null: half of `embedding_dim`."""
    batch_norm: bool = False
    """Normalise that layer over the batch, which makes samples depend on each other."""


class TermWeights(Section):
    """Weights of the terms of a temporal objective (equations 6 to 12). Default null: the paper's for the condition, 0 where
    the condition has no such term."""

    tpull: float | None = Field(None, **BOUNDS["tpull"])
    """Squared distance to what the other encoders said one bin before [L_tpull]."""
    pull: float | None = Field(None, **BOUNDS["pull"])
    """Squared distance to what the other encoders say now [L_pull]."""
    cont: float | None = Field(None, **BOUNDS["cont"])
    """Squared distance to what the encoder itself said one bin before [L_cont]."""
    var: float | None = Field(None, **BOUNDS["var"])
    """Keeps every dimension's variance up [L_var]."""
    cov: float | None = Field(None, **BOUNDS["cov"])
    """Keeps dimensions uncorrelated [L_cov]."""


class Objective(Section):
    """What the encoders minimise: the CLoSeR loss (equations 1 to 5), or temporal terms (equations 6 to 12)."""

    temperature: float | None = Field(None, **BOUNDS["temperature"])
    """Scale of squared embedding distances [tau]. Default null: 10 D for MLP and recurrent encoders, 10 for
    ViT encoders."""
    graph: Graph = NamedGraph(family="all_to_all")
    """The interaction graph [G]."""
    stop_gradient: bool = False
    """True: an edge (i, j) moves encoder i only. The paper trains plain all-to-all without, every other graph with it."""
    push: Push | None = None
    """Edges that push, for the condition closer. Default null: none, as in the paper."""
    local: bool = False
    """True: every layer of the encoders has this objective on its own activity, and no gradient crosses a layer; for MLP
    encoders of equal hidden widths. `temperature` is that of the last layer, others' are in proportion to their widths. Beyond
    the paper: docs/beyond.md."""
    momentum: float | None = Field(None, **BOUNDS["momentum"])
    """Condition distilled: share of the old weights in the moving averages of the encoders that are predicted, such as 0.996
    (BYOL). Default null: the encoders themselves are predicted (SimSiam)."""
    predictor: Predictor = Predictor()
    """Condition distilled: the predictors."""
    weights: TermWeights | None = None
    """Weights of the temporal terms, for the conditions tcloser, notcloser and lpl. Default null: all the paper's."""
    options: dict[str, JsonValue] = {}
    """The own arguments, by name, of an objective of your own, whose name is the `condition`: docs/extending.md."""


_NAMED_GRAPHS = {
    "all_to_all": graphs.all_to_all,
    "star": graphs.star,
    "bidirectional_ring": graphs.bidirectional_ring,
    "directional_ring": graphs.directional_ring,
}
_DRAWN_GRAPHS: dict[str, Callable[..., graphs.InteractionGraph]] = {
    "random": graphs.random_graph,
    "spatial": graphs.spatial,
    "small_world": graphs.small_world,
    "clustered": graphs.clustered,
    "scale_free": graphs.scale_free,
}


def build_graph(options: Graph, num_encoders: int, seed: int, centres: "ArrayLike | None" = None) -> graphs.InteractionGraph:
    """The interaction graph that a config's `objective.graph` describes.

    Args:
        options: the config section.
        num_encoders: number of encoders N.
        seed: int, for random graphs.
        centres: array (N, 2), where the receptive fields lie, for the family 'spatial'. Default: they have no place.

    Returns:
        `InteractionGraph`.

    Raises:
        ValueError: there is no such graph over N encoders.
        DataError: the matrix file cannot be read.
    """
    if isinstance(options, OwnGraph):
        graph = call("graph", options.name, {"num_encoders": num_encoders, "seed": seed}, options.options)
        if getattr(graph, "num_encoders", None) != num_encoders:
            raise ValueError(
                f"graph '{options.name}': expected an InteractionGraph of {num_encoders} encoders, found {graph!r}"
            )
    elif isinstance(options, NamedGraph):
        graph = _NAMED_GRAPHS[options.family](num_encoders)
    elif not isinstance(options, CustomGraph):
        settings = options.model_dump(exclude={"family", "weighting"})
        places = {"centres": centres} if options.family == "spatial" else {}
        graph = _DRAWN_GRAPHS[options.family](num_encoders, **settings, **places, seed=seed)
    elif options.path is not None:
        matrix = graphs.read_matrix(options.path)
        try:
            graph = graphs.from_matrix(matrix)
        except ValueError as error:
            raise ValueError(f"{options.path}: {error}") from None
        if graph.num_encoders != num_encoders:
            raise ValueError(
                f"{options.path}: expected a graph of {num_encoders} encoders (num_encoders), found one of {graph.num_encoders}"
            )
    else:
        graph = graphs.InteractionGraph(num_encoders, options.edges or [], options.weights)
    return graph.per_target() if options.weighting == "per_target" else graph
