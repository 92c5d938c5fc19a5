"""AES-GCM encryption vectors through the transmit rooms: where they come from, and how one becomes streams.

Each vector is a record of a connection of its own: plaintext and 16 bytes of anything, cut into frames anywhere, frames
of all vectors in random order. A frame has nothing before the fragment but bytes of no record. Out of the rooms come
keystream and tags by their places in the frame, and its checksum. The AAD, which no frame bears, may have any number
of blocks; one of none has a block of zeros, which adds nothing to the hash.

Of the 23,625 vectors of NIST CAVP gcmEncryptExtIV{128,192,256}.rsp (package cryptography-vectors) 5,250 can be put
so: those with a 96-bit IV and a key of 128 or 256 bits. 750 of them have a whole tag, of 4,500 the tag is the first
4 to 15 bytes of it. The rest is not applicable: keys of 192 bits (7,875) and IVs of 8 and 1,024 bits (10,500) are not
TLS's. None can be sent through the whole device: its AAD is the 13 or 5 bytes of a record header, theirs has 0, 16, 20,
48 or 90 bytes.
"""

import random
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts, tx_layouts
from hw.config import Config
from hw.encrypt import Encrypt
from hw.ghash import Ghash
from hw.keystream import Keystream
from hw.seal import Seal
from tests.hw.gcm_vectors import little, padded, wycheproof


@dataclass(frozen=True)
class Vector:
    """A message to encrypt. `tag` may be only the first bytes of it."""

    name: str
    key: bytes
    iv: bytes
    aad: bytes
    plaintext: bytes
    ciphertext: bytes
    tag: bytes


def nist(key_bits: int) -> list[Vector]:
    """NIST CAVP GCM encryption, IV 96 bits."""
    name = f"gcmEncryptExtIV{key_bits}.rsp"
    text = (files("cryptography_vectors") / "ciphers" / "AES" / "GCM" / name).read_text()
    sizes, vectors = {}, []
    for paragraph in text.split("\n\n"):
        lines = [line.strip() for line in paragraph.splitlines() if line and not line.startswith("#")]
        if not lines:
            continue
        if lines[0].startswith("["):
            sizes = dict(line.strip("[]").split(" = ") for line in lines)
        elif sizes["IVlen"] == "96":
            field = dict((line + " ").split(" = ") for line in lines)
            value = {k: bytes.fromhex(v) for k, v in field.items() if k != "Count"}
            where = f"{name} tag {sizes['Taglen']} AAD {sizes['AADlen']} PT {sizes['PTlen']} {field['Count'].strip()}"
            parts = (value[k] for k in ("Key", "IV", "AAD", "PT", "CT", "Tag"))
            vectors.append(Vector(where, *parts))
    return vectors


def wycheproof_valid() -> list[Vector]:
    """Those of Project Wycheproof's vectors that say what a message encrypts to."""
    return [
        Vector(v.name, v.key, v.iv, v.aad, v.plaintext, v.ciphertext, v.tag)
        for v in wycheproof()
        if v.plaintext is not None
    ]


class SealingRooms(wiring.Component):
    """Keystream, encrypt, GHASH and seal as in `hw.tx_device`; nothing enters before the keys are there.

    Members
    -------
    expected : In(16)    key operations since reset after which requests and beats may enter, not 0
    keys, requests, plain, items : In(stream)
    keystream, patches, orders : Out(stream)
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "expected": In(16),
            "keys": In(stream.Signature(layouts.key_operation(config))),
            "requests": In(stream.Signature(layouts.keystream_request(config))),
            "plain": In(stream.Signature(tx_layouts.plain_beat(config))),
            "items": In(stream.Signature(tx_layouts.seal_item(config))),
            "keystream": Out(stream.Signature(layouts.aligned_beat(config))),
            "patches": Out(stream.Signature(layouts.aligned_beat(config))),
            "orders": Out(stream.Signature(tx_layouts.finish_order(config))),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.keystream = keystream = Keystream(self._config)
        m.submodules.encrypt = encrypt = Encrypt(self._config)
        m.submodules.ghash = ghash = Ghash(self._config)
        m.submodules.seal = seal = Seal(self._config)
        count = Signal(16)
        m.d.sync += count.eq(count + ghash.done)
        loaded = (count == self.expected) & (self.expected != 0)
        for outer, inner in (self.requests, keystream.i), (self.plain, encrypt.i):
            m.d.comb += [
                inner.p.eq(outer.p),
                inner.valid.eq(outer.valid & loaded),
                outer.ready.eq(inner.ready & loaded),
            ]
        for source, sink in (
            (wiring.flipped(self.keys), keystream.keys),
            (keystream.subkey, ghash.subkeys),
            (keystream.o, encrypt.keystream),
            (keystream.j0, seal.j0),
            (encrypt.o, ghash.i),
            (encrypt.delta, seal.delta),
            (encrypt.aligned, wiring.flipped(self.keystream)),
            (ghash.o, seal.hash),
            (wiring.flipped(self.items), seal.i),
            (seal.patches, wiring.flipped(self.patches)),
            (seal.orders, wiring.flipped(self.orders)),
        ):
            wiring.connect(m, source, sink)
        return m


def word_sum(frame: bytes) -> int:
    """Ones' complement sum of big-endian words."""
    return sum(int.from_bytes(frame[k : k + 2].ljust(2, b"\0"), "big") for k in range(0, len(frame), 2)) % 0xFFFF


@dataclass
class _Frame:
    """Bytes [start, end) of a vector's plaintext and tag, behind `before`. `owner` is the vector."""

    owner: int
    before: bytes
    start: int
    end: int
    given: bytes


class Streams:
    """Vectors as payloads of the streams of `SealingRooms`, and what comes out put together again.

    Vector k has index k, so there may be as many as the configuration has connections.
    """

    def __init__(self, vectors: list[Vector], config: Config, *, seed: int = 0, cuts: int = 2):
        assert len(vectors) <= config.connections
        self.vectors = vectors
        self._config = config
        self._rng = random.Random(seed)
        self.keys: list[dict] = []
        self.requests: list[dict] = []
        self.plain: list[dict] = []
        self.items: list[dict] = []
        self._nonces = [self._rng.randbytes(8) for _ in vectors]
        self._replay = [self._rng.randrange(2) for _ in vectors]
        for index, (vector, nonce) in enumerate(zip(vectors, self._nonces, strict=True)):
            iv = bytes(a ^ b for a, b in zip(vector.iv, bytes(4) + nonce, strict=True))
            self.keys.append({
                "index": index, "aes256": len(vector.key) == 32, "key": little(vector.key), "iv": little(iv),
                "derive": 1,
            })  # fmt: skip
        owners = [index for index in range(len(vectors)) for _ in range(self._rng.randrange(cuts + 1) + 1)]
        self._rng.shuffle(owners)
        waiting = [self._pieces(index, vector, owners.count(index)) for index, vector in enumerate(vectors)]
        self._frames = [waiting[owner].pop(0) for owner in owners]
        for frame in self._frames:
            self._add(frame)

    def _pieces(self, index: int, vector: Vector, count: int) -> list[_Frame]:
        rng = self._rng
        wire = vector.plaintext + rng.randbytes(16)
        cuts = sorted(rng.sample(range(1, len(wire)), count - 1))
        return [
            _Frame(index, rng.randbytes(rng.randrange(90)), a, b, wire[a:b]) for a, b in pairwise([0, *cuts, len(wire)])
        ]

    def _add(self, frame: _Frame) -> None:
        """A frame's beats as align makes them: the fragment's last block in the last lane of the last beat."""
        width, lanes = self._config.width, self._config.lanes
        vector, index = self.vectors[frame.owner], frame.owner
        size = len(vector.plaintext)
        aad = padded(vector.aad) or bytes(16)
        lengths = (8 * len(vector.aad)).to_bytes(8, "big") + (8 * size).to_bytes(8, "big")
        lead = len(aad) // 16  # blocks in front of the body
        length_block = lead + -(-size // 16)
        has_length = frame.start <= size < frame.end
        begins = frame.start == 0
        first = 0 if begins else lead + frame.start // 16
        last = length_block if frame.end > size else lead + (frame.end - 1) // 16
        beats = -(-(last - first + 1) // lanes)
        lane0 = last + 1 - lanes * beats

        # the fragment by its place among the blocks
        origin = 16 * lane0  # of the first beat
        shown, tags, mask = bytearray(width * beats), bytearray(width * beats), 0
        if begins:
            shown[-origin : len(aad) - origin] = aad
        for place, byte in enumerate(frame.given, frame.start):
            at = 16 * lead + place - origin
            if place < size:
                shown[at], mask = byte, mask | 1 << at
            else:
                tags[at] = byte
        if has_length:
            shown[-16:] = lengths
        start = len(frame.before) + origin - 16 * lead - frame.start  # in the frame
        for number in range(beats):
            part = slice(width * number, width * (number + 1))
            at = start + width * number
            j0 = lead - 1 - lane0 - lanes * number
            self.requests.append({
                "end": 0, "index": index, "nonce": little(self._nonces[index]),
                "counter": (lane0 + lanes * number - lead + 2) % 0x10000,
                "j0_lanes": 1 << j0 if begins and 0 <= j0 < lanes else 0,
                "mask": mask >> width * number & ((1 << width) - 1),
                "rotate": at % width, "beat": at // width % (1 << self._config.pointer_bits),
            })  # fmt: skip
            self.plain.append({
                "end": 0, "index": index, "blocks": little(shown[part]), "tag": little(tags[part]), "odd": at & 1,
                "first": number == 0, "last": number == beats - 1,
                "left": min(beats - 1 - number, layouts.GHASH_STRIDE),
                "exponent": length_block + 1 - last if number == 0 else 0,
            })  # fmt: skip
        self.requests.append({"end": 1})
        self.plain.append({"end": 1})
        completes = frame.end == size + 16
        replay = self._replay[index]
        self.items.append({
            "end": 0, "index": index, "has_j0": begins, "continues": not begins, "completes": completes,
            "replay": replay, "record_number": index,
            "tag_first": max(frame.start - size, 0), "tag_end": max(frame.end - size, 0),
            "tag_position": (len(frame.before) + size - frame.start) % (1 << (layouts.OFFSET_BITS + 1)),
        })  # fmt: skip
        total = word_sum(frame.before + frame.given) or 0xFFFF
        self.items.append({
            "end": 1, "keep_sum": not completes,
            "tx": {"status": 1, "handle": index, "send": 1, "seal": 1, "sum": total},
        })  # fmt: skip

    @property
    def counts(self) -> dict[str, int]:
        """Payloads each output stream will give."""
        tagged = sum(item.get("tag_end", 0) > item.get("tag_first", 0) for item in self.items)
        frames = len(self._frames)
        return {"keystream": len(self.requests), "patches": tagged + frames, "orders": frames}

    @property
    def inputs(self) -> dict[str, list[int]]:
        """Payloads of the input streams as integers."""

        def encode(layout, payloads):
            return [layout.const(payload).as_value().value for payload in payloads]

        return {
            "keys": encode(layouts.key_operation(self._config), self.keys),
            "requests": encode(layouts.keystream_request(self._config), self.requests),
            "plain": encode(tx_layouts.plain_beat(self._config), self.plain),
            "items": encode(tx_layouts.seal_item(self._config), self.items),
        }

    def _overlays(self, beats: list[int]) -> list[dict[int, int]]:
        """Bytes by place in the frame, frame by frame."""
        layout = layouts.aligned_beat(self._config)
        frames, current = [], {}
        for bits in beats:
            beat = layout.from_bits(bits)
            if beat.end:
                frames.append(current)
                current = {}
                continue
            number = beat.beat - (beat.beat >> (self._config.pointer_bits - 1) << self._config.pointer_bits)
            for k in range(self._config.width):
                if beat.mask >> k & 1:
                    place = number * self._config.width + beat.rotate + k
                    assert place not in current
                    current[place] = beat.data >> 8 * k & 0xFF
        assert not current
        return frames

    def encrypted(self, keystream: list[int], patches: list[int], orders: list[int]) -> list[tuple[bytes, bytes]]:
        """Ciphertext and tag of each vector. Raises if a byte is elsewhere or a frame's checksum is wrong."""
        order_layout = tx_layouts.finish_order(self._config)
        outs = [bytearray() for _ in self.vectors]
        for frame, body, tag, bits in zip(
            self._frames, self._overlays(keystream), self._overlays(patches), orders, strict=True
        ):
            first, end = len(frame.before), len(frame.before) + len(frame.given)
            size = first + len(self.vectors[frame.owner].plaintext) - frame.start  # where the tag begins
            assert sorted(body) == list(range(first, min(size, end))), "keystream elsewhere than over the body"
            assert sorted(tag) == list(range(max(size, first), end)), "tag elsewhere than at its place"
            out = bytearray(frame.before + frame.given)
            for place, byte in body.items():
                out[place] ^= byte
            for place, byte in tag.items():
                out[place] = byte
            order = order_layout.from_bits(bits)
            assert order.handle == frame.owner and order.seal and order.send
            assert (order.checksum ^ 0xFFFF) % 0xFFFF == word_sum(out), "checksum"
            outs[frame.owner] += out[first:]
        return [(bytes(out[:-16]), bytes(out[-16:])) for out in outs]


def differences(vectors: list[Vector], results: list[tuple[bytes, bytes]]) -> list[str]:
    """A line for each vector the rooms got wrong."""
    return [
        f"{v.name}: expected {v.ciphertext.hex()} {v.tag.hex()}, got {ciphertext.hex()} {tag.hex()}"
        for v, (ciphertext, tag) in zip(vectors, results, strict=True)
        if (ciphertext, tag[: len(v.tag)]) != (v.ciphertext, v.tag)
    ]
