"""What LNbits takes off money that comes in, which its balance does not have."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_TAKEN_OFF = {
    "receipts": "what LNbits took off it: our cost, never the caller's",
    "wallet_moves": "what LNbits took off what came in: our cost",
}


def upgrade() -> None:
    for table, comment in _TAKEN_OFF.items():
        op.add_column(
            table,
            sa.Column(
                "fee_msats",
                sa.BigInteger(),
                server_default="0",
                nullable=False,
                comment=comment,
            ),
        )
        op.create_check_constraint(op.f(f"ck_{table}_fee_not_negative"), table, "fee_msats >= 0")
