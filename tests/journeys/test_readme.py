"""The lines that the README tells a newcomer to paste do what it says."""

import json
import re
import subprocess
import uuid
from pathlib import Path

from local.environment import ROOT
from tests.journeys.caller import Caller
from tests.journeys.product import Product

LINES = ROOT / "docs/life-of-a-job.sh"
BLOCK = re.compile(r"^<!-- life-of-a-job -->\n+```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def addressed(lines: str, product: Product) -> str:
    """The lines as a reader would change them whose product listens elsewhere."""
    there = lines.replace("http://127.0.0.1:8000", product.url)
    there = there.replace("http://127.0.0.1:8001", product.stand_in_url)
    assert there.startswith(f"BASE={product.url}\nSTAND_IN={product.stand_in_url}\n")
    return there


def test_the_lines_of_the_readme_lead_from_a_request_to_a_paid_refund(
    product: Product, caller: Caller, tmp_path: Path
) -> None:
    before = caller.balance_msats()

    said = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", addressed(LINES.read_text(), product)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (said.returncode, said.stderr) == (0, ""), said.stdout + said.stderr
    assert said.stdout.splitlines()[-1] == "paid"
    job_id = str(uuid.UUID(re.findall(r'"jobId": "(.+?)"', said.stdout)[0]))
    job = caller.wait_for(job_id, "complete", refundState="paid")
    assert json.dumps(job["result"]) in said.stdout
    charged = caller.job(job_id)["costLedger"]["actualAmountSats"]
    assert before - caller.balance_msats() == (10 + charged) * 1000


def test_the_readme_shows_these_lines_and_no_others() -> None:
    blocks = BLOCK.findall((ROOT / "README.md").read_text())

    assert blocks == [LINES.read_text()]
