# ruff: noqa: T201 - prints its figures
"""``python -m bench.many_jobs``: many jobs at once through a product that `make run` started.

Prints one JSON object: how long everything took, and how long single requests did, in milliseconds.
"""

import argparse
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any, TypeVar

import requests

TIMEOUT_SECONDS = 60
GIVE_UP_SECONDS = 600
LOOK_EVERY_SECONDS = 0.2

Job = dict[str, Any]
T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Stopwatch:
    """Milliseconds by what was done. Threads may share one."""

    taken: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def time(self, what: str, act: Callable[[], requests.Response]) -> Job:
        began = time.perf_counter()
        answer = act()
        self.taken[what].append((time.perf_counter() - began) * 1000)
        answer.raise_for_status()
        return dict(answer.json())

    def figures(self) -> dict[str, dict[str, float]]:
        return {what: _figures(values) for what, values in self.taken.items()}


def _figures(values: list[float]) -> dict[str, float]:
    cuts = quantiles(values, n=100, method="inclusive")
    return {"n": len(values), "p50": round(cuts[49], 1), "p99": round(cuts[98], 1)}


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """Callers who all do the same at the same time."""

    base: str
    at_a_time: int
    watch: Stopwatch

    def all_do(self, act: Callable[[T], R], items: Iterable[T]) -> list[R]:
        with ThreadPoolExecutor(self.at_a_time) as threads:
            return list(threads.map(act, items))

    def create(self, number: int) -> Job:
        body = {"request": f"Name a virtue of number {number}."}
        return self._post("POST /api/jobs", "/api/jobs", body)

    def pay_eval(self, job: Job) -> None:
        self._pay(job["evalInvoice"])

    def pay_work(self, job: Job) -> None:
        self._pay(job["workInvoice"])

    def wait_for(self, state: str) -> Callable[[Job], Job]:
        """A reader who looks until the job is there. Raises TimeoutError."""
        deadline = time.monotonic() + GIVE_UP_SECONDS
        pause = threading.Event()

        def look(job: Job) -> Job:
            while (seen := self._read(job))["state"] != state:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"a job stays {seen['state']}")
                pause.wait(LOOK_EVERY_SECONDS)
            return seen

        return look

    def _read(self, job: Job) -> Job:
        url = f"{self.base}/api/jobs/{job['jobId']}"
        return self.watch.time("GET job", lambda: requests.get(url, timeout=TIMEOUT_SECONDS))

    def _pay(self, invoice: Job) -> None:
        self._post("pay", f"/api/dev/stub/pay/{invoice['paymentHash']}")

    def _post(self, what: str, path: str, body: Job | None = None) -> Job:
        url = self.base + path
        return self.watch.time(what, lambda: requests.post(url, json=body, timeout=TIMEOUT_SECONDS))


def measure(crowd: Crowd, jobs: int) -> dict[str, Any]:
    """Take so many jobs from request to result; seconds of each part, and of all."""
    marks = [time.perf_counter()]

    def mark() -> float:
        marks.append(time.perf_counter())
        return round(marks[-1] - marks[-2], 2)

    created = crowd.all_do(crowd.create, range(jobs))
    seconds = {"create": mark()}
    crowd.all_do(crowd.pay_eval, created)
    quoted = crowd.all_do(crowd.wait_for("awaiting_work_payment"), created)
    seconds["payAndEvaluate"] = mark()
    crowd.all_do(crowd.pay_work, quoted)
    crowd.all_do(crowd.wait_for("complete"), quoted)
    seconds["payAndExecute"] = mark()
    whole = marks[-1] - marks[0]
    return {
        "jobs": jobs,
        "atATime": crowd.at_a_time,
        "jobsPerSecond": round(jobs / whole, 1),
        "seconds": seconds,
        "milliseconds": crowd.watch.figures(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.many_jobs", description=__doc__)
    parser.add_argument("--base", default="http://127.0.0.1:8000")
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--at-a-time", type=int, default=12)
    options = parser.parse_args()
    crowd = Crowd(base=options.base, at_a_time=options.at_a_time, watch=Stopwatch())
    print(json.dumps(measure(crowd, options.jobs), indent=1))


if __name__ == "__main__":
    main()
