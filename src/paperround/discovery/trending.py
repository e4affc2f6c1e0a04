"""What people attend to now: votes and comments, weighed against age.

    score = log2(1 + votes + 2 * comments) + day / 2

with `day` counted in days. A paper that is two days older needs twice the attention to stand at the
same place, and twenty votes bring about what nine days take away. The form is additive, so two
papers keep their order as time passes (both age alike): pages and cursors stay valid from one day
to the next, and nothing has to be computed again at midnight. Papers without any attention follow
in the order of their days. The two constants are our own choice.

A caller may lift papers for reasons of its own, such as those that run; that is not done here.
"""

import heapq
import math
from datetime import date

from sqlalchemy import Connection

from paperround.catalogue.queries import papers_by_id
from paperround.catalogue.records import Paper, PaperId
from paperround.discovery import queries
from paperround.discovery.queries import Attention
from paperround.errors import UsageError

VOTES_PER_COMMENT = 2
DAYS_PER_DOUBLING = 2
WINDOW_DAYS = 14


def trending_score(day: date, votes: int, comments: int) -> float:
    """The formula above, 0 and more; negative counts, which a source may give, count as none."""
    heed = max(votes, 0) + VOTES_PER_COMMENT * max(comments, 0)
    return math.log2(1 + heed) + day.toordinal() / DAYS_PER_DOUBLING


def rank_trending(
    papers: list[Attention], after: tuple[float, int] | None, n: int
) -> list[tuple[PaperId, float]]:
    """The n best ids with their scores, equals later added first, that come after score and id."""
    scored = (
        (trending_score(paper.day, paper.votes, paper.comments), paper.paper_id) for paper in papers
    )
    following = scored if after is None else (item for item in scored if item < after)
    return [(paper_id, score) for score, paper_id in heapq.nlargest(n, following)]


def trending_papers(
    connection: Connection, n: int = 20, *, until: date | None = None, days: int = WINDOW_DAYS
) -> list[Paper]:
    """At most n papers of the last `days` days, by their score, best first.

    The window ends on the last day with papers, or the last such day that is not after `until`.
    Raises UsageError when `days` or n is below 1.
    """
    if days < 1 or n < 1:
        raise UsageError("a trending list needs at least one day and one paper")
    end = queries.last_day_until(connection, until)
    if end is None:
        return []
    start = date.fromordinal(max(1, end.toordinal() - days + 1))
    ranked = rank_trending(queries.attention(connection, start, end), None, n)
    return papers_by_id(connection, [paper_id for paper_id, _ in ranked])
