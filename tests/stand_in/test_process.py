"""The stand-in as a process: what a restart keeps, and how it starts and ends."""

import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from config.settings import STAND_IN_ADMIN_KEY
from gateways import bolt11
from local.stand_in.testing import CHECKOUT, StandInClient, StandInError, running_stand_in
from local.stand_in.wire import StandInServer


def balance(client: StandInClient) -> int:
    headers = {"X-Api-Key": STAND_IN_ADMIN_KEY}
    answer = requests.get(client.url + "/api/v1/wallet", headers=headers, timeout=60)
    return int(answer.json()["balance"])


def create(client: StandInClient) -> str:
    answer = requests.post(
        client.url + "/api/v1/payments",
        json={"out": False, "amount": 10},
        headers={"X-Api-Key": STAND_IN_ADMIN_KEY},
        timeout=60,
    )
    return str(answer.json()["payment_hash"])


def test_a_restart_keeps_invoices_balances_effects_and_the_nodes_identity(tmp_path: Path) -> None:
    with running_stand_in(tmp_path) as first:
        paid, still_open = create(first), create(first)
        first.pay(paid)
        effects = first.effects()
        payee = bolt11.read(first.payer_invoice(5)).payee

    with running_stand_in(tmp_path) as second:
        assert balance(second) == 10_000
        assert second.effects()[: len(effects)] == effects
        assert bolt11.read(second.payer_invoice(5)).payee == payee
        assert second.pay(still_open)
        assert balance(second) == 20_000
        assert [effect.n for effect in second.effects()] == list(
            range(1, len(second.effects()) + 1)
        )


def test_the_effect_log_is_also_a_file_of_json_lines(tmp_path: Path) -> None:
    with running_stand_in(tmp_path) as client:
        create(client)

        lines = (tmp_path / "effects.jsonl").read_text().splitlines()
        assert len(lines) == 1
        client.reset()
        assert (tmp_path / "effects.jsonl").read_text() == ""


def test_secrets_in_the_data_folder_are_for_its_owner_only(tmp_path: Path) -> None:
    with running_stand_in(tmp_path):
        assert (tmp_path / "node_key").stat().st_mode & 0o077 == 0


def test_health_is_200_as_soon_as_it_says_that_it_listens(tmp_path: Path) -> None:
    with running_stand_in(tmp_path) as client:
        answer = requests.get(client.url + "/health", timeout=60)

        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert client.url.startswith("http://127.0.0.1:")


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = ["--port", str(port), "--data-dir", str(tmp_path)]
        ended = subprocess.run(
            [sys.executable, "-m", "local.stand_in", *command],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert ended.returncode == 1
    sentence = f"The stand-in cannot listen on 127.0.0.1:{port}: Address already in use.\n"
    assert ended.stderr == sentence


def test_a_start_that_fails_says_so_to_the_test(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(StandInError),
        running_stand_in(tmp_path, taken.getsockname()[1]),
    ):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_when_told_to(tmp_path: Path, number: signal.Signals) -> None:
    command = ["-m", "local.stand_in", "--port", "0", "--data-dir", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, *command], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)

        assert process.wait(timeout=60) == 0


def test_it_ends_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time\n"
        "from local.stand_in.testing import running_stand_in\n"
        "with running_stand_in(pathlib.Path(sys.argv[1])) as client:\n"
        "    print(client.url, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        port = urlsplit(parent.stdout.readline().strip()).port
        with socket.create_connection(("127.0.0.1", port or 0), timeout=60) as connection:
            parent.kill()

            assert _was_closed(connection)


def _was_closed(connection: socket.socket) -> bool:
    """Wait for the other side to go; one that goes before it took the connection resets it."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(("error", "is_shown"), [(ConnectionResetError, False), (KeyError, True)])
def test_a_client_that_was_killed_is_not_shown_as_an_error_of_ours(
    capsys: pytest.CaptureFixture[str], error: type[Exception], is_shown: bool
) -> None:
    def serve() -> None:
        raise error

    with StandInServer(("127.0.0.1", 0), lambda _: pytest.fail("nobody asks")) as server:
        try:
            serve()
        except error:
            server.handle_error(None, ("127.0.0.1", 1))

    assert ("Traceback" in capsys.readouterr().err) is is_shown
