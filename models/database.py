"""The connection to PostgreSQL, the one declarative base, and the shape of a transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Engine,
    Enum,
    MetaData,
    Numeric,
    create_engine,
    func,
    make_url,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column, sessionmaker

from models import liveness
from models.money import Msats, Sats, Usd, UsdMicros

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

Id = Annotated[int, mapped_column(BigInteger, primary_key=True)]
Instant = Annotated[datetime, mapped_column(DateTime(timezone=True))]
CreatedAt = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
SatsColumn = Annotated[Sats, mapped_column(BigInteger, comment="satoshis")]
MsatsColumn = Annotated[Msats, mapped_column(BigInteger, comment="millisatoshis")]
UsdColumn = Annotated[Usd, mapped_column(Numeric(20, 10), comment="US dollars")]
UsdMicrosColumn = Annotated[UsdMicros, mapped_column(BigInteger, comment="micro-dollars")]
Json = Annotated[dict[str, Any], mapped_column(JSONB)]


def stored_by_value(enum: type[StrEnum]) -> Enum:
    """Store an enum as its value in a VARCHAR; the table that owns a state writes its own CHECK."""
    return Enum(
        enum,
        native_enum=False,
        create_constraint=False,
        length=40,
        values_callable=lambda members: [member.value for member in members],
    )


def one_of(column: str, enum: type[StrEnum]) -> str:
    """Write the CHECK that keeps a column inside its enum."""
    return f"{column} IN ({', '.join(repr(member.value) for member in enum)})"


def ago(instant: Any) -> ColumnElement[timedelta]:
    """How long ago an instant was, by the database's clock; negative while it is to come."""
    return cast("ColumnElement[timedelta]", func.now() - instant)


def is_young(age: timedelta | None, at_most: timedelta) -> bool:
    """Whether an age as ``ago`` tells it is known and no greater than this.

    Further below zero than transactions that overlap can explain, it is not: what wrote the row had
    another clock, or this one was set back.
    """
    return age is not None and -OVERLAPPING <= age <= at_most


OVERLAPPING = timedelta(seconds=5)


UNLOADED = {"synchronize_session": False}
"""For an UPDATE of rows that its session has not loaded, or does not look at again.

SQLAlchemy would work out in Python, each time, which loaded objects it changes.
"""
AS_RETURNED = {"synchronize_session": False, "populate_existing": True}
"""The same where the row comes back whole: that is what a loaded object shows from then on."""


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar[dict[Any, Any]] = {}


CONNECT_SECONDS = 3
PLACE_SECONDS = 10
"""Until whoever waits for one of our connections is told that there is none."""
SESSION_OPTIONS = (
    # A frozen process must not hold locks for ever, nor a lost plan run for ever.
    "-c timezone=UTC -c statement_timeout=10s -c lock_timeout=3s"
    " -c idle_in_transaction_session_timeout=15s"
)


def _options(url: str) -> str:
    """Ours after the address's own (a ``search_path``, say), which ours would otherwise replace."""
    given = make_url(url).query.get("options", "")
    return f"{given if isinstance(given, str) else ' '.join(given)} {SESSION_OPTIONS}".strip()


def _give_back_in_silence(engine: Engine) -> None:
    """End what was read alone without a word to PostgreSQL.

    SQLAlchemy would set an isolation level that nothing has changed: a round trip for each reading;
    and for a connection that has died by then an error, and its place in the pool lost for good.
    """

    def reset(dbapi_connection: Any) -> None:
        if not dbapi_connection.closed:
            dbapi_connection.autocommit = False

    engine.dialect.reset_isolation_level = reset  # type: ignore[method-assign]


class Database:
    """One engine, made after fork and handed in.

    All times that decide anything are PostgreSQL's ``now()``.
    """

    def __init__(self, url: str, *, connections: int = 10) -> None:
        """``connections`` bounds how many this process holds open at once."""
        self.engine = create_engine(
            url,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=PLACE_SECONDS,
            hide_parameters=True,  # a job's id would stand in the log of a failed statement
            connect_args={
                "connect_timeout": CONNECT_SECONDS,
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 20_000,
                "application_name": "honestwork",
                "options": _options(url),
            },
        )
        liveness.watch(self.engine)
        _give_back_in_silence(self.engine)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        each_alone = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._readings = sessionmaker(each_alone, expire_on_commit=False, autoflush=False)

    @contextmanager
    def transaction(self, name: str) -> Iterator[Session]:
        """Commit at the end, roll back on any exception.

        ``name`` says what the transaction is for (``area.step``); tests inject faults by it.
        Nothing outside may be called while it is open.
        """
        with self._sessions.begin() as session:
            yield session

    @contextmanager
    def reading(self, name: str) -> Iterator[Session]:
        """Read with a single statement: it sees one moment, and needs no BEGIN and no COMMIT.

        These are a round trip each. Nothing may be written. ``name`` as in ``transaction``.
        """
        with self._readings() as session:
            yield session

    def close(self) -> None:
        self.engine.dispose()
