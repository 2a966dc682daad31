"""The entry point of the web process: ``gunicorn app.wsgi:app``."""

import os
import sys

from app.factory import create_app
from config import logs
from config.settings import Settings, SettingsError
from models import schema
from services import toolbox
from services.operate import startup
from services.toolbox import Role, Toolbox


def _equip() -> Toolbox:
    try:
        tools = toolbox.build(Settings.load(os.environ), Role.WEB)
        startup.check(tools)
    except SettingsError as error:
        sys.exit(f"Cannot start:\n{error}")
    return tools


_tools = _equip()
logs.set_up(_tools.settings.log_format)
app = create_app(_tools, schema_revision=schema.HEAD)
