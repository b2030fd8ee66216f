"""Names for type hints that several modules use."""

from typing import Any

Tensor = Any
"""A tensor of the backend that Keras runs on, or what Keras takes for one: which type that is, the backend decides."""

Shape = tuple[Any, ...]
"""A shape as layers get it, of int; None where a size is open, such as that of the batch."""
