"""Logs are events with fields: `log.info("import.finished", source="arxiv", added=214)`."""

import logging
import sys

import structlog


def configure(*, debug: bool = False, as_json: bool = False) -> None:
    """Sends log events to standard error, from `info` up, or from `debug` up."""
    level = logging.DEBUG if debug else logging.INFO
    console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer() if as_json else console,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # Asked for each time: whoever takes standard error for a while gives it back.
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """The logger; bind ids with `structlog.contextvars.bind_contextvars`."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger
