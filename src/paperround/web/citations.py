"""Collections as files for other programs, for the pages and the API alike."""

from typing import Annotated, Literal

from fastapi import Path
from sqlalchemy import Connection
from starlette.responses import Response

from paperround.catalogue.citing import Cited, bibtex, csl_json, ris
from paperround.catalogue.queries import identifiers_of
from paperround.readers.collections import papers_in
from paperround.readers.records import Collection
from paperround.web.wording import slug

Form = Annotated[Literal["bib", "json", "ris"], Path(description="BibTeX, CSL-JSON or RIS")]

MEDIA_TYPES = {
    "bib": "application/x-bibtex",
    "json": "application/vnd.citationstyles.csl+json",
    "ris": "application/x-research-info-systems",
}
_WRITERS = {"bib": bibtex, "json": csl_json, "ris": ris}


def exported(connection: Connection, collection: Collection, form: str) -> Response:
    """The collection's papers with their notes, as a file to be kept."""
    found = papers_in(connection, collection.id)
    identifiers = identifiers_of(connection, [each.paper.id for each in found])
    cited = [Cited(each.paper, identifiers.get(each.paper.id, {}), each.note) for each in found]
    name = f"{slug(collection.name)[:60]}.{form}"
    return Response(
        _WRITERS[form](cited),
        media_type=f"{MEDIA_TYPES[form]}; charset=utf-8",
        headers={
            "content-disposition": f'attachment; filename="{name}"',
            "cache-control": "private, no-cache",
        },
    )
