"""Bare `ktls-nic bench`: every case in parallel through joblib, here or on a Dask cluster."""

import importlib
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import joblib

from sim.bench_cases import Case, Measured, Told, measure_case
from sim.bench_rows import Figure, counted
from sim.errors import InputError

Progress = Callable[[str, int, int], None]
SCHEDULER_TIMEOUT = 10
"""Seconds to wait for the Dask scheduler's answer."""


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _workers(jobs: int | None, dask: str | None) -> Generator[int]:
    """Where joblib runs its jobs; how many at a time, -1 for all the cluster has."""
    if dask is None:
        with joblib.parallel_config(backend="loky"):
            yield jobs or cores()
        return
    try:
        distributed = importlib.import_module("distributed")
    except ImportError:
        raise InputError(
            "--dask needs Dask, which is not installed. The dependency group cluster has it:\n"
            f"  {sys.executable} -m pip install -c constraints.txt --group cluster"
        ) from None
    try:
        client = distributed.Client(dask, timeout=SCHEDULER_TIMEOUT)
    except (OSError, ValueError) as e:
        raise InputError(f"no Dask scheduler answers at {dask}: {e}") from None
    with client, joblib.parallel_config(backend="dask"):
        yield jobs or -1


def measure_all(
    cases: Sequence[Case],
    told: Told,
    jobs: int | None = None,
    dask: str | None = None,
    progress: Progress | None = None,
    measure: Callable[[Case, Told], Measured] = measure_case,
) -> list[Measured]:
    """What came of each case, in their order.

    Parameters
    ----------
    cases : sequence of Case
    told : Told
        How each is run.
    jobs : int | None
        At a time; None: as many as there are cores, or all that the cluster has.
    dask : str | None
        Address of a Dask scheduler, whose workers have the project installed; None: processes here.
    progress : Progress | None
        Told what is done, how many cases, and of how many.
    measure : callable
        What runs one case; it must not raise. A case whose process dies is a failure as well.

    Raises
    ------
    InputError
        Dask is wanted and not installed, or nothing answers at its address.
    """
    tell = progress or (lambda text, done, total: None)
    tell("building models that are not in the cache", 0, len(cases))
    found: dict[Case, Measured] = {}
    lost = "its process ended without an answer"
    with _workers(jobs, dask) as count:
        parallel: Any = joblib.Parallel(n_jobs=count, return_as="generator_unordered")
        try:
            for one in parallel(joblib.delayed(measure)(case, told) for case in cases):
                found[one.case] = one
                tell(one.case.name, len(found), len(cases))
        except Exception as e:  # noqa: BLE001 -- what joblib says of a worker that died; the rows say so
            lost = f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else lost}"
    return [found.get(case) or Measured(case, failure=lost) for case in cases]


def bench_json(measured: Sequence[Measured], rows: Sequence[Figure], **settings: object) -> dict[str, object]:
    """The object of docs/json.md."""
    return {
        **settings,
        "summary": counted(rows),
        "rows": [row.json() for row in rows],
        "cases": [m.json() for m in measured],
    }
