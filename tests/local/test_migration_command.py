"""``make migration``: what it runs, in a copy of the folders that it reads and writes."""

import shutil
import subprocess
import sys
from pathlib import Path

from local.environment import ROOT


def test_a_new_migration_gets_the_next_number_and_finds_nothing_to_change(
    tmp_path: Path, database_url: str
) -> None:
    for folder in ("config", "models"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    versions = tmp_path / "models/migrations/versions"
    before = set(versions.glob("*.py"))

    done = subprocess.run(
        [
            *(sys.executable, "-m", "alembic", "revision"),
            *("--autogenerate", "--message", "add a table"),
        ],
        cwd=tmp_path,
        env={"DATABASE_URL": database_url},
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    (made,) = set(versions.glob("*.py")) - before
    assert made.name == f"{len(before) + 1:04d}_add_a_table.py"
    assert "op." not in made.read_text(), "the tables of models/ differ from the migrations"
