"""TCP sequence numbers (RFC 9293, section 3.4: modulo 2^32)."""


def after(later, earlier):
    """`later` lies past `earlier`."""
    difference = (later - earlier)[:32]
    return (difference != 0) & ~difference[31]


def from_on(place, start):
    """`place` is `start` or past it."""
    return ~(place - start)[31]
