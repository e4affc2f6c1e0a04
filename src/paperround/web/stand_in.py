"""A runnable paper that the catalogue does not have, as its card tells of it."""

from paperround.catalogue.identity import arxiv_id
from paperround.catalogue.records import Paper, PaperDetail, PaperId
from paperround.runs.rooms import Room


def from_card(room: Room) -> PaperDetail:
    """What a card says of its paper: the title and, where the key is one, the arXiv number."""
    card = room.card
    stand_in = Paper(
        id=PaperId(0),
        key=card.paper,
        title=card.title,
        abstract="",
        title_text=card.title,
        abstract_text="",
        authors=(),
        author_count=None,
        organisation=None,
        published=None,
        listed=None,
        day=None,
        categories=(),
        comment=None,
        venue=None,
        code_url=None,
        project_url=None,
        pdf_url=None,
        votes=0,
        comments=0,
    )
    arxiv = arxiv_id(card.paper)
    return PaperDetail(stand_in, (("arxiv", arxiv),) if arxiv else (), ())
