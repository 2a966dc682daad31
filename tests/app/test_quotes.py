"""What enters a quote, in figures worked out by hand: every part of the price has its share."""

from typing import Any

from services.jobs import prompts
from tests.app.contract import CheckedClient
from tests.support.configured import configured
from tests.support.life import Life

REQUEST = "Write a haiku about honest work."
OVERHEAD = 256
PRICE_LIST = {
    "MODEL_PRICES": '{"claude-sonnet-5-5": {"input": 3, "output": 15}}',
    "INFRA_MONTHLY_COST_USD": "70",
    "INFRA_MONTHLY_JOBS": "1000",
    "MARGIN_PCT": "12.5",
    "BTC_PRICE_USD_FALLBACK": "60000",
}


def test_infrastructure_margin_and_both_prompts_enter_a_quote_each_with_its_share(
    client: CheckedClient, life: Life
) -> None:
    view = configured(life, **PRICE_LIST).awaiting_work_payment(REQUEST)

    shown: dict[str, Any] = client.get(f"/api/jobs/{view.job.public_id}").json

    told = shown["pricingBreakdown"]
    system, user = prompts.load("worker").text, f"<request>\n{REQUEST}\n</request>"
    assert told["inputTokensBound"] == len(system.encode()) + len(user.encode()) + OVERHEAD
    # Whoever edits worker.txt works out what follows anew.
    assert told["inputTokensBound"] == 461 + 53 + OVERHEAD == 770
    assert told["outputTokensBound"] == 1024
    assert told["infraUsd"] == 0.07
    assert told["marginPct"] == 12.5
    # ((770 x 3 + 1024 x 15) / 10^6 + 0.07) x 1.125
    assert told["estimatedCostUsd"] == 0.09862875
    assert shown["workInvoice"]["amountSats"] == 165  # 164.38… at $60,000
