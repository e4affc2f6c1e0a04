"""Writes to the catalogue: records come in, in batches that are each one transaction."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice

from sqlalchemy import Engine

from paperround.catalogue.cleaning import RecordError, cleaned
from paperround.catalogue.merging import Batch, complete_bands
from paperround.catalogue.records import Imported, PaperRecord, Rejected
from paperround.clock import utc_now
from paperround.db import read, write
from paperround.log import get_logger

# So many records are one transaction: enough that the disk's confirmation costs little each,
# few enough that other writers wait for less than a second.
BATCH = 500


def import_records(
    engine: Engine,
    items: Iterable[PaperRecord | Rejected],
    *,
    now: Callable[[], datetime] = utc_now,
    on_progress: Callable[[int], None] | None = None,
) -> Imported:
    """What became of the items of a source. Importing the same again changes nothing.

    `on_progress` hears how many items are done for good: their batch is on the disk, whatever
    happens next. A batch is written whole or not at all.
    """
    started = time.monotonic()
    counts: Counter[str] = Counter()
    rejections: list[Rejected] = []
    n_read = 0
    for batch in _batches(items):
        records = _sound(batch, rejections)
        if records:
            counts += _import_batch(engine, records, now())
        n_read += len(batch)
        if on_progress is not None:
            on_progress(n_read)
    done = Imported(
        read=n_read,
        added=counts["added"],
        updated=counts["updated"],
        merged=counts["merged"],
        seconds=time.monotonic() - started,
        rejections=tuple(rejections),
    )
    get_logger().info(
        "import.finished",
        read=done.read,
        added=done.added,
        updated=done.updated,
        merged=done.merged,
        rejected=done.rejected,
        seconds=round(done.seconds, 2),
    )
    return done


def _sound(
    batch: Sequence[PaperRecord | Rejected], rejections: list[Rejected]
) -> list[PaperRecord]:
    records = []
    for item in batch:
        if isinstance(item, Rejected):
            rejections.append(item)
            continue
        try:
            records.append(cleaned(item))
        except RecordError as error:
            place = item.place or f"{item.source} {item.source_key}"
            rejections.append(Rejected(place[:200], str(error)))
    return records


def _import_batch(engine: Engine, records: list[PaperRecord], now: datetime) -> Counter[str]:
    if any("arxiv" not in record.identifiers for record in records):
        with read(engine) as connection:
            needs_all = Batch(connection, records, now).needs_all_bands()
        # In steps of their own, so that nobody else waits while thousands of papers get theirs.
        after: int | None = 0 if needs_all else None
        while after is not None:
            with write(engine) as connection:
                after = complete_bands(connection, after)
    with write(engine) as connection:
        merging = Batch(connection, records, now)
        outcomes = merging.merge()
        merging.flush()
    return Counter(outcomes)


def _batches(
    items: Iterable[PaperRecord | Rejected],
) -> Iterator[list[PaperRecord | Rejected]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch
