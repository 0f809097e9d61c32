"""What every section of the grid has in common, and how a key says that nothing acts on it yet."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A mapping with known keys, immutable once read. A section that is left empty holds its defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_means_defaults(cls, value: Any) -> Any:
        return {} if value is None else value


@dataclass(frozen=True)
class NotYet:
    """Marks a key that a grid may hold though ragrid does not do what it asks: `Annotated[StrictBool, NotYet()]`.

    The reference page, the JSON Schema and the commands that read a grid repeat what it `says`; see not_yet.py.
    """

    says: str = "not used yet"
