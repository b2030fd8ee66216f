"""What a run's results.json holds, and its only reader and writer. Imports no Keras.

Keys that a file does not hold keep their defaults here and stay absent when it is written again; keys that this version does
not know, such as those of a later one, stay as they are.
"""

import contextlib
import json
import math
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from closer_tf.common.files import given_path, read_text, write_atomically
from closer_tf.config.base import json_kind
from closer_tf.config.reading import validated
from closer_tf.errors import ConfigError, RunError

READOUTS = ("single", "ensemble")
"""The readouts that every condition of a kind has: the mean of the probes of single encoders, and one probe of all together."""


def _number(value):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise PydanticCustomError("number", "Input should be a finite number")
    return value


Number = Annotated[Any, AfterValidator(_number)]


class Part(BaseModel):
    """One object of the file."""

    model_config = ConfigDict(extra="allow", strict=True, use_attribute_docstrings=True)

    def to_dict(self):
        """The content as plain data, without what was never set."""
        return self.model_dump(mode="json", exclude_unset=True)


class Score(Part):
    """How well one readout of a condition does: accuracies in [0, 1], or R^2 where labels are numbers."""

    test: Number
    """On the test samples; of single encoders the mean."""
    validation: Number | None = None
    """On the probe's validation samples."""
    per_encoder: list[Number] | None = None
    """`test` of each encoder."""
    angular_error: Number | None = None
    """Where labels are angles: mean absolute error on the test samples, in the label's unit; of single encoders the mean."""


class Fit(Part):
    """One fit of a probe, with one penalty."""

    C: Number | None = None
    """Inverse penalty; 0 stands for none."""
    validation: Number | None = None
    iterations: int | None = None
    converged: bool
    """Whether it stopped by itself rather than at the most iterations."""


class Probe(Part):
    """One probe, of an encoder or of the ensemble: the content of `closer_tf.readout.probes.ProbeResult`."""

    C: Number | None = None
    """Inverse penalty of the best validation score."""
    validation: Number | None = None
    test: Number | None = None
    iterations: int | None = None
    converged: bool | None = None
    angular_error: Number | None = None
    """Of the test samples, where labels are angles."""
    fits: list[Fit] = []
    """One per penalty tried."""


class ClassPseudoLikelihood(Part):
    """Class mean conditional pseudo-likelihoods."""

    temperature: Number | None = None
    draws: int
    """Random draws of contrasting samples that they are means of."""
    per_encoder: list[list[list[Number]]]
    """(encoders, classes, classes): row the given class, column the class that it makes likely."""


class Measures(Part):
    """Measures of a condition's test embeddings."""

    alignment: Number | None = None
    """Alignment of embedding maps, mean over pairs of encoders; null where it is not defined."""
    agreement: Number | None = None
    """Agreement score, likewise."""
    class_pseudo_likelihood: ClassPseudoLikelihood | None = None
    """Absent where labels are numbers, or a class has a single test sample."""


class GraphMeasures(Part):
    """What an interaction graph is like: the content of `closer_tf.graphs.measures`."""

    edges: int
    """Edges of a weight above 0."""
    density: Number
    """Edges per ordered pair of encoders."""
    reciprocity: Number
    """Share of edges whose way back is an edge too."""
    clustering: Number
    """Mean over encoders of the directed clustering coefficient."""
    path_length: Number
    """Mean over ordered pairs between which there is a way along edges."""
    reachable: Number
    """Share of ordered pairs between which there is one."""
    silent: int
    """Encoders that no edge pulls."""


class Protocol(Part):
    """How the probes were fitted."""

    name: str = "published"
    """Files from before there was another have no name."""
    probe: str = ""
    """What the probe is, in words."""
    C: list[Number] = []
    """Inverse penalties tried."""
    max_iter: int | None = None
    """Most iterations per fit."""
    validation_fraction: Number | None = None
    """Fraction of the training and validation samples that chooses the penalty."""
    knn_neighbours: int | None = None
    """Nearest neighbours of the further readouts `knn_single` and `knn_ensemble`; None: there are no such."""
    seed: int | None = None
    """Seed of the probe's validation samples and of the measures' draws."""


class AtEpoch(Part):
    """The readout of the run's own condition with its weights after a single epoch."""

    accuracy: dict[str, Score]
    probes: dict[str, Probe] = {}
    seconds: Number | None = None
    config_digest: str | None = None
    weights: str | None = None
    """Checksum of the weights."""


class BestEpoch(Part):
    """Where the validation loss was lowest."""

    epoch: int
    """Epoch, counted from 1; of equal ones the first."""
    val_loss: Number
    """After it."""
    last_epoch: int
    """Epochs that were trained."""
    last_val_loss: Number | None = None
    """After the last; null where it is not finite."""
    kept: bool
    """Whether the weights of the best epoch were read out (`training.keep` 'best') rather than the last ones."""


class Results(Part):
    """The content of results.json."""

    config_digest: str | None = None
    """Digest of the config that the run had when it was read out."""
    changes: list[dict] = []
    """The content of changes.json at that time."""
    epochs: int
    """Whole epochs that the ensemble was trained."""
    step: int = 0
    """Steps of the next epoch."""
    protocol: Protocol
    """How the probes were fitted."""
    dataset: str = ""
    """Name of the data set."""
    simulated: bool = False
    """Whether the data are simulated."""
    chance: Number
    """Accuracy of always guessing the most frequent label; 0 where labels are numbers."""
    samples: dict[str, int] = {}
    """Numbers of `train`, `validation` and `test` samples of the probe."""
    data: str | None = None
    """Fingerprint of the data's content."""
    versions: dict[str, Any] = {}
    """Versions of Python and the libraries that read it out, and the machine."""
    compute: dict[str, Any] = {}
    """Backend, precision and device that read it out."""
    accuracy: dict[str, dict[str, Score]]
    """Condition -> readout ('single', 'ensemble', ...) -> how well it does."""
    probes: dict[str, dict[str, Probe]] = {}
    """Condition -> 'encoder_0', ..., 'ensemble' -> its probe."""
    measures: dict[str, Measures] = {}
    """Condition -> measures of its embeddings."""
    seconds: dict[str, Number] = {}
    """Condition -> seconds that its readout took."""
    peak_memory_gb: Number | None = None
    """Most memory that a process has taken that trained or read out this run."""
    at_epochs: dict[Annotated[str, Field(pattern="^[0-9]+$")], AtEpoch] = {}
    """Epoch of `readout.at_epochs` -> its readout, in ascending order."""
    not_kept: list[int] = []
    """Epochs of `readout.at_epochs` that are over and whose weights are not there."""
    best: BestEpoch | None = None
    """Where the validation loss was lowest; absent without any."""
    whitening: str = ""
    """What `whitened_single` and `whitened_ensemble` are probes of, in words; absent without these."""
    areas: list[str] = []
    """Brain area of each encoder."""
    graph: GraphMeasures | None = None
    """Measures of the interaction graph, where the condition has one."""
    notes: list[str] = []
    """What a reader should know of the training (`closer_tf.evaluate`)."""

    @property
    def score(self):
        """What the numbers of `accuracy` are: 'accuracy', or 'R^2' where labels are numbers."""
        return "R^2" if self.protocol.probe.startswith("ridge") else "accuracy"

    @property
    def chance_level(self):
        """The accuracy of guessing, to draw beside others; None where labels are numbers."""
        return None if self.score == "R^2" else self.chance

    def over_epochs(self):
        """dict epoch (int) -> dict readout -> `Score`, in ascending order."""
        return {int(epoch): self.at_epochs[epoch].accuracy for epoch in sorted(self.at_epochs, key=int)}

    def absent(self, *keys):
        """Take keys out: they are at their defaults, and not written."""
        for key in keys:
            setattr(self, key, type(self).model_fields[key].get_default())
            self.model_fields_set.discard(key)


def each_encoder(accuracy):
    """The test scores of single encoders, [] where there are none.

    Args:
        accuracy: dict readout -> `Score`.
    """
    return (accuracy["single"].per_encoder or []) if "single" in accuracy else []


def parse(content, source="results"):
    """The `Results` of plain data.

    Args:
        content: dict, as `json.load` returns it.
        source: what to call it in error messages.

    Raises:
        RunError: a key is absent or holds something else; the message names source, key, what was expected and found.
    """
    try:
        return validated(Results, content, source)
    except ConfigError as error:
        raise RunError(str(error).splitlines()[0]) from None


def read(path):
    """The `Results` in a file.

    Args:
        path: a run's results.json.

    Returns:
        `Results`, or None where there is no such file: the run is not read out yet.

    Raises:
        RunError: the file is damaged; the message names file, key, what was expected and found.
    """
    path = given_path(path)
    if not path.exists():
        return None
    try:
        content = json.loads(read_text(path))
        if not isinstance(content, dict):
            raise ValueError(f"expected an object, found {json_kind(content)}")
        return parse(content, "content")
    except (OSError, ValueError, RecursionError, RunError) as error:
        raise RunError(f"{path}: damaged: {str(error).removeprefix('content: ')}; remove it and read out again") from None


def peak_so_far(path):
    """The `peak_memory_gb` of a results.json; 0 where there is none, or the file is damaged: whoever needs it says so."""
    with contextlib.suppress(RunError):
        results = read(path)
        return (results and results.peak_memory_gb) or 0.0
    return 0.0


def write(path, results):
    """Write `Results` to a file, completely or not at all.

    Raises:
        RunError: it cannot be written.
    """
    write_atomically(path, json.dumps(results.to_dict(), indent=2, allow_nan=False) + "\n")


def cells(accuracy, names=READOUTS):
    """The test scores of some readouts as texts of a table, '-' where there is none.

    Args:
        accuracy: dict readout -> `Score`.
        names: the readouts.
    """
    return [f"{accuracy[name].test:.3f}" if name in accuracy else "-" for name in names]
