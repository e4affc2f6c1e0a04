"""Which ways to decode there are, read from data: listing them imports no code, and no torch.

A room declares its own in a `generators.toml` beside its `generator.py`:

    [mine]
    about = "what it does, in half a sentence"
    is_greedy = true              # promises greedy decoding's text; false unless it is said
    options = { beams = 4 }       # the options with their defaults; none unless they are said

`generator.py` builds its methods on that (`GenerationMethod.declared`), so that neither can say
what the other does not.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from paperround.errors import CardError
from paperround.kit.offers import completed

FILE_NAME = "generators.toml"
# Where transformers' own methods are declared.
PLAIN_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Declaration:
    """A way to decode, as its room declares it. `slug` is the room's, empty for transformers'."""

    name: str
    about: str
    options: Mapping[str, Any] = field(default_factory=dict)
    is_greedy: bool = False
    slug: str = ""

    def complete(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options, the given ones in the place of the defaults; refuses unknown ones."""
        return completed(self.name, self.options, options)


def declared_methods(
    rooms: Iterable[tuple[str, Path]],
) -> tuple[dict[str, Declaration], dict[str, str]]:
    """The declared methods by name: transformers' own, then those of the rooms (slug, folder).

    A broken file hides no other: the second part says by slug what is wrong.
    """
    found, broken = read_declarations(PLAIN_FOLDER), {}
    for slug, folder in rooms:
        try:
            found |= read_declarations(folder, slug)
        except CardError as error:
            broken[slug] = str(error)
    return found, broken


def read_declarations(folder: Path, slug: str = "") -> dict[str, Declaration]:
    """What the folder's file declares, by name and in its order; nothing where there is none.

    Raises CardError for a file that cannot be read.
    """
    path = folder / FILE_NAME
    try:
        entries = _FILE.validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise CardError(f"{path}: {place}: {fault['msg']}") from error
    except (OSError, ValueError) as error:
        raise CardError(f"{path}: {error}") from error
    return {
        name: Declaration(name, entry.about, entry.options, entry.is_greedy, slug)
        for name, entry in entries.items()
    }


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    about: Annotated[str, Field(min_length=1, max_length=200)]
    is_greedy: bool = False
    options: dict[str, bool | int | float | str] = {}


_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,59}$")]
_FILE: TypeAdapter[dict[str, _Entry]] = TypeAdapter(dict[_Name, _Entry])
