"""What happens in lives of every kind: workers work, time passes, the world misbehaves."""

from local.stand_in.faults import Fault, FaultKind
from tests.matrix.stage import Act, Stage

FOR_EVER = 99


def work(stage: Stage) -> None:
    stage.work()


def later(stage: Stage) -> None:
    stage.later()


def tend(stage: Stage) -> None:
    """More time passes, until nothing is due."""
    stage.tend()


def arm(target: str, kind: FaultKind, **details: object) -> Act:
    fault = Fault.model_validate({"target": target, "kind": kind, "times": FOR_EVER, **details})
    return lambda stage: stage.world.arm(fault)


def disarm(stage: Stage) -> None:
    stage.world.disarm()
