"""What no log may hold: what was said in confidence, and the keys of a deployment."""

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Text, cast, func, select, union

from config.settings import STAND_IN_INVOICE_KEY, Settings
from models.attempt import Attempt
from models.database import Database
from models.demo_run import DemoRun
from models.job import Job
from models.refund_destination import RefundDestination
from models.resource import ResourceVersion
from models.run import Run
from services.toolbox import webhook_token
from tests.support.canary import RECOGNISABLE

_COLUMNS: tuple[Any, ...] = (
    *(Job.request, Job.caller_metadata, Job.reason, Job.result, RefundDestination.address),
    *(DemoRun.request, DemoRun.result, Attempt.answer, Attempt.refusal),
    *(Run.inputs, Run.result, Run.payment),
    *(ResourceVersion.system_prompt, ResourceVersion.content, ResourceVersion.upstream_url),
)
_EVERYTHING = union(
    *(select(cast(func.to_jsonb(column), Text)).where(column.is_not(None)) for column in _COLUMNS)
)
"""As JSON, in one statement: every test asks for it."""
PUBLIC = frozenset({"eip155:84532", "eip155:8453", "base-sepolia", "application/json"})
"""Words inside of payments and results that anybody may say."""


def confidential_in(database: Database, settings: Settings) -> set[str]:
    """What a log of this deployment must not hold, by what its tables hold now."""
    return texts_in(database) | keys_in(settings)


def texts_in(database: Database) -> set[str]:
    """Requests and results, addresses, prompts and contents, inputs and payments: what is long."""
    with database.reading("test.confidential") as session:
        kept = session.scalars(_EVERYTHING).all()
    found = {text for value in kept for text in _strings(json.loads(value))}
    return {text for text in found if len(text) >= RECOGNISABLE} - PUBLIC


def keys_in(settings: Settings) -> set[str]:
    """Whatever opens something for whoever holds it."""
    given = (
        *(settings.ops_token, settings.anthropic_api_key, settings.openai_api_key),
        *(settings.lnbits_invoice_key, settings.lnbits_admin_key),
        *(settings.vault_keys or ()),
    )
    token = webhook_token(settings.lnbits_invoice_key or STAND_IN_INVOICE_KEY)
    return {key for key in (*given, token) if key and len(key) >= RECOGNISABLE}


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in _inside(value):
        yield from _strings(inner)


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
