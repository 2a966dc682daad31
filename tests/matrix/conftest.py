"""A bench for the matrix, and the summary of what was tried."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache

import pytest
from sqlalchemy import text

from config.settings import Settings
from local.stand_in.testing import StandInClient
from models.database import Base, Database
from tests.matrix.cases import Bench
from tests.matrix.killing import ForkServer, running_fork_server
from tests.matrix.recordings import Recordings
from tests.support.canary import Listener, assert_tells_nothing
from tests.support.confidential import confidential_in
from tests.support.creators import VAULT_KEY


@pytest.fixture(scope="session")
def bench(
    database_url: str,
    redis_url: str,
    stand_in_process: StandInClient,
    log_listener: Listener,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bench]:
    environ = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "STAND_IN_URL": stand_in_process.url,
        "VAULT_KEYS": VAULT_KEY,
    }
    settings = Settings.load(environ)
    emptying = Database(settings.database_url, connections=1)

    def judge_the_log() -> None:
        confidential = confidential_in(emptying, settings)
        log_listener.judge(confidential=confidential)
        if fork_server.cache_info().currsize:
            assert_tells_nothing(fork_server().logged(), confidential=confidential)

    def start_over() -> None:
        judge_the_log()
        empty(emptying)

    with ExitStack() as until_the_end:

        @cache
        def fork_server() -> ForkServer:  # started by the first case that needs it
            running = running_fork_server(tmp_path_factory.mktemp("matrix"), environ)
            return until_the_end.enter_context(running)

        bench = Bench(
            settings,
            stand_in_process,
            start_over,
            rehearse=lambda life, memory: fork_server().rehearse(life, memory),
            kill=lambda case, memory: fork_server().kill(case, memory),
        )
        yield bench
        bench.close()
    judge_the_log()
    emptying.close()


def empty(database: Database) -> None:
    """Delete every row in one go; only a superuser can put the append-only triggers aside."""
    tables = [table.name for table in reversed(Base.metadata.sorted_tables)]
    deletes = "; ".join(f"DELETE FROM {name}" for name in tables)
    with database.transaction("test.empty") as session:
        session.execute(text(f"SET LOCAL session_replication_role = replica; {deletes}"))


@pytest.fixture(scope="session")
def recordings(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory, testrun_uid: str
) -> Recordings:
    shared = tmp_path_factory.getbasetemp().parent / f"recordings-{testrun_uid}"
    shared.mkdir(exist_ok=True)
    return Recordings(bench, shared)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--points", default="", help="only points with this in their name")
    parser.addoption(
        "--every-situation",
        action="store_true",
        help="try a point again in every situation it is reached in, not in the first alone",
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many points there are, how many cases were tried, and what they cost."""
    points: dict[str, int] = {}
    cases, seconds = 0, 0.0
    for report in [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]:
        told = dict(report.user_properties)
        if report.when == "call" and "cases" in told:
            points[told["life"]] = told["points"]
            cases += told["cases"]
            seconds += told["seconds"]
    terminalreporter.write_line(
        f"matrix: {len(points)} lives, {sum(points.values())} points, {cases} cases"
        f" in {seconds:.0f} s of work"
    )
