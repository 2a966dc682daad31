"""The page for people who write clients: everything on it is served from here."""

import hashlib
import re
from pathlib import Path

import pytest

from services.errors import ErrorCode
from tests.app.contract import CheckedClient

VENDOR = Path("app/pages/static/vendor")


def test_the_page_names_the_document_and_explains_every_error_code(client: CheckedClient) -> None:
    page = client.get("/api/docs")

    assert page.status_code == 200
    assert page.content_type.startswith("text/html")
    assert 'data-document="/api/openapi.json"' in page.text
    for code in ErrorCode:
        assert f'id="problem-{code.value}"' in page.text


def test_the_type_of_an_error_leads_to_its_explanation(client: CheckedClient) -> None:
    error = client.get("/api/nothing-here").json

    assert error is not None
    path, anchor = error["type"].split("#")
    assert f'id="{anchor}"' in client.get(path).text


def test_every_asset_of_the_page_is_served_from_here(client: CheckedClient) -> None:
    assets = re.findall(r'(?:src|href)="([^"#]+)"', client.get("/api/docs").text)

    assert len(assets) >= 4
    for asset in assets:
        assert asset.startswith("/api/"), asset
        with client.get(asset) as served:
            assert served.status_code == 200, asset


def test_the_policy_lets_scripts_come_from_here_only(client: CheckedClient) -> None:
    policy = client.get("/api/docs").headers["Content-Security-Policy"]

    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy


@pytest.mark.parametrize("name", ["swagger-ui-bundle.js", "swagger-ui.css"])
def test_vendored_files_are_the_released_ones_byte_for_byte(name: str) -> None:
    written_down = (VENDOR / "VENDOR.md").read_text()

    digest = hashlib.sha384((VENDOR / "swagger-ui-5.35.0" / name).read_bytes()).hexdigest()

    assert f"`{name}` {digest}" in written_down
