"""Many small blobs written and read as one array of 8-byte words.

A blob is a run of little-endian 64-bit words, cut into sections whose sizes differ from key to
key. Both directions treat all keys of a section at once: a section is a count of words per key
and the words of all keys, one key after the other. ``state`` says which sections there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from twinlake.errors import StateError
from twinlake.kernel.exact import LIMB_BITS, LOW_HALF, BoolArray, IntArray, Limbs, used_limbs

WORD_BYTES = 8
_WORD = np.dtype("<i8")
_HALF = np.dtype("<u4")
_LOW_HALF = 0xFFFFFFFF
_SIGN = 0x80000000  # of a 32-bit half; (half ^ sign) - sign extends it
_MOST_LIMBS = 140


class Spread:
    """Items of several keys, one key after the other.

    Attributes:
        counts: Items per key, shape (K,).
        owner: The key of each item, shape (n,).
        ramp: The item's number within its key, shape (n,).
    """

    __slots__ = ("counts", "owner", "ramp")

    def __init__(self, counts: IntArray) -> None:
        """Number the items."""
        self.counts = counts
        self.owner = np.repeat(np.arange(counts.size, dtype=np.int64), counts)
        first = np.cumsum(counts) - counts
        self.ramp = np.arange(self.owner.size, dtype=np.int64) - first[self.owner]

    def __len__(self) -> int:
        return int(self.owner.size)


class Writer:
    """Collects sections for K blobs, then lays them out."""

    def __init__(self, key_count: int) -> None:
        """Start K empty blobs."""
        self._key_count = key_count
        self._sections: list[tuple[IntArray, IntArray]] = []
        self._heap = [bytearray() for _ in range(key_count)]
        self._known_text: list[dict[str, int]] = [{} for _ in range(key_count)]

    def words(self, counts: IntArray, words: npt.NDArray[Any]) -> None:
        """Add a section of 8-byte items: ``counts`` per key, ``words`` of all keys in order."""
        self._sections.append((counts, words.view(np.int64)))

    def halves(self, spread: Spread, values: IntArray) -> None:
        """Add a section of unsigned 32-bit items; an odd one out is padded with 0."""
        counts = (spread.counts + 1) >> 1
        packed = np.zeros(2 * int(counts.sum()), _HALF)
        first = 2 * (np.cumsum(counts) - counts)
        packed[first[spread.owner] + spread.ramp] = values
        self.words(counts, packed.view(_WORD))

    def bits(self, spread: Spread, flags: BoolArray) -> None:
        """Add a bitmap: item i of a key is bit ``i % 64`` of word ``i // 64``."""
        counts = (spread.counts + 63) >> 6
        packed = np.zeros(int(counts.sum()), np.int64)
        if len(spread):
            word = (np.cumsum(counts) - counts)[spread.owner] + (spread.ramp >> 6)
            bit = flags.astype(np.int64) << (spread.ramp & 63)
            starts = np.flatnonzero(np.concatenate(([True], word[1:] != word[:-1])))
            packed[:] = np.add.reduceat(bit, starts)  # distinct bits: adding is or-ing
        self.words(counts, packed)

    def limbs(self, spread: Spread, numbers: Limbs) -> None:
        """Add exact numbers, cut per key to the limbs that its numbers need.

        One word per key that has numbers: the exponent of the lowest limb divided by 32 (int32,
        low half) and the limbs per number (high half). Then the limbs as 32-bit halves, number
        after number, lowest first, in two's complement.
        """
        first, stop = used_limbs(numbers)
        holders = np.flatnonzero(spread.counts)
        low = np.zeros(self._key_count, np.int64)
        width = np.zeros(self._key_count, np.int64)
        if holders.size:
            starts = (np.cumsum(spread.counts) - spread.counts)[holders]
            low[holders] = np.minimum.reduceat(first, starts)
            width[holders] = np.maximum.reduceat(stop, starts) - low[holders]
        low[width <= 0] = -numbers.exponent // LIMB_BITS  # all zero: exponent 0
        width = np.maximum(width, 0)
        unit = numbers.exponent // LIMB_BITS + low
        self.words(np.minimum(spread.counts, 1), ((unit & LOW_HALF) | (width << 32))[holders])
        digit = Spread(width[spread.owner])
        row = low[spread.owner][digit.owner] + digit.ramp
        values = numbers.digits[row, digit.owner] & LOW_HALF
        self.halves(Spread(spread.counts * width), values)

    def texts(self, spread: Spread, values: npt.NDArray[Any], valid: BoolArray) -> None:
        """Add text: a word per item, start in the key's heap (low half) and length in bytes."""
        words = np.zeros(len(spread), np.int64)
        for i in np.flatnonzero(valid).tolist():
            words[i] = self._put_text(int(spread.owner[i]), values[i])
        self.words(spread.counts, words)

    def _put_text(self, key: int, text: str) -> int:
        known, heap = self._known_text[key], self._heap[key]
        if text not in known:
            encoded = text.encode("utf-8")
            known[text] = len(heap) | len(encoded) << 32
            heap += encoded
        return known[text]

    def finish(self, length_word: int) -> list[bytes]:
        """Return the blobs.

        Args:
            length_word: The header word that receives the blob's length in words (low half) and
                its heap's length in bytes (high half).
        """
        heap_bytes = np.array([len(heap) for heap in self._heap], np.int64)
        heap_words = (heap_bytes + WORD_BYTES - 1) // WORD_BYTES
        padded = b"".join(bytes(h) + b"\0" * (-len(h) % WORD_BYTES) for h in self._heap)
        self.words(heap_words, np.frombuffer(padded, _WORD))
        length = np.zeros(self._key_count, np.int64)
        for counts, _ in self._sections:
            length += counts
        start = np.cumsum(length) - length
        buffer = np.zeros(int(length.sum()), _WORD)
        at = start.copy()
        for counts, words in self._sections:
            item = Spread(counts)
            buffer[at[item.owner] + item.ramp] = words
            at += counts
        buffer[start + length_word] = length | heap_bytes << 32
        whole = buffer.tobytes()
        ends = ((start + length) * WORD_BYTES).tolist()
        return [whole[a:b] for a, b in zip((start * WORD_BYTES).tolist(), ends, strict=True)]


class Reader:
    """Reads the sections of K blobs, all keys of a section at once."""

    def __init__(self, words: IntArray, start: IntArray, end: IntArray) -> None:
        """Begin at ``start`` of each blob; nothing at or past ``end`` is read."""
        self._words = words
        self._at = start.copy()
        self._end = end

    def words(self, spread: Spread) -> IntArray:
        """Read one word per item."""
        begin = self._advance(spread.counts)
        if begin.size == 1:
            return self._words[int(begin[0]) : int(begin[0]) + len(spread)]
        return self._words[begin[spread.owner] + spread.ramp]

    def halves(self, spread: Spread) -> IntArray:
        """Read one unsigned 32-bit item each, as int64."""
        begin = self._advance((spread.counts + 1) >> 1)
        packed = self._words.view(_HALF)
        return packed[2 * begin[spread.owner] + spread.ramp].astype(np.int64)

    def bits(self, spread: Spread) -> BoolArray:
        """Read a bitmap."""
        begin = self._advance((spread.counts + 63) >> 6)
        word = self._words[begin[spread.owner] + (spread.ramp >> 6)]
        return ((word >> (spread.ramp & 63)) & 1).astype(np.bool_)

    def limbs(self, spread: Spread) -> Limbs:
        """Read exact numbers; see ``Writer.limbs``."""
        holders = np.flatnonzero(spread.counts)
        head = np.zeros(spread.counts.size, np.int64)
        head[holders] = self.words(Spread(np.minimum(spread.counts, 1)))
        width = head >> 32
        unit = ((head & LOW_HALF) ^ _SIGN) - _SIGN
        if holders.size and not (width.min() >= 0 and width.max() <= _MOST_LIMBS):
            raise StateError(
                f"a state has sums of {int(width.max())} limbs, at most {_MOST_LIMBS} expected"
            )
        values = self.halves(Spread(spread.counts * width))
        digit = Spread(width[spread.owner])
        is_top = digit.ramp == width[spread.owner][digit.owner] - 1
        values = np.where(is_top, (values ^ _SIGN) - _SIGN, values)
        lowest = int(unit[holders].min()) if holders.size else 0
        length = int((unit + width)[holders].max()) - lowest if holders.size else 1
        digits = np.zeros((max(length, 1), len(spread)), np.int64)
        row = (unit - lowest)[spread.owner][digit.owner] + digit.ramp
        digits[row, digit.owner] = values
        return Limbs(digits, lowest * LIMB_BITS)

    def texts(self, spread: Spread, valid: BoolArray) -> npt.NDArray[Any]:
        """Read text; a blob's heap begins where its sections end."""
        references = self.words(spread)
        values = np.full(len(spread), "", object)
        heap = self._words.view(np.uint8)
        for i in np.flatnonzero(valid).tolist():
            reference = int(references[i])
            start = int(self._end[spread.owner[i]]) * WORD_BYTES + (reference & _LOW_HALF)
            values[i] = heap[start : start + (reference >> 32)].tobytes().decode("utf-8")
        return values

    def check_finished(self) -> None:
        """Raise StateError unless every blob was read exactly to its end."""
        wrong = np.flatnonzero(self._at != self._end)
        if wrong.size:
            i = int(wrong[0])
            raise StateError(
                f"state {i} has {int(self._end[i] - self._at[i])} words more than its sections",
                hint="the view's definition differs from the one that the state was written for",
            )

    def _advance(self, counts: IntArray) -> IntArray:
        begin = self._at
        self._at = begin + counts
        if (self._at > self._end).any():
            i = int(np.flatnonzero(self._at > self._end)[0])
            raise StateError(f"state {i} ends inside a section: it is truncated or corrupt")
        return begin


def concatenated(blobs: Sequence[bytes]) -> tuple[IntArray, IntArray]:
    """Join blobs into words and return them with each blob's first word.

    Raises:
        StateError: If a blob's length is not a whole number of words.
    """
    sizes = np.array([len(blob) for blob in blobs], np.int64)
    odd = np.flatnonzero(sizes % WORD_BYTES)
    if odd.size:
        raise StateError(f"state {int(odd[0])} has {int(sizes[odd[0]])} bytes: it is truncated")
    words = np.frombuffer(b"".join(blobs), _WORD).astype(np.int64, copy=False)
    start = (np.cumsum(sizes) - sizes) // WORD_BYTES
    return words, start
