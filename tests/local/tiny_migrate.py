# ruff: noqa: TID251, T201 - an entry point
"""Stands for the migrations: fails when it is told to."""

import os
import sys

print("migrating")
sys.exit(int(os.environ.get("MIGRATE_EXIT", "0")))
