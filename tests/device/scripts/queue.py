# The queue on littlefs, in a flash made of RAM. Argument: which of the functions below to run.

import gc
import json
import os
import sys

import vfs
from bitnet.cloud.queue import Queue

BLOCK = 512
CAP = 2048
ERASED = b"\xff" * BLOCK


class Flash:
    """A block device that loses its power in the middle of write number `left`."""

    def __init__(self, data=None, left=-1):
        self.data = data or bytearray(96 * BLOCK)
        self.left = left
        self.dead = False
        self.writes = 0
        self.erases = 0

    def readblocks(self, block, buffer, offset=0):
        if self.dead:
            return -5
        start = block * BLOCK + offset
        buffer[:] = self.data[start : start + len(buffer)]

    def writeblocks(self, block, buffer, offset=0):
        return self._write(block * BLOCK + offset, buffer)

    def ioctl(self, operation, argument):
        if operation == 4:
            return len(self.data) // BLOCK
        if operation == 5:
            return BLOCK
        if operation == 6:
            self.erases += 1
            return self._write(argument * BLOCK, ERASED)
        return 0

    def _write(self, start, data):
        if self.dead:
            return -5
        self.dead = self.writes == self.left
        if self.dead:
            data = data[: len(data) // 2]
        self.data[start : start + len(data)] = data
        self.writes += 1
        return -5 if self.dead else 0


def mounted(flash, format=False):
    if format:
        vfs.VfsLfs2.mkfs(flash)
    vfs.mount(vfs.VfsLfs2(flash), "/flash")


def record(number):
    return b"record %d " % number + bytes(number % 40)


class Work:
    """Appends and acknowledges; knows what it did when the power went."""

    def __init__(self, queue):
        self.queue = queue
        self.appended = 0  # records that append() has taken
        self.acknowledged = 0  # records that ack() has been told of
        self.drops = []  # after each append

    def run(self):
        for number in range(180):
            assert self.queue.append(record(number)) == number
            self.appended += 1
            self.drops.append(self.queue.drops)
            if number % 9 == 8:
                self._acknowledge(4)
            if number == 60:
                self._acknowledge(self.queue.depth)

    def _acknowledge(self, count):
        self.acknowledged += count
        self.queue.ack(self.queue.first + count - 1)


def work_until(left, formatted):
    """Return the flash as a power cut has left it, and the work that was done."""
    flash = Flash(bytearray(formatted), left)
    mounted(flash)
    work = None
    try:
        work = Work(Queue("/flash/q", CAP))
        work.run()
    except OSError:
        pass
    gc.collect()  # closes what a failure has left open, while the flash is dead
    vfs.umount("/flash")
    return flash, work


def check(data, work, whole):
    """Check what a queue holds when the power is back."""
    mounted(Flash(data))
    queue = Queue("/flash/q", CAP)
    appended = work.appended if work else 0
    # All that was taken is there, and perhaps the record that was being written.
    assert appended <= queue.next <= appended + 1, (appended, queue.next)
    for number in range(queue.first, queue.next):
        assert queue.peek(number) == record(number), number
    # What is not there any more was acknowledged, or is counted.
    assert queue.first <= (work.acknowledged if work else 0) + queue.drops
    before = whole.drops[appended - 1] if appended else 0
    assert queue.drops in (before, whole.drops[min(appended, len(whole.drops) - 1)]), queue.drops
    assert queue.bytes <= CAP
    # The queue goes on.
    number = queue.append(b"after the cut")
    assert Queue("/flash/q", CAP).peek(number) == b"after the cut"
    vfs.umount("/flash")


def cuts():
    """Cut the power at every write."""
    flash = Flash()
    mounted(flash, format=True)
    vfs.umount("/flash")
    formatted = bytes(flash.data)
    flash, whole = work_until(-1, formatted)
    for left in range(flash.writes):
        cut, work = work_until(left, formatted)
        check(cut.data, work, whole)
    print(json.dumps({"cuts": flash.writes, "drops": whole.drops[-1], "erases": flash.erases}))


def torn():
    """Let a segment end anywhere, as on a file system that is not littlefs."""
    mounted(Flash(), format=True)
    queue = Queue("/flash/q", CAP)
    ends = [0]
    for number in range(5):
        queue.append(record(number))
        ends.append(queue.bytes)
    with open("/flash/q/000000.q", "rb") as file:
        whole = file.read()
    for length in range(len(whole) + 1):
        with open("/flash/q/000000.q", "wb") as file:
            file.write(whole[:length])
        queue = Queue("/flash/q", CAP)
        count = sum(end <= length for end in ends) - 1
        assert (queue.first, queue.next) == (0, count), (length, queue.next)
        assert queue.append(b"new") == count
        queue = Queue("/flash/q", CAP)
        assert queue.depth == count + 1 and queue.peek(count) == b"new"
        assert all(queue.peek(number) == record(number) for number in range(count))
        queue.ack(count)
        for name in os.listdir("/flash/q"):
            if name.endswith(".q"):
                os.remove("/flash/q/" + name)
    print(json.dumps(len(whole)))


def damaged():
    """Flip bits: that may cost records, but neither others nor the numbers."""
    mounted(Flash(), format=True)
    queue = Queue("/flash/q", CAP)
    while queue.next < 20:
        queue.append(record(queue.next))
    with open("/flash/q/000000.q", "rb") as file:
        whole = file.read()
    lost = []
    count = min(int(name[:-2]) for name in os.listdir("/flash/q") if name[:-2].isdigit() and int(name[:-2]))
    for place in range(len(whole)):
        with open("/flash/q/000000.q", "wb") as file:
            file.write(whole[:place] + bytes((whole[place] ^ 4,)) + whole[place + 1 :])
        queue = Queue("/flash/q", CAP)
        assert (queue.first, queue.next) == (0, 20)
        found = [queue.peek(number) for number in range(20)]
        assert all(one in (b"", record(number)) for number, one in enumerate(found))
        lost.append(found.count(b""))
    print(json.dumps([count, min(lost), max(lost)]))


def memory():
    """Print the heap that a queue takes more with 400 records than with 10, and flash writes per record."""
    flash = Flash()
    flash.data = bytearray(400 * BLOCK)
    mounted(flash, format=True)
    queue = Queue("/flash/q", 65536)
    held = []
    for count in (10, 400):
        writes = flash.writes
        while queue.next < count:
            queue.append(record(30))
        writes = (flash.writes - writes) / count
        for number in range(queue.first, queue.next):
            queue.peek(number)
        gc.collect()
        held.append(gc.mem_alloc())
    print(json.dumps([held[1] - held[0], writes]))


globals()[sys.argv[1]]()
