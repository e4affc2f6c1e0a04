"""`paperround serve`: the site under uvicorn, until interrupted."""

import ipaddress
import socket
import sys
from collections.abc import Callable

import uvicorn
from sqlalchemy import Engine

from paperround.clock import utc_now
from paperround.db import open_database, write
from paperround.readers.links import first_admin_link
from paperround.settings import get_settings
from paperround.web.app import create_app

# Whoever watches a run keeps a stream open; a server that is told to stop does not wait for them.
_SHUTDOWN_S = 3


def serve(
    *, host: str, port: int, worker: bool, prepare: Callable[[Engine], None] | None = None
) -> None:
    """Serves the site until interrupted. `prepare` gets the migrated database before that."""
    settings = get_settings()
    engine = open_database(settings)
    if prepare is not None:
        prepare(engine)
    with write(engine) as connection:
        first_link = first_admin_link(connection, utc_now())
    engine.dispose()
    app = create_app(settings, local_only=is_loopback(host), worker=worker)
    # Before the first search asks for it.
    app.state.site.searcher.refresh_behind()
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        # A header must not be able to say that a request came from this machine.
        proxy_headers=False,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    _Announced(config, first_link, settings.public_url).run()


class _Announced(uvicorn.Server):
    """Says where the site is once it answers there; with port 0 nobody else knows.

    While nobody has an account it also says the one link that makes the admin. It is shown to
    whoever started the server and to nobody else: not in a log, not on a page.
    """

    def __init__(self, config: uvicorn.Config, first_link: str | None, public_url: str) -> None:
        super().__init__(config)
        self._first_link, self._public_url = first_link, public_url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in self.servers:
            for bound in listening.sockets:
                name, number = bound.getsockname()[:2]
                shown = f"[{name}]" if ":" in name else name
                address = f"http://{shown}:{number}"
                sys.stderr.write(f"Paperround is at {address}\n")
                if self._first_link is not None:
                    link = f"{self._public_url or address}{self._first_link}"
                    sys.stderr.write(f"Make the admin's account here, once: {link}\n")
                sys.stderr.flush()


def is_loopback(host: str) -> bool:
    """Whether a server that listens on this address answers this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
