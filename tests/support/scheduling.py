"""Which tests one worker gets: those that share a running product, so that it is started once.

pytest-xdist has ``--dist loadgroup`` for that, but 3.8 sets a member that pytest 9.2 does not read.
"""

import pytest
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

SHARING = {
    "tests/journeys/test_broken_processes.py": "impatient product",
    "tests/journeys/test_hundred_jobs_at_once.py": "product",
    "tests/journeys/test_instant_docs.py": "product",
    "tests/journeys/test_life_of_a_job.py": "product",
    "tests/journeys/test_readme.py": "product",
    "tests/journeys/test_what_callers_see.py": "impatient product",
    "tests/journeys/test_what_instant_resources_tell.py": "product",
}
"""What the tests of a file share; all others go to whoever is free."""


class SharedProducts(LoadScopeScheduling):  # type: ignore[misc]
    """One test at a time, or all that share something."""

    def _split_scope(self, nodeid: str) -> str:
        return SHARING.get(nodeid.partition("::")[0], nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SharedProducts | None:
    """Unless another ``--dist`` was asked for."""
    return SharedProducts(config, log) if config.getoption("dist") == "load" else None
