"""The digest: what is new of an address's subscriptions, written as mail, sent once.

`composing.py` chooses the papers, `writing.py` makes a mail of them, `sending.py` sends what is due
or writes it into files. What an address subscribes to, and that none is sent twice, is kept in
`readers/subscriptions.py`, `readers/due.py` and `readers/digests.py`.
"""

from paperround.discovery.digest.composing import Composer, Digest, Section
from paperround.discovery.digest.sending import Sent, dry_run, keep_digests_sent, send_digests
from paperround.discovery.digest.writing import Place, written

__all__ = [
    "Composer",
    "Digest",
    "Place",
    "Section",
    "Sent",
    "dry_run",
    "keep_digests_sent",
    "send_digests",
    "written",
]
