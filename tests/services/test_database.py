"""The connection: what a transaction may rely on."""

from sqlalchemy import text

from models.database import Database


def test_options_of_the_address_are_kept_beside_ours(database_url: str) -> None:
    separator = "&" if "?" in database_url else "?"
    url = database_url.replace("postgresql://", "postgresql+psycopg2://", 1)
    database = Database(f"{url}{separator}options=-c%20search_path%3Dpg_catalog")

    with database.transaction("test.options") as session:
        shown = {
            name: session.scalar(text(f"SHOW {name}"))
            for name in ("search_path", "TimeZone", "statement_timeout")
        }
    database.close()

    assert shown == {"search_path": "pg_catalog", "TimeZone": "UTC", "statement_timeout": "10s"}
