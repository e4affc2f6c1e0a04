"""What a worker makes of what readers handed in.

An address is asked of the source that has the paper, and comes in as that source's word. What a
reader typed comes in under a source of its own, adds papers and changes none: a paper that the
catalogue has is found, and stays as it is.
"""

import io
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from pydantic import ValidationError
from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from paperround.alone import alone
from paperround.catalogue.actions import add_missing, import_records, paper_called
from paperround.catalogue.asking import ask, named
from paperround.catalogue.cleaning import RecordError
from paperround.catalogue.identity import derived_key
from paperround.catalogue.records import PaperId, PaperRecord, Rejected
from paperround.catalogue.sources.bibtex import read_text
from paperround.catalogue.statements import READER
from paperround.catalogue.visiting import visit_with
from paperround.clock import utc_now
from paperround.db import read, write
from paperround.errors import NotFoundError, PaperroundError, UsageError
from paperround.log import get_logger
from paperround.readers.collections import collection_of, put_in
from paperround.readers.records import Submission, SubmissionKind
from paperround.readers.submissions import (
    MAX_ENTRIES,
    SUBMISSIONS,
    ByHand,
    record_of,
    submissions_in,
)
from paperround.readers.tables import SubmissionTable, SubmittedTable
from paperround.settings import Settings

_KEPT_REJECTIONS = 100
_LOOK_INTERVAL_S = 1.0
# A submission that ends its worker so often is not tried again.
_MAX_ATTEMPTS = 3


def work_on_next(engine: Engine, settings: Settings, now: Callable[[], datetime] = utc_now) -> bool:
    """Does the submission that has waited longest; False where none waits, or another works.

    One worker of a home does them, one after the other.
    """
    with alone(settings.home / "submissions.lock") as is_alone:
        taken = _take(engine, now()) if is_alone else None
        if taken is None:
            return False
        submission, attempts = taken
        if attempts > _MAX_ATTEMPTS:
            reason = "it ended the worker that read it, again and again"
            _end(engine, submission.id, now(), state="failed", reason=reason)
        else:
            _work(engine, settings, submission, now)
        return True


def keep_submitted(engine: Engine, settings: Settings, stop: threading.Event) -> None:
    """Does what readers hand in until `stop` is set; call it in a thread of its own."""
    while not stop.is_set():
        try:
            while not stop.is_set() and work_on_next(engine, settings):
                pass
        # The database may be busy or away; the next look is soon.
        except Exception as error:
            get_logger().error("submissions.failed", error=repr(error), exc_info=True)
        stop.wait(_LOOK_INTERVAL_S)


def _work(
    engine: Engine, settings: Settings, submission: Submission, now: Callable[[], datetime]
) -> None:
    state, reason = "done", ""
    rejected: list[Rejected] = []
    try:
        match submission.kind:
            case SubmissionKind.ADDRESS:
                rejected = _do_address(engine, settings, submission, now)
            case SubmissionKind.BIBTEX:
                rejected = _do_bibtex(engine, submission, now)
            case SubmissionKind.BY_HAND:
                paper = ByHand.model_validate_json(submission.asked)
                rejected = _add_typed(engine, submission, record_of(paper), now())
    except (PaperroundError, ValidationError) as error:
        state, reason = "failed", str(error)
    # Whatever a parser trips over, the reader must learn that it failed.
    except Exception as error:
        state, reason = "failed", f"{type(error).__name__}: the server's log has more"
        get_logger().error("submission.broke", submission=submission.id, exc_info=True)
    _end(engine, submission.id, now(), state=state, reason=reason, rejected=rejected)
    get_logger().info(
        "submission.done", submission=submission.id, state=state, rejected=len(rejected)
    )


def _do_address(
    engine: Engine, settings: Settings, submission: Submission, now: Callable[[], datetime]
) -> list[Rejected]:
    item = ask(named(submission.asked), visit_with(engine, settings))
    if isinstance(item, Rejected):
        return [item]
    done = import_records(engine, [item], now=now)
    if done.rejections:
        return list(done.rejections)
    with write(engine) as connection:
        paper_id = paper_called(connection, item.source, " ".join(item.source_key.split()))
        if paper_id is None:
            raise NotFoundError(f"{item.source} {item.source_key[:80]} did not come in")
        _note_paper(connection, submission, paper_id, done.added > 0)
    return []


def _do_bibtex(
    engine: Engine, submission: Submission, now: Callable[[], datetime]
) -> list[Rejected]:
    rejected: list[Rejected] = []
    stream = io.BytesIO(submission.asked.encode("utf-8", "replace"))
    for number, item in enumerate(read_text(stream), start=1):
        if number > MAX_ENTRIES:
            rejected.append(Rejected(item.place, f"more than {MAX_ENTRIES} entries"))
        elif isinstance(item, Rejected):
            rejected.append(item)
        else:
            rejected += _add_typed(engine, submission, item, now())
    if not rejected and not _has_papers(engine, submission.id):
        rejected.append(Rejected("the whole of it", "no entry of a paper in it"))
    return rejected


def _add_typed(
    engine: Engine, submission: Submission, record: PaperRecord, now: datetime
) -> list[Rejected]:
    """Adds what somebody typed, where the catalogue does not have it."""
    typed = replace(record, source=READER, source_key=derived_key(record.title or "-"))
    try:
        paper_id, is_new = add_missing(engine, typed, now)
    except RecordError as error:
        return [Rejected(record.place or "the paper", str(error))]
    try:
        with write(engine) as connection:
            _note_paper(connection, submission, paper_id, is_new)
            collection = None
            if submission.collection is not None and submission.reader_id is not None:
                collection = collection_of(connection, submission.collection, submission.reader_id)
            if collection is not None:
                put_in(connection, collection, paper_id, now)
    except UsageError as error:
        # A collection that is full.
        return [Rejected(record.place or "the paper", str(error))]
    return []


def _take(engine: Engine, now: datetime) -> tuple[Submission, int] | None:
    is_open = SubmissionTable.state.in_(("waiting", "working"))
    first = select(SubmissionTable.id).where(is_open).order_by(SubmissionTable.id).limit(1)
    with read(engine) as connection:
        if connection.scalar(first) is None:
            return None
    with write(engine) as connection:
        taken = connection.execute(
            update(SubmissionTable)
            .where(SubmissionTable.id == first.scalar_subquery())
            .values(state="working", attempts=SubmissionTable.attempts + 1)
            .returning(SubmissionTable.id, SubmissionTable.attempts)
        ).one_or_none()
        if taken is None:
            return None
        (found,) = submissions_in(connection, SUBMISSIONS.where(SubmissionTable.id == taken.id))
        return found, taken.attempts


def _end(
    engine: Engine,
    submission_id: int,
    now: datetime,
    *,
    state: str,
    reason: str = "",
    rejected: Sequence[Rejected] = (),
) -> None:
    with write(engine) as connection:
        connection.execute(
            update(SubmissionTable)
            .where(SubmissionTable.id == submission_id)
            .values(
                state=state,
                ended_at=now,
                reason=reason[:500],
                n_rejected=len(rejected),
                rejections=[[r.place[:200], r.reason[:500]] for r in rejected[:_KEPT_REJECTIONS]],
            )
        )


def _note_paper(
    connection: Connection, submission: Submission, paper_id: PaperId, is_new: bool
) -> None:
    connection.execute(
        upsert(SubmittedTable)
        .values(submission_id=submission.id, paper_id=paper_id, is_new=is_new)
        .on_conflict_do_nothing()
    )


def _has_papers(engine: Engine, submission_id: int) -> bool:
    with read(engine) as connection:
        found = select(SubmittedTable.paper_id).where(SubmittedTable.submission_id == submission_id)
        return connection.execute(found.limit(1)).first() is not None
