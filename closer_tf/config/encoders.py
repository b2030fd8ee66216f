"""Config sections: the encoders, chosen by `encoder.type`."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, field_validator

from closer_tf.common.values import BOUNDS
from closer_tf.config.base import Section
from closer_tf.config.own_parts import check_name


class MLPEncoder(Section):
    """Fully connected encoder with GELU and dropout after each hidden layer and a linear output."""

    type: Literal["mlp"]
    """Chooses this encoder."""
    hidden: list[Annotated[int, Field(**BOUNDS["hidden"])]] = Field([1024, 512, 256], max_length=BOUNDS["layers"]["le"])
    """Widths of the hidden layers. The paper: 1024, 512, 256 for images; 32, 32 for neurons."""
    embedding_dim: int = Field(256, **BOUNDS["embedding_dim"])
    """Width of the output [D]."""
    dropout: float = Field(0.1, **BOUNDS["dropout"])
    """Fraction of hidden activities dropped in training."""
    l1: float = Field(0.0, **BOUNDS["l1"])
    """Weight of the kernels' summed absolute values in the loss. The paper: 5e-6 for neurons."""
    l2: float = Field(0.0, **BOUNDS["l2"])
    """Weight of the kernels' summed squares in the loss. The paper: 5e-6 for neurons."""


class ViTEncoder(Section):
    """Small vision transformer over the cells of the receptive field: patches, or single pixels."""

    type: Literal["vit_lite"]
    """Chooses this encoder."""
    embedding_dim: int = Field(256, **BOUNDS["embedding_dim"])
    """Width of tokens and output [D]."""
    blocks: int = Field(2, **BOUNDS["blocks"])
    """Number of transformer blocks."""
    heads: int = Field(4, **BOUNDS["heads"])
    """Attention heads."""
    key_dim: int = Field(64, **BOUNDS["key_dim"])
    """Width of queries, keys and values per head."""
    mlp_dim: int = Field(512, **BOUNDS["mlp_dim"])
    """Hidden width of each block's MLP."""
    dropout: float = Field(0.1, **BOUNDS["dropout"])
    """Fraction dropped in training, of attention weights and of activities."""


class RNNEncoder(Section):
    """Recurrent encoder: over consecutive bins of a recording, or over the cells of a receptive field in raster order. The
    embedding is linear in the last state."""

    type: Literal["rnn"]
    """Chooses this encoder."""
    cell: Literal["gru", "simple"] = "gru"
    """Keras's GRU or SimpleRNN."""
    units: list[Annotated[int, Field(**BOUNDS["hidden"])]] = Field([32], min_length=1, max_length=BOUNDS["layers"]["le"])
    """Widths of the recurrent layers."""
    embedding_dim: int = Field(32, **BOUNDS["embedding_dim"])
    """Width of the output [D]."""
    dropout: float = Field(0.1, **BOUNDS["dropout"])
    """Fraction of the states that each recurrent layer passes on that is dropped in training."""
    l1: float = Field(0.0, **BOUNDS["l1"])
    """Weight of the kernels' summed absolute values in the loss, recurrent kernels too."""
    l2: float = Field(0.0, **BOUNDS["l2"])
    """Weight of the kernels' summed squares in the loss, recurrent kernels too."""


class OwnEncoder(Section):
    """An encoder of your own, which a module registers: docs/extending.md."""

    type: Literal["own"]
    """Chooses this encoder."""
    name: str | None = None
    """What it was registered as. Default null: it was made in Python, as the folder of a run of `closer_tf.train_model` says;
    no config alone can train it."""
    embedding_dim: int = Field(256, **BOUNDS["embedding_dim"])
    """Width of the output [D]."""
    options: dict[str, JsonValue] = {}
    """Its own arguments, by name."""

    @field_validator("name", mode="after")
    @classmethod
    def _is_registered(cls, name):
        return name and check_name("encoder", name)


Encoder = Annotated[MLPEncoder | ViTEncoder | RNNEncoder | OwnEncoder, Field(discriminator="type")]
