"""Whether whoever asks has the content already: by its ETag, or by since when it has been so."""

import threading
from collections import OrderedDict
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from starlette.requests import Request

_KEPT = 2_000


class SeenAnswers:
    """When this process gave each feed the content that it has now: its Last-Modified.

    What a feed lists may change without any of its entries having done so, by a vote or by time
    going on, so that the moment comes from the content. The longest unasked are forgotten.
    """

    def __init__(self) -> None:
        """Of no feed yet."""
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, tuple[str, datetime]] = OrderedDict()

    def since(self, address: str, etag: str, now: datetime) -> datetime:
        """Since when the address has had that content, to the second."""
        with self._lock:
            known = self._seen.pop(address, None)
            if known is None or known[0] != etag:
                known = etag, now.replace(microsecond=0)
            self._seen[address] = known
            if len(self._seen) > _KEPT:
                self._seen.popitem(last=False)
            return known[1]


def has_it(request: Request, etag: str, since: datetime) -> bool:
    """Whether the asker has this content, by its ETag or else by its time (RFC 9110, 13.2.2)."""
    named = request.headers.get("if-none-match")
    if named is not None:
        given = {each.strip().removeprefix("W/") for each in named.split(",")}
        return etag in given or "*" in given
    try:
        held = parsedate_to_datetime(request.headers.get("if-modified-since", ""))
    except (ValueError, IndexError, TypeError):
        return False
    return (held if held.tzinfo else held.replace(tzinfo=UTC)) >= since
