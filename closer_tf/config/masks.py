"""Config sections: the receptive fields, chosen by `masks.scheme`."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, field_validator

from closer_tf.common.values import BOUNDS
from closer_tf.config.base import Section
from closer_tf.config.own_parts import check_name


class GaussianMasks(Section):
    """Pixels drawn around a random centre with probability exp(-distance^2 / (2 sigma^2))."""

    scheme: Literal["gaussian"]
    """Chooses this mask scheme."""
    fraction: float = Field(0.1, **BOUNDS["fraction"])
    """Fraction of the image's pixels that each encoder sees [q]."""
    sigma: float = Field(2.0, **BOUNDS["sigma"])
    """Standard deviation of the Gaussian, in pixels. The paper: 2; 3 and 5 in figure S1."""


class RetinotopicMasks(Section):
    """Pixels drawn as for 'gaussian', around centres on a map of the image: a jittered hexagonal lattice."""

    scheme: Literal["retinotopic"]
    """Chooses this mask scheme."""
    fraction: float = Field(0.1, **BOUNDS["fraction"])
    """Fraction of the image's pixels that each encoder sees [q]."""
    layout: Literal["uniform", "foveal"] = "uniform"
    """'uniform': centres cover the image evenly. 'foveal': at E pixels from the middle they lie as densely as the square of the
    magnification 1 / (1 + E / e2)."""
    sigma: float = Field(2.0, **BOUNDS["sigma"])
    """Standard deviation of a field in the image's middle, in pixels."""
    slope: float = Field(0.0, **BOUNDS["slope"])
    """What the standard deviation grows by for each pixel from the middle. sigma / e2: fields grow as they lie apart."""
    e2: float | None = Field(None, **BOUNDS["e2"])
    """Pixels from the middle at which the magnification has fallen to half. Default null: a quarter of the shorter side."""
    jitter: float = Field(0.1, **BOUNDS["jitter"])
    """Standard deviation of the centres' displacement, as part of the lattice's spacing."""


class RandomPatchMasks(Section):
    """Square patches drawn uniformly for each encoder."""

    scheme: Literal["random_patches"]
    """Chooses this mask scheme."""
    fraction: float = Field(0.1, **BOUNDS["fraction"])
    """Fraction of the image's patches that each encoder sees [q]."""
    patch_size: int = Field(4, **BOUNDS["patch_size"])
    """Side of a patch, in pixels; has to divide the image's sides. The paper: 4; 1 and 2 in figure S1."""


class ContiguousPatchMasks(Section):
    """Square patches near a random centre patch, with a ragged border."""

    scheme: Literal["contiguous_patches"]
    """Chooses this mask scheme."""
    fraction: float = Field(0.1, **BOUNDS["fraction"])
    """Fraction of the image's patches that each encoder sees [q]."""
    patch_size: int = Field(4, **BOUNDS["patch_size"])
    """Side of a patch, in pixels; has to divide the image's sides. The paper: 4."""
    centres: Literal["paper", "published"] = "paper"
    """'paper': distinct centres off the image's edge. 'published': as in the published figures, where centres repeat and lean
    to the upper left."""


class CustomMasks(Section):
    """Masks of your own: a boolean array (encoders, rows, columns) in an .npy or .npz file (array `masks`)."""

    scheme: Literal["custom"]
    """Chooses this mask scheme."""
    path: str
    """The .npy or .npz file."""
    patch_size: int = Field(1, **BOUNDS["patch_size"])
    """Side of one entry of the array, in pixels of the image."""


class AreaMasks(Section):
    """Each encoder sees all units of one brain area."""

    scheme: Literal["areas"]
    """Chooses this mask scheme."""
    areas: list[str] | None = None
    """One area per encoder. Default null: the `num_encoders` areas with most units."""


class OwnMasks(Section):
    """A mask scheme of your own, which a module registers: docs/extending.md."""

    scheme: Literal["own"]
    """Chooses this mask scheme."""
    name: str | None = None
    """What it was registered as. Default null: as for the encoder."""
    options: dict[str, JsonValue] = {}
    """Its own arguments, by name."""

    @field_validator("name", mode="after")
    @classmethod
    def _is_registered(cls, name):
        return name and check_name("mask", name)


Masks = Annotated[
    GaussianMasks | RetinotopicMasks | RandomPatchMasks | ContiguousPatchMasks | CustomMasks | AreaMasks | OwnMasks,
    Field(discriminator="scheme"),
]
