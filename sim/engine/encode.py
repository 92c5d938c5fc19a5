"""Frames and commands of `model.commands` to the payloads of hw/layouts.py, and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from driver.fields import command_fields, response_from_fields
from hw import layouts, tx_layouts
from hw.config import Config
from model.commands import Command, Descriptor, Response
from model.contract import Checksum, Status, TxStatus
from model.tx_commands import TxRequest
from sim.engine.bench import SimulationError, Words, from_words, to_words


def _pack(layout: Any, fields: dict[str, int]) -> int:
    """The layout's const(), except that numbers too large are refused, not cut."""
    value = 0
    for name, number in fields.items():
        field = layout[name]
        if number >> field.width:
            raise ValueError(f"{name} {number:#x} does not fit into {field.width} bits")
        value |= int(number) << field.offset
    return value


def _unpack(layout: Any, value: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, field in layout:
        part = value >> field.offset & ((1 << field.width) - 1)
        result[name] = part if isinstance(field.shape, int) else _unpack(field.shape, part)
    return result


def encode_commands(commands: Sequence[Command], config: Config) -> Words:
    layout: Any = layouts.command(config)
    return to_words([_pack(layout, command_fields(c)) for c in commands], (layout.size + 31) // 32)


def decode_responses(items: Words, commands: Sequence[Command]) -> list[Response]:
    """Responses in the order of their commands; `state` only where a QUERY went well."""
    layout: Any = layouts.response()
    responses: list[Response] = []
    for value, command in zip(from_words(items), commands, strict=False):
        fields = _unpack(layout, value)
        state = {f"state.{name}": number for name, number in fields.pop("state").items()}
        responses.append(response_from_fields(command, {**fields, **state}))
    return responses


def encode_frames(frames: Sequence[bytes], config: Config, more_bits: int = 0) -> Words:
    """Frames to beats of `layouts.beat`, with room for `more_bits` behind."""
    width = config.width
    words = (9 * width + 1 + more_bits + 31) // 32
    lengths = np.fromiter((len(f) for f in frames), dtype=np.int64, count=len(frames))
    if np.any(lengths == 0):
        raise ValueError(f"frame {int(np.argmin(lengths))} is empty")
    padding = bytes(width)
    joined = b"".join(part for f in frames for part in (f, padding[: -len(f) % width]))
    data = np.frombuffer(joined, dtype=np.uint8).reshape(-1, width)
    raw = np.zeros((len(data), 4 * words), dtype=np.uint8)
    raw[:, :width] = data
    keep_end = width + width // 8
    raw[:, width:keep_end] = 0xFF
    ends = np.cumsum((lengths + width - 1) // width) - 1
    raw[ends, width:keep_end] = _keeps(width)[(lengths - 1) % width + 1]
    raw[ends, keep_end] = 1
    return raw.view("<u4")


def encode_tx_frames(frames: Sequence[bytes], requests: Sequence[TxRequest], config: Config) -> Words:
    """Frames and their requests to beats of `tx_layouts.tx_beat`."""
    layout: Any = tx_layouts.tx_request()
    beats = encode_frames(frames, config, layout.size)
    # The request follows `last`, which is bit 0 of its byte.
    size = layout.size // 8 + 1
    rows = [_pack(layout, request_fields(r)) << 1 for r in requests]
    raw = beats.view(np.uint8)
    start = 9 * config.width // 8
    per_frame = [-(-len(f) // config.width) for f in frames]
    packed = np.frombuffer(b"".join(r.to_bytes(size, "little") for r in rows), dtype=np.uint8).reshape(-1, size)
    raw[:, start : start + size] |= np.repeat(packed, per_frame, axis=0)
    return beats


def request_fields(request: TxRequest) -> dict[str, int]:
    """Fields of `tx_layouts.tx_request`."""
    return {
        "kind": request.kind,
        "handle": request.handle,
        "adopt": request.adopt,
        "segment_size": request.segment_size,
        "record_seq": request.record_seq,
        "record_number": request.record_number,
        "header": int.from_bytes(request.header, "little"),
    }


def decode_completions(items: Words) -> list[tuple[TxStatus, int]]:
    """Status and handle of each completion."""
    layout: Any = tx_layouts.tx_completion()
    found = [_unpack(layout, value) for value in from_words(items)]
    return [(TxStatus(f["status"]), f["handle"]) for f in found]


def _keeps(width: int) -> npt.NDArray[np.uint8]:
    """Keep bits of a beat with k bytes, k = 0..width."""
    rows = [((1 << k) - 1).to_bytes(width // 8, "little") for k in range(width + 1)]
    return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(width + 1, width // 8)


@dataclass(frozen=True)
class OutputFrames:
    """Frames as they left: `first` and `last` are the numbers of their beats."""

    frames: list[bytes]
    descriptors: list[Descriptor]
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Beats:
    """Whole frames in an array of beats: `raw` its bytes, `first`, `last` and `number` by frame and beat."""

    frames: list[bytes]
    raw: npt.NDArray[np.uint8]
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    number: npt.NDArray[np.int64]


def _beats(items: Words, config: Config) -> _Beats:
    """Beats to frames; raises SimulationError where they break the rules of a frame."""
    width = config.width
    raw = np.ascontiguousarray(items).view(np.uint8)
    keep_end = width + width // 8
    is_last = (raw[:, keep_end] & 1).astype(bool)
    last = np.flatnonzero(is_last).astype(np.int64)
    whole = int(last[-1]) + 1 if len(last) else 0  # beats behind the last whole frame are left out
    raw, is_last = raw[:whole], is_last[:whole]
    first = np.concatenate((np.zeros(1, np.int64), last[:-1] + 1))[: len(last)]
    keep = raw[:, width:keep_end]
    sizes = np.unpackbits(keep, axis=1).sum(axis=1, dtype=np.int64)
    number = np.cumsum(is_last) - is_last

    bad = np.any(keep != _keeps(width)[sizes], axis=1) | (sizes == 0) | (~is_last & (sizes != width))
    if bad.any():
        beat = int(np.argmax(bad))
        raise SimulationError(f"frame {number[beat]}: keep of beat {beat - first[number[beat]]} is not contiguous")
    data = np.ascontiguousarray(raw[:, :width]).tobytes()
    starts = (first * width).tolist()
    ends = (last * width + sizes[last]).tolist()
    return _Beats([data[a:b] for a, b in zip(starts, ends, strict=True)], raw, first, last, number)


def decode_wire(items: Words, config: Config) -> tuple[list[bytes], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Beats of `layouts.beat` to whole frames, and the numbers of their first and last beats."""
    beats = _beats(items, config)
    return beats.frames, beats.first, beats.last


def decode_frames(items: Words, config: Config) -> OutputFrames:
    """Beats of `layouts.output_beat` to frames; raises SimulationError where they break the rules of a frame."""
    beats = _beats(items, config)
    raw, first, number = beats.raw, beats.first, beats.number
    field: Any = layouts.output_beat(config)["descriptor"]
    start, shift = divmod(field.offset, 8)
    mask = (((1 << field.width) - 1) << shift).to_bytes((shift + field.width + 7) // 8, "little")
    words = raw[:, start : start + len(mask)] & np.frombuffer(mask, np.uint8)
    changed = np.any(words != words[first[number]], axis=1) if len(words) else np.zeros(0, bool)
    if changed.any():
        raise SimulationError(f"frame {number[int(np.argmax(changed))]}: the descriptor changes within the frame")
    known: dict[int, Descriptor] = {}
    return OutputFrames(
        frames=beats.frames,
        descriptors=[_descriptor(int.from_bytes(w.tobytes(), "little") >> shift, known) for w in words[first]],
        first=first,
        last=beats.last,
    )


def _descriptor(word: int, known: dict[int, Descriptor]) -> Descriptor:
    if word not in known:
        fields = _unpack(layouts.descriptor(), word)
        known[word] = Descriptor(
            Status(fields["status"]),
            Checksum(fields["checksum"]),
            bool(fields["matched"]),
            fields["handle"],
            fields["request_seq"] if fields["request"] else None,
            bool(fields["proven"]),
            fields["request_seq"] if fields["status"] == Status.OVERLOAD else None,
        )
    return known[word]
