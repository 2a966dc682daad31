"""How a route reaches the toolbox of its process."""

from typing import cast

from flask import Flask, current_app

from app.waiting import KEY_CHECKS, Turnstile, WaitingRoom
from services.toolbox import Toolbox


def install(app: Flask, tools: Toolbox) -> None:
    app.extensions["toolbox"] = tools
    app.extensions["waiting_room"] = WaitingRoom()
    app.extensions["turnstile"] = Turnstile()
    app.extensions["key_checks"] = Turnstile(KEY_CHECKS, in_line=0)


def tools() -> Toolbox:
    return cast("Toolbox", current_app.extensions["toolbox"])


def waiting_room() -> WaitingRoom:
    return cast("WaitingRoom", current_app.extensions["waiting_room"])


def turnstile() -> Turnstile:
    return cast("Turnstile", current_app.extensions["turnstile"])


def key_checks() -> Turnstile:
    """To the providers of creators' keys; whoever goes through sits in the waiting room, too."""
    return cast("Turnstile", current_app.extensions["key_checks"])
