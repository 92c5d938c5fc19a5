"""What the published tracker keeps of a connection."""

from amaranth.lib import data

from hw.search import TAIL
from hw.walk import position_layout

entry_layout = data.StructLayout({
    "tls13": 1,
    "expected": 32,
    "seen": 32,
    "out_of_sync": 1,
    "skipping": 1,
    "at": position_layout,  # out of sync: in the chain of headers, `number` counts its records
    "tracking": 1,  # a chain of headers, which begins at `guess`
    "guess": 32,
    "tail_valid": 1,
    "tail": 8 * TAIL,  # the last bytes searched
})  # fmt: skip
