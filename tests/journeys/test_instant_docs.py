"""The lines of docs/instant-resources.md lead from nothing to a first sale."""

import re
import subprocess
from pathlib import Path

from local.environment import ROOT
from tests.journeys.creator import Buyer, Visitor
from tests.journeys.product import Product

PAGE = ROOT / "docs/instant-resources.md"
LINES = ROOT / "docs/sell-a-prompt.sh"
EXAMPLES = {"sell-a-prompt": "sh", "buy.py": "python", "buy.mjs": "js"}


def shown(example: str, language: str) -> str:
    """What the page shows after the mark of an example."""
    block = rf"^<!-- {re.escape(example)} -->\n+```{language}\n(.*?)^```$"
    (text,) = re.findall(block, PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return str(text)


def test_the_page_shows_the_examples_that_are_run_and_no_others() -> None:
    files = [LINES, ROOT / "docs/buy.py", ROOT / "docs/buy.mjs"]

    for (example, language), file in zip(EXAMPLES.items(), files, strict=True):
        assert shown(example, language) == file.read_text()


def test_a_creator_who_pastes_the_lines_has_something_on_sale_and_sells_it(
    product: Product, tmp_path: Path
) -> None:
    lines = LINES.read_text().replace("http://127.0.0.1:8000", product.url)
    lines = lines.replace(".data/ops.token", str(product.data_dir / "ops.token"))

    said = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines + 'echo "$KEY"\n'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (said.returncode, said.stderr) == (0, ""), said.stdout + said.stderr
    assert '"ownerTest": true' in said.stdout
    assert "\n402\n" in said.stdout
    creator = Visitor(product, said.stdout.splitlines()[-1])
    product.confidential.append(str(creator.api_key))
    bought, _ = Buyer(product).buys("/api/instant/ada/haiku", {"subject": "honest work"})
    assert bought.json()["receipt"]["paidUsdc"] == 0.012
    earned = creator.does("GET", "/api/creator/earnings")
    assert (earned["calls"], earned["grossUsd"], earned["ownerTests"]["calls"]) == (1, 0.012, 1)
