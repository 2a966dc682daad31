"""Errors that nobody expected, as they may stand in a log: who reads it must learn no secret.

Drivers quote the statement and the row that failed, and a job's id, request and result are in them.
"""

import traceback

from sqlalchemy.exc import InterfaceError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from structlog.stdlib import BoundLogger

DATABASE_LOST = (OperationalError, InterfaceError, PoolTimeout)
"""The database cannot be reached, or would wait too long: later it works again."""


_AWAY = ("08", "57P")
"""How PostgreSQL's own codes (``sqlstate``) begin when a connection or the server is gone."""


def log(logger: BoundLogger, error: Exception, **context: str) -> None:
    """Put it on record, with where it happened unless the database was just not there."""
    where = "".join(traceback.format_tb(error.__traceback__))
    if isinstance(error, DATABASE_LOST):
        what, sqlstate = type(error).__name__, getattr(getattr(error, "orig", None), "pgcode", None)
        if _is_away(error, sqlstate):
            logger.error("database is away", error=what, sqlstate=sqlstate, **context)
        else:  # a lock, a statement or one of our own connections was waited for in vain
            logger.error("database is busy", error=what, sqlstate=sqlstate, where=where, **context)
    elif _quotes_a_statement(error):
        what = type(getattr(error, "orig", None) or error).__name__
        logger.error("unexpected database error", error=what, where=where, **context)
    else:
        logger.error("unexpected error", exc_info=error, **context)


def _is_away(error: Exception, sqlstate: str | None) -> bool:
    """Whether it is not there; the driver names no code when it could not even connect."""
    if isinstance(error, PoolTimeout):  # all connections that we allow ourselves are in use
        return False
    return sqlstate is None or sqlstate.startswith(_AWAY)


def _quotes_a_statement(error: BaseException) -> bool:
    """Whether it, or what a traceback would show above it, comes from the driver."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, StatementError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
