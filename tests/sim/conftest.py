"""The recorded sessions, read once."""

from pathlib import Path

import pytest

from sim.capture import Capture, read_capture
from sim.secrets import KeyLog

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
NAMES = sorted(p.stem for p in CAPTURES.glob("*.pcap"))


def key_log_of(name: str) -> KeyLog:
    log = KeyLog()
    path = CAPTURES / f"{name}.keys"
    log.add(path.read_text(), path.name)
    return log


@pytest.fixture(scope="session")
def captures() -> Path:
    return CAPTURES


@pytest.fixture
def clean13() -> Capture:
    return read_capture(CAPTURES / "tls13-aes128-clean.pcap")
