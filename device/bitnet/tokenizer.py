# Byte-pair encoding with the tables of the model file, used in place; native/SPEC.md 1.3.

from array import array

import uctypes
from micropython import const

_HEADER_SIZE = const(8)
_BYTES = const(256)  # tokens below this are single bytes, those from here on are merges
_NONE = const(0xFFFF)

_SPACE = const(0x20)
_MINUS = const(0x2D)
_QUOTE = const(0x27)

# Bits of `marks`.
WORD_START = const(1)
WORD_END = const(2)


def u16_table(data: bytes | bytearray | memoryview, offset: int, count: int):
    """Return `count` little-endian u16 at an offset of a buffer, to be read by their index."""
    return uctypes.struct(uctypes.addressof(data) + offset, (uctypes.ARRAY, uctypes.UINT16 | count))


class Tokenizer:
    """Encodes texts of fewer than `capacity` bytes. When encode() has returned n, then for each k < n:

    tokens[k] is the token, starts[k] its first byte in " " + text, marks[k] its WORD_START and WORD_END bits;
    starts[n] is the length of " " + text. There is room for one more token.

    data, offset, size: the tokenizer's section in a model file. Raises ValueError if it is damaged.
    """

    def __init__(
        self, data: bytes | bytearray | memoryview, offset: int, size: int, capacity: int = 256
    ) -> None:
        merge_count, hash_bits, token_count, _ = (u16_table(data, offset, 4)[i] for i in range(4))
        at = _HEADER_SIZE + 4 * merge_count
        offsets_at = at + 2 * (1 << hash_bits)
        blob_at = offsets_at + 2 * (token_count + 1)
        if not 1 <= hash_bits <= 15 or blob_at > size:
            raise ValueError("the tokenizer's tables do not fit its section")
        self.capacity = capacity
        self.token_count = token_count
        self._data = data  # the tables below are bare addresses into it
        self._shift = 16 - hash_bits
        self._mask = (1 << hash_bits) - 1
        self._merges = u16_table(data, offset + _HEADER_SIZE, 2 * merge_count)
        self._hash = u16_table(data, offset + at, 1 << hash_bits)
        self._offsets = u16_table(data, offset + offsets_at, token_count + 1)
        self._blob = memoryview(data)[offset + blob_at : offset + size]

        self.tokens = array("H", bytes(2 * (capacity + 1)))
        self.starts = array("H", bytes(2 * (capacity + 1)))
        self.marks = bytearray(capacity)
        self._ranks = array("H", bytes(2 * capacity))
        self._text = bytearray(capacity + 1)

    def encode(self, text: bytes) -> int:
        """Cut a text into tokens; return their number. Allocates nothing. Raises ValueError if too long."""
        length = len(text)
        if length >= self.capacity:
            raise ValueError("text too long")
        if length == 0:
            self.starts[0] = 0
            return 0
        normal = self._text
        normal[0] = _SPACE
        for i in range(length):
            c = text[i]
            normal[i + 1] = c + 32 if 65 <= c <= 90 else c
        length += 1
        normal[length] = _SPACE  # so that the last word ends somewhere
        count = start = 0
        while start < length:
            end = self._word_end(start, length)
            count = self._encode_word(start, end, count)
            start = end
        self.starts[count] = length
        return count

    def _word_end(self, i: int, length: int) -> int:
        """Find the end of the word that starts at i, by the rules (a) to (f)."""
        text = self._text
        c = text[i]
        if c == _QUOTE and 97 <= text[i + 1] <= 122:
            i += 1
            c = text[i]
        elif c == _SPACE:
            i += 1
            c = text[i]
            if c == _SPACE:
                return i
        i += 1
        if 97 <= c <= 122:
            while 97 <= text[i] <= 122:
                i += 1
        elif c != _QUOTE and not 48 <= c <= 57:
            c = text[i]
            while i < length and not (c in (_SPACE, _QUOTE) or 48 <= c <= 57 or 97 <= c <= 122):
                i += 1
                c = text[i]
        return i

    def _encode_word(self, start: int, end: int, first: int) -> int:
        """Put the tokens of text[start:end] at tokens[first]; return the new number of tokens."""
        # In two lines, because more than three values at once would make a tuple.
        text, tokens, starts = self._text, self.tokens, self.starts
        marks, ranks = self.marks, self._ranks
        last = first
        for i in range(start, end):
            tokens[last] = text[i]
            starts[last] = i
            last += 1
        for k in range(first, last - 1):
            ranks[k] = self._find(tokens[k], tokens[k + 1])
        while True:
            best = _NONE
            at = first
            for k in range(first, last - 1):
                if ranks[k] < best:
                    best = ranks[k]
                    at = k
            if best == _NONE:
                break
            tokens[at] = _BYTES + best
            last -= 1
            for k in range(at + 1, last):
                tokens[k] = tokens[k + 1]
                starts[k] = starts[k + 1]
                ranks[k] = ranks[k + 1]
            if at + 1 < last:
                ranks[at] = self._find(tokens[at], tokens[at + 1])
            if at > first:
                ranks[at - 1] = self._find(tokens[at - 1], tokens[at])
        for k in range(first, last):
            marks[k] = 0
        marks[first] |= WORD_START
        marks[last - 1] |= WORD_END
        return last

    def _find(self, left: int, right: int) -> int:
        """Return the number of the merge of a pair, or _NONE."""
        merges = self._merges
        # 40503 = -25033 mod 2^16, and so both products stay small integers on a 32-bit board.
        slot = ((right * 30011 - left * 25033) & 0xFFFF) >> self._shift
        while True:
            merge = self._hash[slot]
            if merge == _NONE or (merges[2 * merge] == left and merges[2 * merge + 1] == right):
                return merge
            slot = (slot + 1) & self._mask

    def text(self, token: int) -> bytes:
        """Return the bytes of a token."""
        return bytes(self._blob[self._offsets[token] : self._offsets[token + 1]])

    def begins_with_space(self, k: int) -> bool:
        """Say whether the k-th token of the last text begins with a space."""
        return self._text[self.starts[k]] == _SPACE

    def continues_number(self, k: int) -> bool:
        """Say whether the k-th token has no space before it, and a digit at its end or right after it."""
        if self.begins_with_space(k):
            return False
        return self.ends_number(k) or 48 <= self._text[self.starts[k + 1]] <= 57

    def ends_number(self, k: int) -> bool:
        """Say whether the last character of the k-th token is a digit."""
        return 48 <= self._text[self.starts[k + 1] - 1] <= 57

    def begins_number(self, k: int) -> bool:
        """Say whether the k-th token begins with a digit, or a minus and a digit; a space may precede."""
        start = self.starts[k]
        if self._text[start] == _SPACE:
            start += 1
        if self._text[start] == _MINUS:
            start += 1  # encode() ended the text with a space, so this is inside
        return 48 <= self._text[start] <= 57
