"""Where each fact of a paper came from: its sources, and what each of them says."""

from sqlalchemy import Connection

from paperround.catalogue.queries import paper_by_key
from paperround.catalogue.records import Provenance, Said
from paperround.catalogue.statements import sources_of_columns
from paperround.catalogue.storing import load_papers
from paperround.errors import NotFoundError


def provenance_of(connection: Connection, key: str) -> Provenance:
    """The paper under that address with all that its sources say, the oldest first.

    Raises NotFoundError where there is none.
    """
    detail = paper_by_key(connection, key)
    if detail is None:
        raise NotFoundError(f"no paper '{key[:80]}' in this catalogue")
    known = load_papers(connection, [detail.paper.id])[detail.paper.id]
    statements = sorted(known.statements.values(), key=lambda statement: statement.number)
    return Provenance(
        paper=detail.paper,
        said=tuple(
            Said(
                source=statement.source,
                source_key=statement.source_key,
                met_by=statement.met_by,
                seen_at=statement.seen_at,
                identifiers=statement.identifiers,
                values={c: v for c, v in statement.values.items() if v not in (None, "", [])},
            )
            for statement in statements
        ),
        taken_from=sources_of_columns(statements),
    )
