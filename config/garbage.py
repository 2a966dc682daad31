"""The garbage collector of a process that has started."""

import gc

ALLOCATIONS = 20_000
"""Before it looks at the young ones; Python's own hundreds are less than one request makes."""


def settle() -> None:
    """What was loaded stays for good: never look at it again, and at the rest less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS, 20, 20)
