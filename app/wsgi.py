"""The entry point of the web process: ``gunicorn app.wsgi:app``."""

import os
import sys

from app.factory import create_app
from config import garbage, logs
from config.settings import Settings, SettingsError
from models import schema
from services import toolbox
from services.operate import startup
from services.toolbox import Role, Toolbox

GUNICORN_GIVES_UP = 3
"""With this exit code of a worker gunicorn ends as well; else it would start another, for ever."""


def _equip() -> Toolbox:
    try:
        tools = toolbox.build(Settings.load(os.environ), Role.WEB)
        startup.check(tools)
        startup.check_stored(tools)
    except SettingsError as error:
        sys.stderr.write(f"Cannot start:\n{error}\n")
        sys.exit(GUNICORN_GIVES_UP)
    return tools


_tools = _equip()
logs.set_up(_tools.settings.log_format)
app = create_app(_tools, schema_revision=schema.HEAD)
garbage.settle()
