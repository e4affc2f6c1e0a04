"""Comments on papers: written, answered, changed, taken back, reported, hidden.

A comment's text is Markdown and is kept as it was typed; a page makes it HTML and cleans it. What
it calls other papers is found when it is written, so that each of the two leads to the other.
"""

import re
import unicodedata
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy import Connection, Engine, delete, insert, select, update

from paperround.catalogue.queries import paper_by_key
from paperround.catalogue.records import PaperId
from paperround.db import write
from paperround.errors import ForbiddenError, NotFoundError, UsageError
from paperround.readers import limits
from paperround.readers.acts import record_act
from paperround.readers.queries import comment_by_id
from paperround.readers.records import Comment, Reader
from paperround.readers.tables import CommentTable, MentionTable, ReportTable

MAX_TEXT = 5_000
MAX_REASON = 500
_MAX_MENTIONS = 20

# An arXiv id as it stands in a sentence, or the end of a paper's address here.
_MENTION = re.compile(
    r"(?<![\w./-])(?:arXiv:)?(\d{4}\.\d{4,5}(?:v\d{1,2})?)(?![\w/-]|\.\d)"
    r"|/papers/([A-Za-z0-9._:-]{1,80}[A-Za-z0-9])"
)


def add_comment(
    engine: Engine,
    reader: Reader,
    paper_id: PaperId,
    text: str,
    now: datetime,
    *,
    parent_id: int | None = None,
) -> int:
    """The id of a new comment, or answer. Raises UsageError, NotFoundError, TooOftenError."""
    text = checked_text(text)
    with write(engine) as connection:
        if parent_id is not None:
            parent = comment_by_id(connection, parent_id)
            if parent is None or parent.paper_id != paper_id or parent.is_gone:
                raise NotFoundError("the comment that this answers is gone")
            if parent.hidden_at is not None:
                raise ForbiddenError("the comment that this answers is hidden")
        limits.spend(connection, limits.COMMENTS, f"{reader.id}", now)
        comment_id = connection.scalars(
            insert(CommentTable)
            .values(
                paper_id=paper_id,
                reader_id=reader.id,
                parent_id=parent_id,
                text=text,
                created_at=now,
            )
            .returning(CommentTable.id)
        ).one()
        _store_mentions(connection, comment_id, paper_id, text)
        return comment_id


def edit_comment(
    engine: Engine, reader: Reader, comment_id: int, text: str, now: datetime, window: timedelta
) -> Comment:
    """The comment with another text. Raises ForbiddenError for another's, or after its time."""
    text = checked_text(text)
    with write(engine) as connection:
        comment = own_comment(connection, reader, comment_id)
        check_may_edit(comment, now, window)
        if text != comment.text:
            connection.execute(
                update(CommentTable)
                .where(CommentTable.id == comment_id)
                .values(text=text, edited_at=now)
            )
            connection.execute(delete(MentionTable).where(MentionTable.comment_id == comment_id))
            _store_mentions(connection, comment_id, comment.paper_id, text)
        return own_comment(connection, reader, comment_id)


def take_back(engine: Engine, reader: Reader, comment_id: int) -> Comment:
    """What the comment was. It goes, or leaves an empty place where it was answered."""
    with write(engine) as connection:
        comment = own_comment(connection, reader, comment_id)
        _take_back(connection, comment_id)
        return comment


def take_back_all(connection: Connection, reader_id: int) -> None:
    """Takes back all comments of a reader, the last first: answers leave no places."""
    mine = select(CommentTable.id).where(CommentTable.reader_id == reader_id)
    for comment_id in connection.scalars(mine.order_by(CommentTable.id.desc())).all():
        _take_back(connection, comment_id)


def report_comment(
    engine: Engine, reader: Reader, comment_id: int, reason: str, now: datetime
) -> Comment:
    """The comment, which the moderators will look at. A second report replaces the reader's first.

    Raises NotFoundError, UsageError without a reason, TooOftenError.
    """
    reason = one_line(reason)
    if not reason or len(reason) > MAX_REASON:
        raise UsageError(f"say what is wrong with it, in at most {MAX_REASON} characters")
    with write(engine) as connection:
        comment = visible_comment(connection, comment_id)
        if comment.reader_id == reader.id:
            raise UsageError("this comment is your own; you can take it back")
        limits.spend(connection, limits.REPORTS, f"{reader.id}", now)
        connection.execute(
            delete(ReportTable).where(
                ReportTable.comment_id == comment_id, ReportTable.reader_id == reader.id
            )
        )
        connection.execute(
            insert(ReportTable).values(
                comment_id=comment_id, reader_id=reader.id, reason=reason, at=now
            )
        )
        return comment


def hide_comment(
    engine: Engine, moderator: Reader, comment_id: int, because: str, now: datetime
) -> Comment:
    """The comment, hidden from all but its author and the moderators. Settles its reports."""
    because = one_line(because)
    if not because or len(because) > MAX_REASON:
        raise UsageError(f"say why it is hidden, in at most {MAX_REASON} characters")
    return _moderate(engine, moderator, comment_id, "hid a comment", because, now, hidden_at=now)


def show_comment(engine: Engine, moderator: Reader, comment_id: int, now: datetime) -> Comment:
    """The comment, shown to all, as before it was hidden. Settles its reports too."""
    return _moderate(engine, moderator, comment_id, "showed a comment", "", now, hidden_at=None)


def own_comment(connection: Connection, reader: Reader, comment_id: int) -> Comment:
    """The reader's own comment. Raises NotFoundError, ForbiddenError for another's."""
    comment = comment_by_id(connection, comment_id)
    if comment is None or comment.is_gone:
        raise NotFoundError(f"no comment {comment_id}")
    if comment.reader_id != reader.id:
        raise ForbiddenError("this comment is somebody else's")
    return comment


def visible_comment(
    connection: Connection, comment_id: int, reader: Reader | None = None
) -> Comment:
    """A comment that this reader may see. Raises NotFoundError also for one that is hidden."""
    comment = comment_by_id(connection, comment_id)
    if comment is None or comment.is_gone or not may_see(comment, reader):
        raise NotFoundError(f"no comment {comment_id}")
    return comment


def may_see(comment: Comment, reader: Reader | None) -> bool:
    """Whether the reader may read it: a hidden one is for its author and for moderators."""
    if comment.hidden_at is None:
        return True
    return reader is not None and (reader.is_moderator or reader.id == comment.reader_id)


def check_may_edit(comment: Comment, now: datetime, window: timedelta) -> None:
    """Raises ForbiddenError once others must be able to rely on what it says, or it is hidden."""
    if comment.hidden_at is not None:
        raise ForbiddenError("a moderator has hidden this comment")
    if now > comment.created_at + window:
        minutes = round(window.total_seconds() / 60)
        raise ForbiddenError(f"a comment can be changed for {minutes} minutes after it was written")


def checked_text(text: str) -> str:
    """The text as it is kept. Raises UsageError where there is none, or too much."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(c for c in text if c in "\n\t" or is_text(c))
    text = "\n".join(line.rstrip() for line in text.split("\n")).strip()
    if not text:
        raise UsageError("an empty comment says nothing")
    if len(text) > MAX_TEXT:
        raise UsageError(f"a comment has at most {MAX_TEXT:,} characters; this has {len(text):,}")
    return text


def one_line(text: str) -> str:
    """The text in one line, without signs that cannot be seen or turn the direction around."""
    return " ".join("".join(c for c in text if c.isspace() or is_text(c)).split())


def is_text(character: str) -> bool:
    """Whether it may stand in a comment: no control signs, none that turn the direction around."""
    return unicodedata.category(character) not in ("Cc", "Cs", "Co", "Cn") and not (
        "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"
    )


def _take_back(connection: Connection, comment_id: int) -> None:
    """Removes a comment, and places above it that stood for its sake alone."""
    this = CommentTable.id == comment_id
    while True:
        answered = select(CommentTable.id).where(CommentTable.parent_id == comment_id).limit(1)
        if connection.execute(answered).first() is not None:
            connection.execute(delete(MentionTable).where(MentionTable.comment_id == comment_id))
            connection.execute(delete(ReportTable).where(ReportTable.comment_id == comment_id))
            connection.execute(
                update(CommentTable)
                .where(this)
                .values(text="", reader_id=None, edited_at=None, hidden_because="")
            )
            return
        parent_id = connection.scalar(select(CommentTable.parent_id).where(this))
        connection.execute(delete(CommentTable).where(this))
        parent = None if parent_id is None else comment_by_id(connection, parent_id)
        if parent is None or not parent.is_gone:
            return
        comment_id, this = parent.id, CommentTable.id == parent.id


def _moderate(
    engine: Engine,
    moderator: Reader,
    comment_id: int,
    act: str,
    note: str,
    now: datetime,
    *,
    hidden_at: datetime | None,
) -> Comment:
    if not moderator.is_moderator:
        raise ForbiddenError("only moderators hide and show comments")
    with write(engine) as connection:
        comment = comment_by_id(connection, comment_id)
        if comment is None or comment.is_gone:
            raise NotFoundError(f"no comment {comment_id}")
        connection.execute(
            update(CommentTable)
            .where(CommentTable.id == comment_id)
            .values(hidden_at=hidden_at, hidden_because=note)
        )
        connection.execute(
            update(ReportTable)
            .where(ReportTable.comment_id == comment_id, ReportTable.settled_at.is_(None))
            .values(settled_at=now)
        )
        record_act(connection, moderator, act, f"comment {comment_id}", now, note)
        return comment


def _store_mentions(connection: Connection, comment_id: int, own_paper: PaperId, text: str) -> None:
    written = dict.fromkeys(
        found[1] or found[2] for found in islice(_MENTION.finditer(text), 10 * _MAX_MENTIONS)
    )
    rows = []
    for name in islice(written, _MAX_MENTIONS):
        detail = paper_by_key(connection, name)
        if detail is not None and detail.paper.id != own_paper:
            rows.append({"comment_id": comment_id, "paper_id": detail.paper.id, "written": name})
    if rows:
        connection.execute(insert(MentionTable), rows)
