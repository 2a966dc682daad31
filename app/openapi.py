"""Print the OpenAPI document: ``python -m app.openapi``. Needs no server and no environment."""

import json
import sys
from typing import Any

from app.api import document
from app.factory import create_app
from config.settings import Settings
from services import toolbox
from services.toolbox import Role

NOWHERE = {
    "DATABASE_URL": "postgresql://nowhere",
    "REDIS_URL": "redis://nowhere",
    "STAND_IN_URL": "http://nowhere",
}


def with_defaults() -> dict[str, Any]:
    """The document of a deployment that changes no limit."""
    tools = toolbox.build(Settings.load(NOWHERE), Role.WEB)
    app = create_app(tools, schema_revision="")
    return document.published(app.extensions["openapi"])


def main() -> None:
    sys.stdout.write(json.dumps(with_defaults(), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
