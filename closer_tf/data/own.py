"""Data sources of one's own, which a module has registered."""

from closer_tf.config.own_parts import call
from closer_tf.data.splits import Source
from closer_tf.errors import DataError


def own(source, options=()):
    """The source that was registered under a name; see `closer_tf.register_source`.

    Args:
        source: the name.
        options: dict of its own arguments.

    Returns:
        `Source`.

    Raises:
        DataError: there is none of that name, it does not take these options, or returns something else.
    """
    try:
        found = call("source", source, {}, dict(options))
    except ValueError as error:
        raise DataError(f"dataset: {error}") from None
    if not isinstance(found, Source):
        raise DataError(f"source '{source}': expected a closer_tf.data.Source, found {type(found).__name__}")
    return found
