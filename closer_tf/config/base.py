"""What every section of the run config is built on."""

import difflib
import json
from collections.abc import Callable, Iterable
from typing import NoReturn

from pydantic import BaseModel, ConfigDict, field_validator, model_validator
from pydantic_core import PydanticCustomError, PydanticKnownError, core_schema

from closer_tf.common.values import MAX_FLOAT, shortened

KIND_KEYS = ("name", "scheme", "type", "family")  # each chooses one of several kinds of a section


def suggestion(word: object, known: Iterable[object]) -> str:
    """' Did you mean ...?' for the closest of `known`, or '' when nothing is close."""
    close = difflib.get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


class Section(BaseModel):
    """One object of the config: strict types, no unknown keys, not changed after validation."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_keys(cls, value):
        if isinstance(value, dict):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            for key in value:
                if key not in known:
                    raise PydanticCustomError(
                        "unknown_key",
                        "unknown key '{key}'.{hint} Known keys here: {known}",
                        {"key": key, "hint": suggestion(key, known), "known": ", ".join(known)},
                    )
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _fits_float32(cls, value):
        if isinstance(value, float) and abs(value) > MAX_FLOAT:
            raise PydanticCustomError("too_large", "a number that float32 holds, at most 3.4e38")
        return value


def inconsistent(key: str, message: str) -> NoReturn:
    """Refuse a section from within one of its validators.

    Args:
        key: the path, from the section on, of the key that the message is about.
        message: what was expected, and what came.
    """
    raise PydanticCustomError("inconsistent", "{message}", {"key": key, "message": message})


class NameOf:
    """Annotation of a string in a config: one of the names that a function returns when it is asked.

    Args:
        names: function that returns a list of str.
    """

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self.names = names

    def __get_pydantic_core_schema__(self, source, handler):
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(self, schema, handler):
        return {"enum": list(self.names()), "type": "string"}

    def _check(self, value):
        names = list(self.names())
        if not isinstance(value, str) or value not in names:
            *first, last = map(repr, names)
            raise PydanticKnownError("literal_error", {"expected": f"{', '.join(first)} or {last}"})
        return value


def json_kind(value: object) -> str:
    """What a JSON value is, in the words of an error message."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return shortened(json.dumps(value, default=str), 60, "...")
