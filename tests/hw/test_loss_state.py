"""What docs/architecture.md says a connection takes is what it takes."""

import re
from pathlib import Path

from hw.loss_state import chain_layout, entry_layout, gap_layout, slot_layout
from model.contract import CHAINS, GAPS, HOLES, OPEN_RECORDS

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"


def test_table_of_bits():
    rows = {
        "connection": (1, entry_layout.size),
        "records": (OPEN_RECORDS, slot_layout.size),
        "sums": (OPEN_RECORDS, 128),
        "holes": (HOLES, 64),
        "chains": (CHAINS, chain_layout.size),
        "gaps": (GAPS, gap_layout.size),
        "closed": (1, 1),
    }
    text = PAGE.read_text().replace(",", "")
    for name, (count, bits) in rows.items():
        assert re.search(rf"^\| {name}\b[^|]*\| {count} \| {bits} \| {count * bits} \|$", text, re.MULTILINE), name
    total = sum(count * bits for count, bits in rows.values())
    assert f"| in all | | | {total} |" in text
