"""Byte shifters and masks: the one place where the frame's bytes meet the record's grid."""

from amaranth.hdl import Cat, Const, Mux, Signal


def shift_right_bytes(value, amount, result_bytes: int):
    """Bytes [amount, amount + result_bytes) of `value`, one layer of multiplexers for each bit of `amount`."""
    for bit in reversed(range(len(amount))):
        step = 8 << bit
        keep = 8 * result_bytes + 8 * ((1 << bit) - 1)
        value = Mux(amount[bit], value[step:], value)[:keep]
    return value[: 8 * result_bytes]


def rotate_left_bytes(value, amount, unit: int = 8):
    """`value` rotated so that byte j (of `unit` bits) goes to byte (j + amount) modulo its size (a power of two)."""
    for bit in range(len(amount)):
        step = unit << bit
        value = Mux(amount[bit], Cat(value[-step:], value[:-step]), value)
    return value


def rotate_right_bytes(value, amount):
    """`value` rotated so that byte (j + amount) modulo its size goes to byte j."""
    for bit in range(len(amount)):
        step = 8 << bit
        value = Mux(amount[bit], Cat(value[step:], value[:step]), value)
    return value


def clipped(bound, width: int):
    """The signed `bound`, or the nearest of 0 and `width`."""
    return Mux(bound < 0, 0, Mux(bound > width, width, bound))[: width.bit_length()]


def clipped_to_power(bound, width: int):
    """`clipped` for a `width` that is a power of two, in fewer levels of logic."""
    bits = (width - 1).bit_length()
    return Mux(bound[-1], 0, Mux(bound[bits:-1].any(), width, bound[:bits]))


def bytes_below(m, bound, width: int) -> Signal:
    """Mask of `width` bits, ones below `bound`, 0 to `width`."""
    mask = Signal(width)
    m.d.comb += mask.eq((Const(1, width + 1) << bound) - 1)
    return mask


def thermometer(bound):
    """Mask of ones below `bound`, as wide as it may be, without a carry."""
    mask = bound[0]
    for bit in bound[1:]:
        mask = Cat(mask | bit.replicate(len(mask)), bit, mask & bit.replicate(len(mask)))
    return mask


def byte_mask(mask):
    """Each bit of `mask` as eight."""
    return Cat(bit.replicate(8) for bit in mask)
