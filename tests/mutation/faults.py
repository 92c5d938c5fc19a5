"""Seeded faults: small changes of the HDL, each a mistake somebody could make, and the tests that must find it.

`python -m tests.mutation` puts them in, one at a time, in a copy. A fault whose text is not found exactly once is an
error of this list (`test_faults.py`): mend the text when the HDL changes.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """`old`, which stands once in the file `path`, becomes `new`.

    Attributes
    ----------
    tests : str
        Arguments for pytest: default-run tests of which at least one must fail. Small ones: they are run for this.
    """

    name: str
    path: str
    old: str
    new: str
    tests: str


def _of(path: str, tests: str, *faults: tuple[str, str, str]) -> list[Fault]:
    return [Fault(name, path, old, new, tests) for name, old, new in faults]


FAULTS = [
    # --- cipher, keystream
    *_of(
        "hw/aes_round.py",
        "tests/hw/test_aes.py",
        ("aes-256-schedule-step", "Mux(self.i_aes256, substituted, rotated ^ rcon128)", "rotated ^ rcon128"),
        ("aes-128-round-constant", "        rcon128 = RCON[max(stage - SHORTCUT + 1, 0)]", "        rcon128 = RCON[1]"),
        (
            "mix-columns-xor-dropped",
            "doubled ^ substituted[(r + 1) % 4] ^ sums[(r + 2) % 4]",
            "doubled ^ sums[(r + 2) % 4]",
        ),
    ),
    *_of(
        "hw/keystream.py",
        "tests/hw/test_keystream.py",
        ("nonce-a-byte-off", "iv[32:] ^ nonce", "iv[32:] ^ nonce[8:]"),
        ("counter-of-one-byte", "Const(0, 16), counter[8:], counter[:8]", "Const(0, 24), counter[:8]"),
        ("subkey-of-a-counter-block", "with m.If(came.reload):", "with m.If(came.reload & ~came.derive):"),
        ("keystream-outside-the-body", "Mux(done.mask[k], aes.o", "Mux(done.valid, aes.o"),
        ("j0-queue-overrun", " & (j0_credit.free | ~wants_j0)", ""),
        (
            "erase-leaves-the-key",
            "write.en.eq(accept_key),\n            write.addr.eq(operation.index),\n            write.data.key",
            "write.en.eq(accept_key & operation.derive),\n"
            "            write.addr.eq(operation.index),\n"
            "            write.data.key",
        ),
    ),
    *_of(
        "hw/key_expansion.py",
        "tests/hw/test_key_expansion.py",
        ("erase-leaves-round-keys", "Mux(erase, 0, words[0])", "words[0]"),
        ("expansion-keeps-odd", "odd.eq(~odd)", "odd.eq(1)"),
    ),
    *_of(
        "hw/key_loader.py",
        "tests/hw/test_keystream.py",
        ("key-of-the-connection-before", "(coming.index != last)", "(coming.index[1:] != last[1:])"),
        ("key-used-before-it-is-there", "(~queue.o.p.change | held)", "(~queue.o.p.change | loading | held)"),
    ),
    *_of(
        "hw/subkey.py",
        "tests/hw/test_aes.py",
        ("subkey-round-constant", "with m.If(~aes256 | stage[0]):", "with m.If(stage[0]):"),
        (
            "key-left-in-the-subkey-cipher",
            "[busy.eq(0), words.eq(0), self.done.eq(1)]",
            "[busy.eq(0), self.done.eq(1)]",
        ),
    ),
    # --- GHASH
    *_of(
        "hw/fragment_hash.py",
        "tests/hw/test_ghash.py",
        ("partial-sum-dropped", "value ^ Mux(number[2], read.data, 0)", "value"),
        ("sum-of-the-fragment-before", "folded.eq(Mux(done.left == 0, 0, total))", "folded.eq(total)"),
    ),
    *_of(
        "hw/ghash.py",
        "tests/hw/test_ghash.py",
        ("ghash-takes-beats-unplaced", "self.i.ready.eq(inside | placing.begin.ready)", "self.i.ready.eq(1)"),
    ),
    *_of(
        "hw/powers.py",
        "tests/hw/test_ghash.py",
        ("odd-power-not-taken", "Mux(ends, odd.o.p, square(value))", "square(value)"),
        ("powers-done-early", "self.done.eq(advance & last)", "self.done.eq(advance & ends)"),
    ),
    *_of(
        "hw/placing.py",
        "tests/hw/test_ghash.py",
        (
            "placing-skips-a-digit",
            "issued.more.eq(ahead.rest != 0)",
            "issued.more.eq(ahead.rest[3 * DIGIT_BITS :] != 0)",
        ),
    ),
    *_of(
        "hw/placing_pair.py",
        "tests/hw/test_ghash.py",
        ("hashes-out-of-turn", "with m.If(port.valid & port.ready):", "with m.If(port.valid):"),
    ),
    # --- records laid over beats
    *_of(
        "hw/plan.py",
        "tests/hw/test_plan.py tests/hw/test_align.py",
        ("placing-exponent-off-by-one", "p.exponent.eq(n + 2 - last)", "p.exponent.eq(n + 1 - last)"),
        ("length-block-hashed-twice", "reaches_tag & (w.ext_first <= w.body_length + 16)", "reaches_tag"),
        ("body-a-byte-too-long", "Mux(ext_end < tag_start, ext_end, tag_start) - ext0", "ext_end - ext0"),
    ),
    *_of(
        "hw/align_read.py",
        "tests/hw/test_align.py",
        (
            "beat-read-before-it-is-there",
            "step.eq(chosen_valid & room & (chosen_work.end | available))",
            "step.eq(chosen_valid & room)",
        ),
    ),
    *_of(
        "hw/align.py",
        "tests/hw/test_align.py",
        ("aad-length-of-tls13", "8 * 5, 8 * 13", "8 * 13, 8 * 13"),
        (
            "aad-without-the-tag's-length",
            "record_length.eq(work.body_length + TAG_SIZE)",
            "record_length.eq(work.body_length)",
        ),
        (
            "last-tag-byte-not-compared",
            "else gathered, work.body_length[:4]))",
            "else gathered, work.body_length[:4])[:120])",
        ),
        ("tag-in-two-beats", "gathered.eq(here | Mux(first, 0, before))", "gathered.eq(here)"),
    ),
    # --- receive: verdict and way out
    *_of(
        "hw/verdict.py",
        "tests/hw/test_verdict.py",
        ("verdict-mixes-slots", "Cat(item.slot, item.index)", "Cat(item.slot & 14, item.index)"),
        ("verdict-without-the-last-byte", "(judge & (total != 0))", "(judge & (total[:120] != 0))"),
        ("first-failure-forgotten", "failed.eq(failed_now)]", "failed.eq(judge & (total != 0))]"),
        ("proof-whatever-the-tags", "proven.eq(item.proof & ~failed_now)", "proven.eq(item.proof)"),
        ("failure-of-a-frame-given-up-is-told", "says &= base != Status.OVERLOAD", "pass"),
        ("failure-does-not-close", "write.en.eq(closing | opening)", "write.en.eq(opening)"),
        ("closed-connection-repeats", "closed & item.repeated", "closed & item.repeated & fails"),
    ),
    *_of(
        "hw/release.py",
        "tests/hw/test_release.py",
        (
            "unauthentic-frame-decrypted",
            "order.descriptor.status == Status.DECRYPTED",
            "(order.descriptor.status == Status.DECRYPTED) | (order.descriptor.status == Status.AUTH_FAILED)",
        ),
        (
            "valid-does-not-hold",
            "with m.If(out_ready):\n            m.d.sync += self.o.valid.eq(go)",
            "with m.If(1):\n            m.d.sync += self.o.valid.eq(go)",
        ),
        ("counted-on-every-beat", "self.left.eq(go & self.i.p.last)", "self.left.eq(go)"),
    ),
    *_of(
        "hw/dealign.py",
        "tests/hw/test_dealign.py",
        ("length-block-moves-the-end", "valid & bare & ~follows_bare & ~holds(second)", "0"),
        ("aad-block-moves-nothing", "valid & bare & ~follows_bare & ~holds(second)", "valid & bare & ~holds(second)"),
        ("bytes-of-the-next-beat-lost", "first.eq(second | low), second.eq(high)", "first.eq(second), second.eq(high)"),
    ),
    *_of(
        "hw/overlay.py",
        "tests/hw/test_release.py tests/hw/test_finish.py",
        ("items-of-the-frame-before", "self.known.eq(queue.o.valid & ~past_end)", "self.known.eq(queue.o.valid)"),
    ),
    # --- receive: parse, checksum, buffer
    *_of(
        "hw/parse.py",
        "tests/hw/test_parse.py",
        ("more-fragments-ignored", "big_endian(s.l3, 6, 2)[:14]", "big_endian(s.l3, 6, 2)[:13]"),
        ("reset-packet-matched", "unusual = s.flags[1] | s.flags[2]", "unusual = s.flags[1]"),
        ("tcp-header-behind-the-packet", "parsed.eq(s.good & ~payload_length[17])", "parsed.eq(s.good)"),
    ),
    *_of(
        "hw/checksum.py",
        "tests/hw/test_checksum.py tests/hw/test_tx_checksum.py",
        (
            "checksum-carry-lost",
            "segment_fold.eq(segment_sum[:16] + segment_sum[16:])",
            "segment_fold.eq(segment_sum[:16])",
        ),
        ("ipv4-header-not-checked", " & ((header_fold == 0xFFFF) | (header_fold == 0))", ""),
        ("padding-summed", 'in_segment = behind_l4 & ~_bytes_from(step["end"], size)', "in_segment = behind_l4"),
        (
            "cut-frame-is-whole",
            'step["last"] & (step["beyond"] | (step["end"] > present))',
            'step["last"] & step["beyond"]',
        ),
        ("second-fold-missing", "total.eq(segment_fold[:16] + segment_fold[16])", "total.eq(segment_fold[:16])"),
    ),
    *_of(
        "hw/buffer.py",
        "tests/hw/test_buffer.py",
        ("buffer-runs-over", "self.i.ready.eq(self.written ^ taken != depth)", "self.i.ready.eq(1)"),
        (
            "pair-of-the-same-row",
            "rows = (self.read.address + 1)[1:], self.read.address[1:]",
            "rows = self.read.address[1:], self.read.address[1:]",
        ),
    ),
    # --- receive: table and trackers
    *_of(
        "hw/flow_table.py",
        "tests/hw/test_lookup.py",
        (
            "fingerprint-is-enough",
            "equal.eq((entry.data.key.as_value() == item.key.as_value()) & found)",
            "equal.eq(found)",
        ),
        ("hidden-flow-found", "found = shown.data |", "found = 1 |"),
        ("removed-by-an-old-handle", "entry.data.valid & (handle == item.handle)", "entry.data.valid"),
        (
            "stash-not-searched",
            "for table in tables for way in range(WAYS)] + [stash[k]",
            "for table in tables for way in range(WAYS)] + [stash[0]",
        ),
    ),
    *_of(
        "hw/track.py",
        "tests/hw/test_track.py",
        ("bad-checksum-moves-the-state", "operations.writes.eq(good)", "operations.writes.eq(1)"),
        (
            "far-gap-taken",
            "(end_seq - entry.expected)[:32] > MAX_RECORD",
            "(end_seq - entry.expected)[:32] > 2 * MAX_RECORD",
        ),
    ),
    *_of(
        "hw/intake.py",
        "tests/hw/test_track.py tests/hw/test_loss_track.py",
        (
            "unmatched-frame-tracked",
            "tracker.i.valid & self.next.matched & self._there",
            "tracker.i.valid & (self.next.matched | self.next.payload_length[0]) & self._there",
        ),
    ),
    *_of(
        "hw/intake.py",
        "tests/hw/test_track.py tests/hw/test_loss_track.py",
        ("state-read-before-it-is-written", "return [self._read.eq(0), self._there.eq(0)]", "return []"),
    ),
    *_of(
        "hw/walk.py",
        "tests/hw/test_track.py tests/hw/test_near_headers.py",
        (
            "header-taken-before-it-is-there",
            "both.eq(self._reads & there((frame.base + first + 1)[: config.pointer_bits]))",
            "both.eq(self._reads)",
        ),
        ("header-beyond-two-beats", "<= 2 * config.width)", "<= 2 * config.width + 4)"),
        ("header-cut-by-the-end", "(at.remaining + header.size <= left)", "(at.remaining < left)"),
        ("record-end-missed", "completes.eq(at.remaining <= left)", "completes.eq(at.remaining < left)"),
    ),
    *_of(
        "hw/record_header.py",
        "tests/hw/test_record_header.py",
        ("longest-record-refused", "length <= MAX_LENGTH[v]", "length < MAX_LENGTH[v]"),
        ("shortest-record-refused", "length >= MIN_LENGTH[v]", "length > MIN_LENGTH[v]"),
        ("version-of-a-cut-header", "((count < 3) | (version == right))", "((count < 4) | (version == right))"),
    ),
    *_of(
        "hw/loss_track.py",
        "tests/hw/test_loss_track.py",
        (
            "loss-bad-checksum-moves-the-state",
            "self.checksum.ready.eq(1), store.eq(good)]",
            "self.checksum.ready.eq(1), store.eq(1)]",
        ),
    ),
    *_of(
        "hw/loss_fast.py",
        "tests/hw/test_loss_track.py",
        (
            "conflict-forgotten",
            'm.d.sync += s.status.eq(Status.CONFLICT)\n            m.next = "finish"',
            'm.next = "slow"',
        ),
        (
            "header-passes-unseen",
            "            entry.blind.eq(1),\n            entry.seen.eq(s.end),",
            "            entry.seen.eq(s.end),",
        ),
        ("late-frame-overlooked", "m.Elif(s.follows & s.lost &", "m.Elif(s.lost &"),
    ),
    *_of(
        "hw/loss_scan.py",
        "tests/hw/test_loss_track.py",
        ("frame-that-gets-lost-overlooked", "too_late.eq(s.lost &", "too_late.eq(entry.blind &"),
        (
            "search-goes-on",
            "m.Elif(too_late):\n                    leave()\n            with",
            "m.Elif(0):\n                    leave()\n            with",
        ),
    ),
    *_of(
        "hw/overload.py",
        "tests/hw/test_overload.py",
        ("host-s-wait-is-the-tracker-s", "~behind[-1] & (in_front < near)", "~behind[-1]"),
        ("a-pause-gives-time", "waited.eq(waited + 1)", "waited.eq(0)"),
    ),
    *_of(
        "hw/late_search.py",
        "tests/hw/test_track.py",
        ("search-is-not-over", 'steps["found"] | steps["fin"] | steps["start"]', 'steps["found"] | steps["start"]'),
    ),
    *_of(
        "hw/track.py",
        "tests/hw/test_overload.py",
        ("cheap-frame-given-up", "walk.costs & (status ==", "(status =="),
        ("lost-bytes-expected", "entry.expected.eq(here)", "entry.expected.eq(end_seq)"),
    ),
    *_of(
        "hw/loss_contradiction.py",
        "tests/hw/test_loss_track.py",
        ("contradiction-ignored", "m.d.sync += conflict.eq(1)", "m.d.sync += conflict.eq(0)"),
        ("frontier-stays-behind-what-is-let-go", "with m.If(first.valid):", "with m.If(0):"),
        ("chain-keeps-a-lie", "m.d.sync += bad_chains.bit_select(s.chain_number, 1).eq(1)", "pass"),
    ),
    *_of(
        "hw/loss_walk.py",
        "tests/hw/test_loss_track.py",
        ("gap-leads-anywhere", " | ((body + s.size)[:32] != s.gap.target)", ""),
        ("half-passed-record-counted", "raw.eq(raw | ~s.holes.untouched)", "raw.eq(raw)"),
        ("portion-counted-in-the-wrong-slot", "s.emit_slot.eq(s.record_slot)", "s.emit_slot.eq(entry.last)"),
    ),
    *_of(
        "hw/holes.py",
        "tests/hw/test_loss_track.py",
        ("range-over-a-hole's-edge", "from_on(start, at.start) & from_on(at.end, end)", "from_on(start, at.start)"),
        (
            "hole-split-loses-a-half",
            "m.d.sync += [added.eq(1), addition.start.eq(end)",
            "m.d.sync += [added.eq(0), addition.start.eq(end)",
        ),
    ),
    *_of(
        "hw/loss_scan.py",
        "tests/hw/test_loss_track.py",
        ("proof-under-another-number", "                            & ~wrong\n", ""),
    ),
    # --- transmit
    *_of(
        "hw/encrypt.py",
        "tests/hw/test_encrypt.py",
        ("plaintext-hashed", "cipher.eq(plain.blocks ^ key.data)", "cipher.eq(plain.blocks)"),
        ("tag-bytes-stay-in-the-checksum", "(plain.blocks & mask) | plain.tag", "plain.blocks & mask"),
    ),
    *_of(
        "hw/seal.py",
        "tests/hw/test_seal.py",
        ("sum-not-continued", "Mux(item.continues, sum_read.data, 0) ^ self.hash.p", "self.hash.p"),
        ("replay-spoils-the-stream's-sum", "sum_write.addr.eq(Cat(index, replay))", "sum_write.addr.eq(Cat(index, 0))"),
        ("tags-of-dropped-frames-kept", "item.tx.seal & (waiting != 0)", "waiting != 0"),
        ("patch-on-the-wrong-side", "word_sum.odd.eq(patch1.end | patch1.position[0])", "word_sum.odd.eq(patch1.end)"),
    ),
    *_of(
        "hw/finish.py",
        "tests/hw/test_finish.py",
        ("dropped-frame-leaves", "self.o.valid.eq(go & order.send)", "self.o.valid.eq(go)"),
        ("checksum-bytes-swapped", "Cat(order.checksum[8:], order.checksum[:8])", "order.checksum"),
        ("keep-of-the-last-beat", "self.o.p.keep.eq(self.i.p.keep)", "self.o.p.keep.eq(-1)"),
        ("completion-queue-overrun", "                & completions.i.ready\n", ""),
    ),
    *_of(
        "hw/tx_track.py",
        "tests/hw/test_tx_track.py",
        (
            "old-handle-encrypts",
            "(entry.generation != request.handle[INDEX_BITS:])",
            "(entry.generation != entry.generation)",
        ),
        ("any-sequence-number", "frame.seq != place.expected", "(frame.seq != place.expected) & on_replay"),
        ("cut-frame-moves-the-state", "committed = ok & whole", "committed = ok"),
        ("tag-older-than-the-ring", "(behind <= entry.known)", "(behind <= entry.known + 1)"),
        (
            "plaintext-with-a-bad-header",
            "order.seal.eq(status == TxStatus.ENCRYPTED)",
            "order.seal.eq(status == TxStatus.REPLAYED)",
        ),
    ),
    *_of(
        "hw/segment_headers.py",
        "tests/hw/test_segment.py",
        ("identification-stands", "identification.eq(identification + 1)", "identification.eq(identification)"),
        ("last-segment-early", "last.eq(rest <= self.size)", "last.eq(rest <= self.size + 1)"),
        ("push-in-every-segment", "Mux(segment.last, 0, FIN | PSH)", "Mux(segment.last, 0, FIN)"),
    ),
    # --- control
    *_of(
        "hw/handles.py",
        "tests/hw/test_handles.py",
        ("generation-not-compared", " & (query_entry.data.generation == self.query[INDEX_BITS:])", ""),
        ("freed-handle-comes-again", "query_entry.data.generation + 1", "query_entry.data.generation"),
        ("index-beyond-the-table", "(self.query[:INDEX_BITS] >> config.index_bits) == 0", "Const(1)"),
    ),
    *_of(
        "hw/add_end.py",
        "tests/hw/test_control.py",
        ("connection-found-before-its-powers", "with m.If(control.powers_done):", "with m.If(1):"),
    ),
    *_of(
        "hw/control.py",
        "tests/hw/test_control.py",
        ("delete-under-a-frame", "drained.eq(~behind[-1])", "drained.eq(1)"),
        (
            "failed-add-leaves-the-key",
            "[result.eq(self.table_answers.p), erase.eq(1)]",
            "result.eq(self.table_answers.p)",
        ),
    ),
    *_of(
        "hw/erase.py",
        "tests/hw/test_reset.py",
        ("reset-leaves-keys", "[self._installed.eq(1), self._unswept.eq(0)]", "[self._unswept.eq(0)]"),
        ("reset-leaves-the-last-row", "self.swept == self._connections - 1", "self.swept == self._connections - 2"),
    ),
    # --- registers and ports
    *_of(
        "hw/axi/registers.py",
        "tests/hw/test_axi_registers.py",
        ("key-read-back", "if register.access is Access.BOTH:", "if register.access is not Access.READ:"),
        (
            "key-stays-in-the-window",
            "window[r.member].eq(0) for r in COMMAND if r.secret",
            "window[r.member].eq(0) for r in COMMAND[:1]",
        ),
        ("byte-strobes-ignored", "written[number] & strobe_before[lane]", "written[number]"),
        ("doorbell-while-a-response-waits", "with m.If(busy | answered):", "with m.If(busy):"),
        ("command-changed-while-offered", "chosen[number].eq(~busy)", "chosen[number].eq(1)"),
        (
            "high-half-of-the-low-word",
            "m.d.sync += high.eq(responses.p.value[32:])",
            "m.d.sync += high.eq(responses.p.value[:32])",
        ),
    ),
    *_of(
        "hw/axi/lite.py",
        "tests/hw/test_axi_registers.py",
        ("bvalid-does-not-hold", "with m.If(axi.bready):", "with m.If(1):"),
        ("write-before-its-data", "Cat(have_address, have_data, ~axi.bvalid", "Cat(have_address, ~axi.bvalid"),
    ),
    *_of(
        "hw/axi/stream.py",
        "tests/hw/test_axi_top.py",
        ("tkeep-ignored", "stream.p.keep.eq(axi.tkeep)", "stream.p.keep.eq(-1)"),
        ("tlast-ignored", "axi.tlast.eq(stream.p.last)", "axi.tlast.eq(1)"),
    ),
]
