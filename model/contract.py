"""The one table of constants that hardware, golden model and driver share.

Numbers and names only: no behaviour. The rules that use them are in docs/contract.md.
"""

from enum import IntEnum, StrEnum

IDENTIFICATION = 0x6B544C53  # "kTLS"
CONTRACT_VERSION = 1

# --- parse -----------------------------------------------------------------------------------------
HEADER_WINDOW = 128
"""Bytes of a frame the parser looks at: the first 20 bytes of the TCP header must lie within."""
MAX_VLAN_TAGS = 2
VLAN_ETHERTYPES = (0x8100, 0x88A8)
ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_IPV6 = 0x86DD
MAX_EXTENSION_HEADERS = 3
EXTENSION_HEADERS = (0, 43, 60)
"""IPv6 next-header values that are skipped: hop-by-hop, routing, destination options."""
PROTOCOL_TCP = 6
MAX_FRAME = 9216
"""A packet whose IP length ends beyond this byte of the frame is not handled."""

# --- TLS -------------------------------------------------------------------------------------------
HEADER_SIZE = 5
EXPLICIT_NONCE_SIZE = 8
TAG_SIZE = 16
TLS_VERSION_BYTES = 0x0303
MIN_LENGTH = {0x0303: 24, 0x0304: 17}
"""Smallest length field of a record header the device accepts, by protocol version."""
MAX_LENGTH = {0x0303: 16408, 0x0304: 16401}
MAX_RECORD = 16413
"""Largest record on the wire, header included: the reach of the wait for a late header."""

# --- lookup ----------------------------------------------------------------------------------------
HASH_WORDS = 10
HASH_BITS = 48
HASH_KEY_BITS = HASH_WORDS * 32 + HASH_BITS
WAYS = 4
STASH = 8
DEFAULT_HASH_KEY = int(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fad3f1b1c2a7e1"[:92], 16
) & ((1 << HASH_KEY_BITS) - 1)


def buckets(connections: int) -> int:
    """Buckets of each of the two hash tables: two slots a connection over both."""
    return max(connections // 4, 2)


# --- packets ---------------------------------------------------------------------------------------
class Status(IntEnum):
    """What the device did with a received packet, and why (descriptor field `status`)."""

    BYPASS = 0  # not TCP, no payload, SYN or RST, fragment, or no connection in the table
    DECRYPTED = 1
    BAD_CHECKSUM = 2  # of a connection in the table
    RETRANSMISSION = 3  # bears bytes already handled
    GAP = 4  # in a record that was given up, or shared by one and the record taken up behind it
    WAIT = 5  # behind a header that is missing
    OUT_OF_SYNC = 6
    BAD_HEADER = 7  # a record header outside the limits: out of sync from here
    AUTH_FAILED = 8  # a tag in this packet is wrong
    CONFLICT = 9  # contradicts a header that packets were marked on the strength of; nothing is marked any more
    CLOSED = 10  # would have been decrypted, but a tag of the connection was wrong before
    OVERLOAD = 11  # the crypto is behind: given up, from a place in it on


class RxPolicy(StrEnum):
    """How a receive device goes on behind a gap, and what it takes on trust."""

    PUBLISHED = "published"  # section 3: the rules as published
    KERNEL = "kernel"  # section 5: the kernel document's, with the trust rules
    FULL = "full"  # section 5: late packets, header log and self-proof as well


OPEN_RECORDS = 16
"""Records of a connection that are neither verified nor acknowledged, at one time."""
HOLES = 16
"""Ranges of a connection that have not passed yet, below what has."""
CHAINS = 4
"""Chains of headers of a connection beyond its frontier."""
GAPS = 4
"""Headers of a connection passed over on the strength of a self-proof."""
REACH = 3 << 29
"""A packet of a connection that ends this far past what the host has acknowledged, or farther, is of no window: TCP's
is 2^30 at most, and the driver tells the device of acknowledgements every ACK_INTERVAL bytes at least."""
ACK_INTERVAL = 1 << 28


class Checksum(IntEnum):
    """Descriptor field `checksum`: IPv4 header and TCP checksum together."""

    NONE = 0  # not a complete, unfragmented TCP packet the parser understands
    GOOD = 1
    BAD = 2  # wrong, or the frame ends before the IP packet does


# --- commands --------------------------------------------------------------------------------------
class Opcode(IntEnum):
    ADD = 1
    DEL = 2
    RESYNC = 3
    QUERY = 4
    READ = 5
    SEED = 6
    ACK = 7


class Result(IntEnum):
    """Status of a command's response."""

    OK = 0
    NO_SPACE = 1
    EXISTS = 2
    STALE_HANDLE = 3
    UNSUPPORTED = 4
    IGNORED = 5  # RESYNC of a connection in sync, or to a place already passed
    BAD_COMMAND = 6


INDEX_BITS = 16
GENERATION_BITS = 8
"""A handle is generation << INDEX_BITS | index."""

# READ address space, one 64-bit word an address
READ_IDENTIFICATION = 0
READ_VERSION = 1
READ_WIDTH = 2
READ_CONNECTIONS = 3
READ_CIPHERS = 4  # bit 0: AES-128-GCM, bit 1: AES-256-GCM; bit 8: TLS 1.2, bit 9: TLS 1.3
READ_FREE = 5  # handles free
READ_POLICY = 6  # place in RxPolicy
READ_COUNTERS = 16  # + counter number
CIPHERS = 0x303

COUNTERS = (*(s.name.lower() for s in Status if s is not Status.OVERLOAD), "decrypted_bytes", "overload")
"""Counters in order of their READ number: packets by status, TCP payload bytes of decrypted packets; OVERLOAD."""


# --- transmit --------------------------------------------------------------------------------------
class TxKind(IntEnum):
    """What the driver asks of a frame (docs/contract-tx.md, section 1)."""

    PASS = 0
    STREAM = 1
    REPLAY = 2
    RETRANSMIT = 3
    PREFIX = 4


class TxStatus(IntEnum):
    """What became of it (docs/contract-tx.md, section 2)."""

    PASSED = 0
    ENCRYPTED = 1
    REPLAYED = 2
    DROPPED_MALFORMED = 3
    DROPPED_HANDLE = 4
    DROPPED_SEQUENCE = 5
    DROPPED_HEADER = 6
    DROPPED_TAG = 7


TAG_RING = 8
"""Tags of complete records a connection keeps for retransmission."""
MAX_SEGMENTED = 65535
"""Largest IP packet that is cut into segments."""

TX_COUNTERS = tuple(s.name.lower() for s in TxStatus) + ("encrypted_bytes",)
