"""Logs: one line an event, constant messages, ids beside them.

``pretty`` is for eyes, ``json`` for machines.
"""

import logging
import sys

import structlog

QUIET = ("httpx2", "httpcore2", "anthropic", "openai", "kombu", "amqp", "celery.beat")
"""Libraries whose INFO lines could hold addresses or invoices, or say the same every second."""
SHARED: list[structlog.types.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def set_up(log_format: str) -> None:
    """Send structlog and the standard library's logging through the same formatter to stdout."""
    is_json = log_format == "json"
    structlog.configure(
        processors=[*SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(is_json=is_json),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Its warnings name whole addresses, queries included, and what it could not read of an answer.
    # What it warns about comes to us as an error where it matters.
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)
    # One line for every task received and done would say what the moves say better.
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)
    logging.getLogger("celery.app.trace").setLevel(logging.ERROR)


def _renderers(*, is_json: bool) -> list[structlog.types.Processor]:
    if is_json:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return [
        structlog.dev.ConsoleRenderer(
            colors=False, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
        )
    ]
