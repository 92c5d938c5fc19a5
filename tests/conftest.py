"""What all tests share: Hypothesis profiles, cases left to the slow tests, and the compiled device, built once for all
processes."""

import os
import time
from collections.abc import Callable, Iterator

import hypothesis
import pytest

from hw.config import Config
from model.contract import RxPolicy
from sim.engine import Engine, TxEngine, make_engine, make_tx_engine

hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, database=None, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--last-start", type=float, metavar="TIME", help="skip slow tests after TIME (seconds since 1970)")


@pytest.hookimpl(tryfirst=True)  # before -m "not slow" is looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`default_cases(n)`: the first case, the last and those evenly between are left in the default run."""
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("default_cases") and not item.get_closest_marker("slow"):
            tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for cases in tests.values():
        mark = cases[0].get_closest_marker("default_cases")
        assert mark
        (count,) = mark.args
        stay = {k * (len(cases) - 1) // max(count - 1, 1) for k in range(count)}
        for number, item in enumerate(cases):
            if number not in stay:
                item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: not _builds(item))


def _builds(item: pytest.Item) -> bool:
    """In the default run such tests come first: one process builds the devices while the others have work left."""
    engines = {"device_engine", "tx_device_engine"}
    return not item.get_closest_marker("slow") and not engines.isdisjoint(getattr(item, "fixturenames", ()))


def pytest_runtest_setup(item: pytest.Item) -> None:
    limit = item.config.getoption("--last-start")
    if limit is not None and item.get_closest_marker("slow") and time.time() > limit:
        pytest.skip("no time left for slow tests")


@pytest.fixture(scope="session")
def device_engine() -> Iterator[Callable[..., Engine]]:
    """`device_engine(width, connections=256, ...)`: RxDevice on engine "auto", reset; one a configuration."""
    engines: dict[Config, Engine] = {}

    def get(
        width: int, connections: int = 256, rx_policy: RxPolicy = Config.rx_policy, sbox: str = Config.sbox
    ) -> Engine:
        config = Config(width=width, connections=connections, rx_policy=rx_policy, sbox=sbox)
        if config not in engines:
            engines[config] = make_engine("auto", config)
        engines[config].reset()
        return engines[config]

    yield get
    for engine in engines.values():
        engine.close()


@pytest.fixture(scope="session")
def tx_device_engine() -> Iterator[Callable[..., TxEngine]]:
    """The same for TxDevice."""
    engines: dict[Config, TxEngine] = {}

    def get(width: int, connections: int = 256) -> TxEngine:
        config = Config(width=width, connections=connections)
        if config not in engines:
            engines[config] = make_tx_engine("auto", config)
        engines[config].reset()
        return engines[config]

    yield get
    for engine in engines.values():
        engine.close()
