"""The same deployment with other variables in its environment, read as at a start."""

from config.settings import Settings
from services import toolbox
from services.toolbox import Role
from tests.support.creators import OPS_TOKEN, VAULT_KEY
from tests.support.life import Life


def configured(life: Life, **environ: str) -> Life:
    """The database, and who is rung for, stay the test's own."""
    ours = life.tools.settings
    settings = Settings.load(
        {
            "DATABASE_URL": ours.database_url,
            "REDIS_URL": ours.redis_url,
            "STAND_IN_URL": ours.stand_in_url or "",
            "VAULT_KEYS": VAULT_KEY,
            "OPS_TOKEN": OPS_TOKEN,
            **environ,
        }
    )
    built = toolbox.build(settings, Role.MONEY)
    tools = built.with_(database=life.tools.database, doorbell=life.doorbell)
    return Life(tools, life.doorbell, life.stand_in)
