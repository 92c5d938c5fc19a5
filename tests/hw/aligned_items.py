"""Aligned items as Dealign and Merge take them."""


def random_frame(rng, width, beats):
    """Aligned items (frame position of byte 0, data, mask) that come as Dealign asks, of a frame of `beats` beats."""
    items, taken, floor = [], set(), 0
    start = rng.randrange(-width + 1, 2 * width)
    while start // width < beats:
        for _ in range(rng.choice([1, 1, 2, 3, 8])):
            wanted = rng.choice([0, rng.getrandbits(width), (1 << width) - 1, 1, 1 << width - 1])
            mask = 0
            for k in range(width):
                place = start + k
                if wanted >> k & 1 and place >= floor * width and place not in taken and 0 <= place:
                    mask |= 1 << k
                    taken.add(place)
            part = bytes(rng.randrange(1, 256) if mask >> k & 1 else 0 for k in range(width))
            items.append((start, part, mask))
            floor = max(floor, start // width)
            start += width
        # the next fragment: in the same beat or the one below, or some way on
        start = start - width + rng.choice([0, 1, 5, width, width + 3, 2 * width, 3 * width + 1, 5 * width])
        if start // width == floor and floor > 0 and rng.random() < 0.3:
            start -= width
        start = max(start, -width + 1)
    return items


def item(config, start, part, mask):
    width = config.width
    return {
        "rotate": start % width,
        "beat": (start // width) % (1 << config.pointer_bits),
        "data": int.from_bytes(part, "little"),
        "mask": mask,
    }
