# A queue of records on flash that survives power cuts, in append-only segment files.
#
# Every record has a number, which is never used again. `000017.q` holds record 17 and those after it, up to
# the number of the next file. So the numbers need no file of their own, and nothing is rewritten when a
# record is appended or acknowledged. `state` holds what the names cannot say, and is replaced only when
# records are dropped. The newest segment stays when all are acknowledged: its name is the next number.

import binascii
import os
import struct

from micropython import const

from .. import storage

_FRAME = "<HI"  # length, CRC-32 of the record
_FRAME_SIZE = const(6)
_STATE = "<III"  # epoch, the oldest record that was not dropped, drops; their CRC-32 follows
_STATE_SIZE = const(16)
_SEGMENTS = const(8)
_SMALLEST = const(1024)
_OPEN = const(0x3FFFFFFF)  # the end of the newest segment, which is not known yet


class Queue:
    """Holds records from `first` up to, not including, `next`, in at most `cap` bytes of flash with headers.

    drops: how many records were lost because the queue was full. epoch: a random number that is made with the
    queue; with it, numbers stay unique when the file system is made anew. A record that cannot be read back
    comes out empty; one that is empty cannot be appended. Raises ValueError if cap is too small.
    """

    def __init__(self, folder: str, cap: int) -> None:
        if cap < _SMALLEST:
            raise ValueError(f"a queue needs at least {_SMALLEST} bytes")
        self.cap = cap
        self._segment_size = cap // _SEGMENTS
        self._folder = folder
        self._state_path = folder + "/state"
        self.epoch, self.first, self.drops = self._read_state()
        self.bytes = 0
        self.next = 0
        # The reading position: a segment, where the next one begins, the record to read and its place.
        self._segment = self._segment_end = self._at = self._offset = 0
        self._oldest_end = _OPEN
        self._tail_size = 0  # of the newest segment, whose number is _tail
        # Half a record cannot be cut off a file, so another file is begun after it.
        self._sealed = False
        self._remove_before(self.first)
        oldest, self._tail = self._ends()
        self.first = self.next = max(self.first, oldest)
        if self._tail < 0:
            self._begin_segment()
        else:
            count, self._tail_size, self._sealed = self._walk(self._tail)
            self.next = max(self.first, self._tail + count)
        self._rewind()

    @property
    def depth(self) -> int:
        """How many records wait."""
        return self.next - self.first

    @property
    def largest(self) -> int:
        """The bytes that a record may have."""
        return min(self._segment_size - _FRAME_SIZE, 0xFFFF)

    def append(self, record: bytes) -> int:
        """Store a record, which then survives a power cut; return its number.

        Raises ValueError if it is empty or too large, OSError if the flash fails.
        """
        if not 0 < len(record) <= self.largest:
            raise ValueError(f"a record has 1 to {self.largest} bytes, this one {len(record)}")
        size = _FRAME_SIZE + len(record)
        while self.bytes + size > self.cap and self.depth:
            self._drop_oldest()
        if self._sealed or self._tail_size + size > self._segment_size:
            self._begin_segment()
        try:
            with open(self._path(self._tail), "ab") as file:
                file.write(struct.pack(_FRAME, len(record), binascii.crc32(record)) + record)
        except OSError:
            self._sealed = True
            raise
        self._tail_size += size
        self.bytes += size
        self.next += 1
        return self.next - 1

    def peek(self, number: int) -> bytes | None:
        """Return a record, or None if it was dropped or acknowledged, or does not exist.

        Reading in ascending order is fast.
        """
        if not self.first <= number < self.next:
            return None
        if number < self._at:
            self._rewind()
        while True:
            if self._at >= self._segment_end:
                self._segment, self._segment_end = self._find(self._at)
                self._at, self._offset = self._segment, 0
            record = self._read()
            if self._at > number:
                return record

    def ack(self, number: int) -> None:
        """Forget a record and all before it, because they have arrived.

        They come back after a restart if that comes before their segment is removed.
        """
        if number < self.first:
            return
        self.first = min(number + 1, self.next)
        passed = self.first >= self._oldest_end
        if self.depth == 0 and self._tail < self.next:
            # Without a new segment, the records would be sent again after every restart.
            self._begin_segment()
            passed = True
        if passed:
            self._remove_before(self.first)
            self._rewind()

    def clear(self) -> None:
        """Drop all records, and count them as drops."""
        while self.depth:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        """Drop the oldest segment. It is counted first, so that a power cut in between loses no count."""
        if self._oldest_end == _OPEN:
            self._begin_segment()
        end = self._oldest_end
        self._write_state(self.epoch, end, self.drops + end - self.first)
        self.drops += end - self.first
        self.first = end
        self._remove_before(end)
        self._rewind()

    def _begin_segment(self) -> None:
        open(self._path(self.next), "wb").close()
        self._tail, self._tail_size, self._sealed = self.next, 0, False
        self.bytes = self._size()
        self._rewind()

    def _rewind(self) -> None:
        """Move the reading position to the beginning of the oldest segment."""
        self._segment, self._oldest_end = self._find(self.first)
        self._segment_end = self._oldest_end
        self._at, self._offset = self._segment, 0

    def _read(self) -> bytes:
        """Return the record at the reading position, empty if it is damaged, and move on."""
        with open(self._path(self._segment), "rb") as file:
            file.seek(self._offset)
            header = file.read(_FRAME_SIZE)
            self._at += 1
            if len(header) < _FRAME_SIZE:
                return b""
            length, checksum = struct.unpack(_FRAME, header)
            record = file.read(length)
        self._offset += _FRAME_SIZE + length
        return record if len(record) == length and binascii.crc32(record) == checksum else b""

    def _walk(self, segment: int) -> tuple:
        """Return a segment's number of records, their bytes, and whether half a record follows."""
        count = offset = 0
        if segment < 0:
            return count, offset, False
        with open(self._path(segment), "rb") as file:
            size = file.seek(0, 2)
            while size - offset >= _FRAME_SIZE:
                file.seek(offset)
                length = struct.unpack(_FRAME, file.read(_FRAME_SIZE))[0]
                if length == 0 or size - offset - _FRAME_SIZE < length:
                    break
                offset += _FRAME_SIZE + length
                count += 1
        return count, offset, offset < size

    def _numbers(self):
        """Yield the first number of each segment, in no order."""
        for entry in os.ilistdir(self._folder):
            name = entry[0]
            if name.endswith(".q") and name[:-2].isdigit():
                yield int(name[:-2])

    def _ends(self) -> tuple:
        """Return the oldest and the newest segment, -1 if there is none."""
        oldest = newest = -1
        for number in self._numbers():
            newest = max(newest, number)
            oldest = number if oldest < 0 else min(oldest, number)
        return oldest, newest

    def _find(self, number: int) -> tuple:
        """Return the segment that holds a record, and where the next segment begins."""
        begin, end = -1, _OPEN
        for other in self._numbers():
            if begin < other <= number:
                begin = other
            elif number < other < end:
                end = other
        return begin, end

    def _remove_before(self, number: int) -> None:
        """Remove the segments that hold only records before this one."""
        while True:
            oldest, end = self._find(self._ends()[0])
            if end > number:
                break
            os.remove(self._path(oldest))
        self.bytes = self._size()

    def _size(self) -> int:
        return sum(os.stat(self._path(number))[6] for number in self._numbers())

    def _path(self, number: int) -> str:
        return f"{self._folder}/{number:06d}.q"

    def _read_state(self) -> tuple:
        """Return epoch, oldest record that was not dropped, and drops; begin anew if there is no state."""
        data = storage.read(self._state_path) or b""
        if len(data) == _STATE_SIZE and binascii.crc32(data[:-4]) == struct.unpack_from("<I", data, 12)[0]:
            return struct.unpack_from(_STATE, data)
        epoch = struct.unpack("<I", os.urandom(4))[0]
        self._write_state(epoch, 0, 0)
        return epoch, 0, 0

    def _write_state(self, epoch: int, first: int, drops: int) -> None:
        data = struct.pack(_STATE, epoch, first, drops)
        storage.write(self._state_path, data + struct.pack("<I", binascii.crc32(data)))
