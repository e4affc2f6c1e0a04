"""What is done for search while nobody waits: papers without an embedding get theirs."""

import threading
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine

from paperround.db import read
from paperround.discovery import queries
from paperround.discovery.embedding import ASSETS, embed_missing, load_embedder
from paperround.errors import AssetError
from paperround.kit.assets import is_here
from paperround.log import get_logger
from paperround.settings import Settings

_LOOK_INTERVAL_S = 20.0


def keep_embedded(
    engine: Engine, settings: Settings, stop: threading.Event, is_busy: Callable[[], bool]
) -> None:
    """Embeds what is new in the catalogue until `stop` is set; call it in a thread of its own.

    It waits while `is_busy`: a run's seconds are a measurement. The model is never fetched here;
    until somebody has (`paperround asset get minilm-int8`), new papers are searched by words.
    """
    seen: datetime | None = None
    while not stop.is_set():
        try:
            with read(engine) as connection:
                newest = queries.last_change(connection)
            if newest != seen and not is_busy() and all(is_here(name, settings) for name in ASSETS):
                embed_missing(
                    engine,
                    load_embedder(settings, threads=1),
                    must_stop=lambda: stop.is_set() or is_busy(),
                )
                # What it left undone for a run's sake is looked for again.
                seen = newest if not is_busy() else None
        except AssetError as error:
            get_logger().warning("embedding.no_model", error=str(error))
        # The database may be busy or away; the next look is soon.
        except Exception as error:
            get_logger().error("embedding.failed", error=repr(error), exc_info=True)
        stop.wait(_LOOK_INTERVAL_S)
