"""An independent auditor: beancount, which shares no code with us, reads the exported ledger."""

from beancount import loader

from services.money import audit_trail
from services.toolbox import Toolbox


def complaints(tools: Toolbox) -> list[str]:
    """What ``bean-check`` finds wrong with the books of this database; empty = nothing."""
    _, errors, _ = loader.load_string("".join(audit_trail.lines(tools)))
    return [str(error.message) for error in errors]
