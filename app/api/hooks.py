"""Nudges from outside. They are believed in nothing: they only make us look sooner."""

import hmac
from http import HTTPStatus

from flask import Blueprint

from app import context
from config.queues import TaskName
from services.errors import ErrorCode, NotFound
from services.operate import ticks
from services.toolbox import WEBHOOK_PATH

hooks = Blueprint("hooks", __name__)


@hooks.post(f"{WEBHOOK_PATH}<string:token>")
def lnbits_paid(token: str) -> tuple[str, HTTPStatus]:
    """LNbits says that something was paid. Its body is not read; the feed is, soon."""
    tools = context.tools()
    if not hmac.compare_digest(token.encode(), tools.webhook_token.encode()):
        raise NotFound("There is nothing at this address.", code=ErrorCode.NOT_FOUND)
    ticks.hurry(tools, TaskName.POLL_PAYMENTS)
    return "", HTTPStatus.NO_CONTENT
