"""What docs/instant-resources.md tells callers to write buys, as it stands there."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from local.environment import ROOT
from tests.support.x402_payer import Payer
from tests.x402.rig import BUYING_SECONDS, Rig
from tests.x402.shops import PRICE_MICROS, Creator

A_DOLLAR = 1_000_000


def command(rig: Rig, example: str, folder: Path) -> list[str]:
    """As a caller would start it, in a folder where the packages are installed."""
    shutil.copy(ROOT / "docs" / example, folder)
    if example == "buy.py":
        return [str(rig.installed.python), example]
    (folder / "node_modules").symlink_to(rig.installed.packages / "node_modules")
    return [str(rig.installed.node), example]


def key_of(payer: Payer) -> str:
    return "0x" + bytes(payer.account.key).hex()


@pytest.mark.parametrize("example", ["buy.py", "buy.mjs"])
def test_the_example_prints_the_result_and_the_creator_gets_the_dollars(
    rig: Rig, shop: Creator, tmp_path: Path, example: str
) -> None:
    payer = rig.payer(A_DOLLAR)
    url = shop.url(shop.new_thing())

    done = subprocess.run(
        [*command(rig, example, tmp_path), url, '{"colour": "blue"}'],
        cwd=tmp_path,
        env={"PATH": os.defpath, "WALLET_KEY": key_of(payer)},
        capture_output=True,
        text=True,
        check=False,
        timeout=BUYING_SECONDS,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["receipt"]["paidUsdc"] == PRICE_MICROS / A_DOLLAR
    assert rig.chain.balance(payer.address) == A_DOLLAR - PRICE_MICROS
