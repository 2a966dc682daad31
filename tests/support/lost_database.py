"""A database that is lost at one step, whatever was done before it, and is there for all others."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from models.database import Database


class LostAt(Database):
    """Lost whenever the step ``name`` comes: a reading begins in vain, a COMMIT has no answer."""

    def __init__(self, name: str, database: Database) -> None:
        self._name = name
        self._database = database
        self.engine = database.engine

    @contextmanager
    def transaction(self, name: str) -> Iterator[Session]:
        with self._database.transaction(name) as session:
            yield session
        self._lose(name)

    @contextmanager
    def reading(self, name: str) -> Iterator[Session]:
        self._lose(name)
        with self._database.reading(name) as session:
            yield session

    def _lose(self, name: str) -> None:
        if name == self._name:
            raise OperationalError(name, {}, Exception("the server closed the connection"))
