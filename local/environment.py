"""What one local system consists of, read from the environment and ``.env``."""

import io
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream

from config.settings import AppEnv, Settings, SettingsError
from local.processes import LOOPBACK, HttpProbe, Program, StartError, free_port, is_free

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: where every process runs, so that its packages are found."""

ADMIN_KEY = "LNBITS_ADMIN_KEY"
VAULT_KEYS = "VAULT_KEYS"
OPS_TOKEN = "OPS_TOKEN"  # noqa: S105 - the name of it
_HIGHEST_PORT = 65_535
_AS_ROOT = ("-W", "ignore:You're running the worker with superuser privileges")
"""On a bench as root that is so, and said once a worker in eight lines."""
_PLACEHOLDERS = {
    "DATABASE_URL": "postgresql://ours",
    "REDIS_URL": "redis://ours",
    "STAND_IN_URL": "http://ours",
}
"""Filled in later by the servers we bring; before that only so that the rest can be judged."""
_JUDGED_HERE = {"HOST", "PORT", "DATA_DIR", "LOG_FORMAT", "LEASE_SECONDS", *_PLACEHOLDERS}
"""Settings that no rule of the product connects with others."""
_WILDCARDS = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 - looked for, not bound to


@dataclass(frozen=True, kw_only=True)
class System:
    """What was asked for, proved to be a deployment that may run."""

    settings: Settings
    environ: Mapping[str, str]
    """The real one over ``.env``, with the paying wallet's key still in it."""

    @property
    def brings_postgres(self) -> bool:
        return not self.environ.get("DATABASE_URL")

    @property
    def brings_valkey(self) -> bool:
        return not self.environ.get("REDIS_URL")

    @property
    def brings_stand_in(self) -> bool:
        """Unless everything outside is real, or a stand-in runs elsewhere already."""
        is_needed = self.settings.lightning_is_stand_in or self.settings.has_stand_in_model
        return is_needed and not self.environ.get("STAND_IN_URL")

    @property
    def makes_secrets(self) -> bool:
        """Whether what is not given of ``VAULT_KEYS`` and ``OPS_TOKEN`` is made here and kept.

        In production nobody would know where they are, or have a copy of them.
        """
        return self.settings.app_env is not AppEnv.PRODUCTION

    @property
    def data_dir(self) -> Path:
        return Path(self.settings.data_dir).absolute()

    @property
    def reachable_host(self) -> str:
        """Where we reach ourselves: an address, also when we listen on all of them."""
        return _WILDCARDS.get(self.settings.host, self.settings.host)

    @property
    def address(self) -> str:
        return f"http://{_in_url(self.reachable_host)}:{self.settings.port}"

    def wanted_stand_in_port(self) -> int | None:
        """The one asked for; raises StartError when that cannot be."""
        wanted = self.environ.get("STAND_IN_PORT")
        if not wanted:
            return None
        port = _port_number(wanted)
        if port == self.settings.port:
            raise StartError(
                f"PORT and STAND_IN_PORT are both {port}: give each its own.", exit_code=2
            )
        return port

    def stand_in_port(self) -> int:
        """The one asked for, else the one after ours, else any that is free."""
        wanted = self.wanted_stand_in_port()
        if wanted is not None:
            return wanted
        following = self.settings.port + 1
        return following if following <= _HIGHEST_PORT and is_free(following) else free_port()


def read_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment over the checkout's ``.env``; ``ENV_FILE`` names another file, empty none.

    Raises StartError for a file with a line that would silently not count.
    """
    name = environ.get("ENV_FILE", ".env")
    if not name or ("ENV_FILE" not in environ and not (ROOT / name).exists()):
        return dict(environ)
    text = _text_of(ROOT / name)
    for line in parse_stream(io.StringIO(text)):
        if _is_broken(line):
            raise StartError(
                f"{name}, line {line.original.line}: this is no setting; "
                "write NAME=value, with quotes around a value that has quotes or # in it.",
                exit_code=2,
            )
    written = dotenv_values(stream=io.StringIO(text))
    return {name: value for name, value in written.items() if value is not None} | dict(environ)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise StartError(f"{path} cannot be read: {error.strerror}.", exit_code=2) from error
    except UnicodeDecodeError as error:
        raise StartError(f"{path} cannot be read: it is not UTF-8 text.", exit_code=2) from error


def _is_broken(line: Binding) -> bool:
    """Whether nothing would be set by it although something stands there."""
    return line.error or (line.key is not None and line.value is None)


def read_system(environ: Mapping[str, str]) -> System:
    """Raises StartError with all that is wrong, before anything has been started or written."""
    complete = read_environment(environ)
    try:
        settings = Settings.load(_with_placeholders(complete))
    except SettingsError as error:
        raise _refusal(str(error)) from error
    return System(settings=settings, environ=complete)


def _with_placeholders(environ: Mapping[str, str]) -> dict[str, str]:
    missing = {name: address for name, address in _PLACEHOLDERS.items() if not environ.get(name)}
    return {**environ, **missing}


def _refusal(problems: str) -> StartError:
    return StartError(f"These settings cannot run:\n{problems.strip()}", exit_code=2)


def judge(system: System) -> None:
    """Raise StartError for settings with which a process of the product would refuse to start.

    The product itself is asked, which takes a second; not when nothing is set that it judges,
    because a test proves that the defaults start.
    """
    judged = {name.upper() for name in Settings.model_fields} - _JUDGED_HERE
    if judged.isdisjoint(system.environ):
        return
    answer = subprocess.run(
        [sys.executable, "-m", "workers.check"],
        cwd=ROOT,
        env=_with_placeholders(system.environ),
        check=False,
        capture_output=True,
        text=True,
    )
    if answer.returncode != 0:
        raise _refusal(answer.stderr)


Apps = Callable[[System, Mapping[str, str]], "Table"]
"""Makes our own processes from what was asked for and the environment with all addresses."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Our own processes: one that runs to its end before all others, and those that stay."""

    migrate: Program
    apps: tuple[Program, ...]


def honest_work(system: System, environ: Mapping[str, str]) -> Table:
    """The product. What the processes are is said again, for people, in the Procfile."""
    public = _without(environ, ADMIN_KEY)
    for_workers = _without(environ, OPS_TOKEN)
    # they seal nothing, open nothing and let nobody in
    bare = _without(public, VAULT_KEYS, OPS_TOKEN)
    beat_schedule = str(system.data_dir / "celerybeat-schedule")
    return Table(
        migrate=_python("migrate", bare, "-m", "models.migrate"),
        apps=(
            _web(system, public),
            # The only process that can pay: the only one that is given the key.
            _worker("money", for_workers, queues="ticks,money", concurrency=16),
            _worker(
                "models", _without(for_workers, ADMIN_KEY), queues="models,hooks", concurrency=100
            ),
            _python(
                "beat",
                bare,
                *("-m", "celery", "-q", "-A", "workers.beat", "beat"),
                *("--schedule", beat_schedule, "--loglevel", "INFO"),
                ready_line=re.compile(r"beat ready"),
            ),
        ),
    )


def _without(environ: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name not in names}


def stand_in(system: System, port: int) -> Program:
    """LNbits and the model servers, played. It needs to know nothing of ours."""
    folder = system.data_dir / "stand-in"
    folder.mkdir(mode=0o700, exist_ok=True)
    public = {name: value for name, value in system.environ.items() if not _is_secret(name)}
    return _python(
        "stand-in",
        public,
        *("-m", "local.stand_in", "--port", str(port), "--data-dir", str(folder)),
        ready_url=(LOOPBACK, port, "/health"),
    )


def _web(system: System, environ: Mapping[str, str]) -> Program:
    settings = system.settings
    return _python(
        "web",
        environ,
        *("-m", "gunicorn", "--bind", f"{_in_url(settings.host)}:{settings.port}"),
        *("--worker-class", "app.serving.Worker", "--workers", "1", "--threads", "64"),
        # A demo request of 1000 characters is up to twelve times as long in an address.
        *("--limit-request-line", "16384"),
        # Its control socket would lie below HOME, one for all instances; nothing here uses it.
        *("--graceful-timeout", "30", "--no-control-socket", "app.wsgi:app"),
        ready_url=(system.reachable_host, settings.port, "/api/healthz"),
    )


def _worker(name: str, environ: Mapping[str, str], *, queues: str, concurrency: int) -> Program:
    return _python(
        f"worker-{name}",
        {**environ, "WORKER_ROLE": name},
        *_AS_ROOT,
        *("-m", "celery", "-q", "-A", "workers.celery_app", "worker"),
        *("-n", f"{name}@%h", "-Q", queues),
        *("--pool", "threads", "--concurrency", str(concurrency), "--loglevel", "INFO"),
        *("--without-gossip", "--without-mingle"),
        ready_line=re.compile(rf"\b{name}@\S+ ready\."),
    )


def _python(
    name: str,
    environ: Mapping[str, str],
    *arguments: str,
    ready_line: re.Pattern[str] | None = None,
    ready_url: tuple[str, int, str] | None = None,
) -> Program:
    return Program(
        name=name,
        argv=[sys.executable, *arguments],
        environ={**environ, "PYTHONUNBUFFERED": "1"},
        cwd=ROOT,
        ready_line=ready_line,
        probe=HttpProbe(*ready_url) if ready_url else None,
    )


def _is_secret(name: str) -> bool:
    return name.endswith(("_KEY", "_KEYS", "_TOKEN", "_URL"))


def _port_number(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= _HIGHEST_PORT:
        raise StartError(
            f"STAND_IN_PORT={text} is no port: use a number up to {_HIGHEST_PORT}.", exit_code=2
        )
    return int(text)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
