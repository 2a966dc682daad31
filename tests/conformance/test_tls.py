"""TLS: whom we trust, and that the deadline of a call holds inside of it as well."""

import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateways.connections import trusted_certificates
from gateways.errors import Billed, Unavailable
from gateways.http import HttpClient
from gateways.llms import Question
from gateways.llms.anthropic import AnthropicModel
from tests.conformance.scripted_server import (
    LONG_BEFORE_THE_SERVER,
    Say,
    ScriptedServer,
    dripping_body,
    dripping_head,
    json_answer,
    scripted_server,
)
from tests.conformance.test_language_models import message
from tests.support.proofs import needs

OPENSSL = shutil.which("openssl")
pytestmark = needs(OPENSSL is not None, "there is no openssl to make a certificate")

QUESTION = Question(model="claude-haiku-5-5", system="", user="hello", max_output_tokens=10)
DRIPS = pytest.mark.parametrize(
    "say",
    [
        dripping_head(seconds_a_byte=0.05),
        dripping_body(b"{" + b" " * 1000, seconds_a_byte=0.05),
    ],
    ids=["head", "body"],
)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Certificate and key of 127.0.0.1, signed by nobody else."""
    folder = tmp_path_factory.mktemp("tls")
    crt, key = folder / "crt.pem", folder / "key.pem"
    command = f"{OPENSSL} req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    command += f" -addext subjectAltName=IP:127.0.0.1 -out {crt} -keyout {key}"
    subprocess.run(command.split(), check=True, capture_output=True)
    return crt, key


@pytest.fixture
def secure(certificate: tuple[Path, Path]) -> Iterator[ScriptedServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with scripted_server(context) as running:
        yield running


@pytest.fixture(autouse=True)
def _trust_read_anew() -> Iterator[None]:
    trusted_certificates.cache_clear()
    yield
    trusted_certificates.cache_clear()


@pytest.fixture(params=["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def trusted(
    request: pytest.FixtureRequest,
    certificate: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The certificate is trusted, by the variable that operators use for it."""
    monkeypatch.setenv(request.param, str(certificate[0]))


@pytest.mark.usefixtures("trusted")
def test_a_bundle_named_by_the_environment_is_trusted(secure: ScriptedServer) -> None:
    secure.says(json_answer({"n": 1}))
    http = HttpClient()

    assert http.get(secure.url, seconds=30).object() == {"n": 1}
    assert http.post(secure.url, seconds=30).object() == {"n": 1}

    secure.says(json_answer(message("hello")))
    assert AnthropicModel("key", secure.url, 30.0).ask(QUESTION).text == "hello"


def test_a_stranger_is_not_trusted(secure: ScriptedServer) -> None:
    secure.says(json_answer({}))

    with pytest.raises(Unavailable) as by_http:
        HttpClient().get(secure.url, seconds=30)
    with pytest.raises(Unavailable) as by_model:
        AnthropicModel("key", secure.url, 30.0).ask(QUESTION)

    assert by_http.value.code == "tls"
    assert (by_model.value.code, by_model.value.billed) == ("connection", Billed.NO)
    assert secure.heard == []


@DRIPS
@pytest.mark.usefixtures("trusted")
def test_the_total_deadline_holds_inside_of_tls(secure: ScriptedServer, say: Say) -> None:
    secure.says(say)
    http = HttpClient()
    began = time.monotonic()

    with pytest.raises(Unavailable) as by_http:
        http.get(secure.url, seconds=0.5)
    with pytest.raises(Unavailable) as by_model:
        # long enough to be let in on a busy machine: only then may it have been billed
        AnthropicModel("key", secure.url, 5.0).ask(QUESTION)

    assert time.monotonic() - began < LONG_BEFORE_THE_SERVER
    assert by_http.value.code == "timeout"
    assert (by_model.value.code, by_model.value.billed) == ("timeout", Billed.UNKNOWN)
