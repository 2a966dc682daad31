"""What docs/instant-resources.md tells callers to write buys, as it stands there."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local.environment import ROOT
from tests.support.x402_payer import Payer
from tests.x402.forgetful import forgetful
from tests.x402.rig import BUYING_SECONDS, Rig
from tests.x402.shops import PRICE_MICROS, Creator

A_DOLLAR = 1_000_000
EXAMPLES = ["buy.py", "buy.mjs"]


def command(rig: Rig, example: str, folder: Path) -> list[str]:
    """As a caller would start it, in a folder where the packages are installed."""
    shutil.copy(ROOT / "docs" / example, folder)
    if example == "buy.py":
        return [str(rig.installed.python), example]
    (folder / "node_modules").symlink_to(rig.installed.packages / "node_modules")
    return [str(rig.installed.node), example]


def key_of(payer: Payer) -> str:
    return "0x" + bytes(payer.account.key).hex()


def bought(rig: Rig, example: str, folder: Path, *, url: str, payer: Payer) -> dict[str, Any]:
    """What the example prints at the end."""
    done = subprocess.run(
        [*command(rig, example, folder), url, '{"colour": "blue"}'],
        cwd=folder,
        env={"PATH": os.defpath, "WALLET_KEY": key_of(payer)},
        capture_output=True,
        text=True,
        check=False,
        timeout=BUYING_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_example_prints_the_result_and_the_creator_gets_the_dollars(
    rig: Rig, shop: Creator, tmp_path: Path, example: str
) -> None:
    payer = rig.payer(A_DOLLAR)
    url = shop.url(shop.new_thing())

    told = bought(rig, example, tmp_path, url=url, payer=payer)

    assert told["receipt"]["paidUsdc"] == PRICE_MICROS / A_DOLLAR
    assert rig.chain.balance(payer.address) == A_DOLLAR - PRICE_MICROS


@pytest.mark.parametrize("example", EXAMPLES)
def test_answers_that_get_lost_are_asked_for_again_and_paid_once(
    rig: Rig, shop: Creator, tmp_path: Path, example: str
) -> None:
    payer = rig.payer(A_DOLLAR)
    url = shop.url(shop.new_thing())

    with forgetful(shop.product.url) as between:
        told = bought(rig, example, tmp_path, url=between.of(url), payer=payer)

    assert len(between.lost) == 2
    assert set(between.lost) <= {200, 202}, "both payments were taken"
    assert told["receipt"]["paidUsdc"] == PRICE_MICROS / A_DOLLAR
    assert rig.chain.balance(payer.address) == A_DOLLAR - PRICE_MICROS
