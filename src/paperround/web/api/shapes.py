"""What the API sends: the shapes of papers, answers, runs and problems."""

from datetime import date, datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from paperround.catalogue.records import Paper, PaperDetail
from paperround.discovery.search import Hit
from paperround.discovery.trending import Standing
from paperround.readers.comments import may_see
from paperround.readers.records import Comment, Mark, Reader
from paperround.runs.card import Scale
from paperround.runs.queries import ClaimSummary, RunView
from paperround.runs.rooms import Room


class Problem(BaseModel):
    """An error, by RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The request does not work as it stands"},
    404: {"model": Problem, "description": "There is no such thing"},
}

TOO_OFTEN: dict[int | str, dict[str, Any]] = {
    429: {"model": Problem, "description": "Too often; Retry-After says when again"},
}


class PaperOut(BaseModel):
    """A paper. `title` is plain words, `title_latex` is as the source has it."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "key": "2312.00858",
                "url": "/papers/2312.00858",
                "title": "DeepCache: Accelerating Diffusion Models for Free",
                "title_latex": "DeepCache: Accelerating Diffusion Models for Free",
                "authors": ["Xinyin Ma", "Gongfan Fang", "Xinchao Wang"],
                "author_count": 3,
                "organisation": None,
                "published": "2023-12-01",
                "listed": "2023-12-04",
                "categories": ["cs.CV"],
                "venue": None,
                "code_url": "https://github.com/horseee/DeepCache",
                "project_url": None,
                "pdf_url": None,
                "votes": 23,
                "comments": 1,
            }
        }
    )

    key: str
    url: str
    title: str
    title_latex: str
    authors: list[str]
    author_count: int
    organisation: str | None
    published: date | None
    listed: date | None
    categories: list[str]
    venue: str | None
    code_url: str | None
    project_url: str | None
    pdf_url: str | None
    votes: int
    comments: int

    @classmethod
    def of(cls, paper: Paper) -> Self:
        """The shape of a paper."""
        return cls(**_paper_fields(paper))


class PaperDetailOut(PaperOut):
    """A paper with its abstract, identifiers and sources; `slug` where it runs."""

    abstract: str
    abstract_latex: str
    identifiers: dict[str, str]
    sources: list[str]
    links: list[str]
    keywords: list[str]
    withdrawn: bool
    slug: str | None

    @classmethod
    def of_detail(cls, detail: PaperDetail, room: Room | None) -> Self:
        """The shape of a paper with all that is known."""
        return cls(
            **_paper_fields(detail.paper),
            abstract=detail.paper.abstract_text,
            abstract_latex=detail.paper.abstract,
            identifiers=dict(detail.identifiers),
            sources=sorted({source for source, _ in detail.sources}),
            links=list(detail.paper.links),
            keywords=list(detail.paper.keywords),
            withdrawn=detail.paper.withdrawn,
            slug=room.slug if room else None,
        )


class PapersOut(BaseModel):
    """A page of papers; `next` is the address of the following page, null on the last."""

    papers: list[PaperOut]
    next: str | None


class FeedOut(PapersOut):
    """A page of a period's papers."""

    period: str
    start: date
    end: date
    earlier: date | None
    later: date | None


class HitOut(BaseModel):
    """A paper that answers a query; scores compare within one answer only."""

    score: float
    paper: PaperOut
    versions: list[PaperOut]

    @classmethod
    def of(cls, hit: Hit) -> Self:
        """The shape of a hit."""
        versions = [PaperOut.of(paper) for paper in hit.versions]
        return cls(score=hit.score, paper=PaperOut.of(hit.paper), versions=versions)


class RerankedOut(BaseModel):
    """Which model ranked the first papers again, how many they were, and how long it took."""

    model: str
    papers: int
    seconds: float


class SearchOut(BaseModel):
    """Papers that answer, best first; `mode` is how the search was done in the end.

    `total` is at most 1,000, which is where a search stops; `facets` count those papers. `next` is
    the address of the following page. `reranked` is null unless `rerank=1` was asked for and could
    be done; `note` says why it could not.
    """

    query: str
    mode: str
    note: str | None
    total: int
    hits: list[HitOut]
    facets: dict[str, dict[str, int]]
    reranked: RerankedOut | None
    next: str | None


class RunnableOut(BaseModel):
    """A paper that runs, and where its claims stand at the largest scale with a result."""

    slug: str
    paper: str
    url: str
    title: str
    family: str
    summary: str
    claims: int
    scale: Scale | None
    holds: int
    falls_short: int
    not_measured: int
    shipped: bool | None

    @classmethod
    def of(cls, room: Room, summary: ClaimSummary | None) -> Self:
        """The shape of a room and its claims."""
        claims = len(room.card.claims)
        return cls(
            slug=room.slug,
            paper=room.card.paper,
            url=f"/papers/{room.card.paper}",
            title=room.card.title,
            family=room.card.family,
            summary=room.card.summary,
            claims=claims,
            scale=summary.scale if summary else None,
            holds=summary.tally.holds if summary else 0,
            falls_short=summary.tally.falls_short if summary else 0,
            not_measured=summary.tally.not_measured if summary else claims,
            shipped=summary.is_shipped if summary else None,
        )


class RunnablesOut(BaseModel):
    """All papers that run, by slug."""

    runnable: list[RunnableOut]


class RunAsked(BaseModel):
    """Which paper to run; the card's seeds unless others are named."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"slug": "copyspec", "scale": "quick"}}
    )

    slug: str = Field(max_length=60)
    scale: str = Field(default=Scale.QUICK.value, max_length=10)
    seeds: list[int] | None = Field(default=None, max_length=50)


class RunOut(BaseModel):
    """A run. `result` is its record once it has ended, in the detail only."""

    id: str
    url: str
    slug: str
    scale: Scale
    seeds: list[int]
    state: str
    reason: str
    owner: str
    queued_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    cancel_requested: bool
    position: int | None
    result: dict[str, Any] | None = None

    @classmethod
    def of(cls, run: RunView) -> Self:
        """The shape of a run."""
        return cls(
            id=run.id,
            url=f"/runs/{run.id}",
            slug=run.slug,
            scale=run.scale,
            seeds=list(run.seeds),
            state=run.state.value,
            reason=run.reason,
            owner=run.owner,
            queued_at=run.queued_at,
            started_at=run.started_at,
            ended_at=run.ended_at,
            cancel_requested=run.cancel_requested,
            position=run.position,
            result=run.result.to_json() if run.result else None,
        )


class RunsOut(BaseModel):
    """A page of runs, without their records; `next` is the address of the following page."""

    runs: list[RunOut]
    next: str | None


def _paper_fields(paper: Paper) -> dict[str, Any]:
    return {
        "key": paper.key,
        "url": f"/papers/{paper.key}",
        "title": paper.title_text,
        "title_latex": paper.title,
        "authors": list(paper.authors),
        "author_count": max(paper.author_count or 0, len(paper.authors)),
        "organisation": paper.organisation,
        "published": paper.published,
        "listed": paper.listed,
        "categories": list(paper.categories),
        "venue": paper.venue,
        "code_url": paper.code_url,
        "project_url": paper.project_url,
        "pdf_url": paper.pdf_url,
        "votes": paper.votes,
        "comments": paper.comments,
    }


class StandingOut(BaseModel):
    """A paper in the trending list: its score, and what it is made of."""

    paper: PaperOut
    score: float
    votes: int
    comments: int
    reads: int
    by_new_accounts: int
    scales_measured: int
    points: dict[str, float]

    @classmethod
    def of(cls, paper: PaperOut, standing: Standing) -> Self:
        """The shape of a standing."""
        return cls(
            paper=paper,
            score=standing.score,
            votes=standing.votes,
            comments=standing.comments,
            reads=standing.reads,
            by_new_accounts=standing.new,
            scales_measured=standing.scales,
            points={
                "votes": standing.votes_points,
                "comments": standing.comments_points,
                "reads": standing.reads_points,
                "new_accounts": standing.new_counted,
                "measured": standing.measured_points,
                "elsewhere": standing.elsewhere_points,
            },
        )


class TrendingOut(BaseModel):
    """What trends; `as_of` is the moment that the scores are of."""

    period: str
    as_of: datetime
    papers: list[StandingOut]


class MeOut(BaseModel):
    """The reader whose token it is, and what the token opens."""

    name: str
    role: str
    email: str | None
    created_at: datetime
    scopes: list[str]


class VoteOut(BaseModel):
    """Whether the reader votes for a paper, and how many readers here do."""

    paper: str
    voted: bool
    votes_here: int


class MarkAsked(BaseModel):
    """How to mark a paper."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"mark": "later"}})

    mark: Mark


class DatedPaperOut(BaseModel):
    """A paper, and when the reader voted for it or marked it."""

    at: datetime
    paper: PaperOut


class DatedPapersOut(BaseModel):
    """A page of them; `next` is the address of the following page, null on the last."""

    papers: list[DatedPaperOut]
    next: str | None


class CommentAsked(BaseModel):
    """A comment's Markdown; `parent` is the comment that it answers."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"text": "Does $x^2$ hold? See 2502.08923."}}
    )

    text: str = Field(max_length=20_000)
    parent: int | None = Field(default=None, ge=1, le=2**53)


class ReportAsked(BaseModel):
    """What is wrong with a comment."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"reason": "an advert"}}
    )

    reason: str = Field(max_length=2_000)


class CommentOut(BaseModel):
    """A comment as it was typed; `text` is null where it is gone or hidden from who asks."""

    id: int
    url: str
    paper: str
    parent: int | None
    author: str | None
    text: str | None
    created_at: datetime
    edited_at: datetime | None
    hidden: bool
    mentions: list[str]

    @classmethod
    def of(cls, comment: Comment, paper: str, reader: Reader | None) -> Self:
        """The shape of a comment for this reader."""
        visible = not comment.is_gone and may_see(comment, reader)
        return cls(
            id=comment.id,
            url=f"/comments/{comment.id}",
            paper=paper,
            parent=comment.parent_id,
            author=comment.author if visible else None,
            text=comment.text if visible else None,
            created_at=comment.created_at,
            edited_at=comment.edited_at,
            hidden=comment.hidden_at is not None,
            mentions=sorted(set(comment.mentions.values())) if visible else [],
        )


class CommentsOut(BaseModel):
    """A page of comments; `next` is the address of the following page, null on the last."""

    comments: list[CommentOut]
    next: str | None
