# runner.c's work inside MicroPython: the same input and output, through the native module, its heap locked.
# Arguments: the folder of _bitnet.mpy, the input file, the output file.
import struct
import sys
from array import array

import micropython

sys.path.insert(0, sys.argv[1])
import _bitnet


def run(model, window, tokens, begin, output):
    try:
        state = bytearray(_bitnet.state_size(model, window))
        _bitnet.init(model, state, window)
    except ValueError:
        output.write(struct.pack("<i", -1))
        return
    output.write(struct.pack("<i", 0))
    out = bytearray(4 * struct.unpack_from("<H", model, 16)[0])
    if begin:
        micropython.heap_lock()
        _bitnet.begin(model, state)
        micropython.heap_unlock()
    one = array("H", [0])
    for token in tokens:
        one[0] = token
        micropython.heap_lock()
        _bitnet.feed(model, state, one, 1)
        _bitnet.logits(model, state, out)
        micropython.heap_unlock()
        output.write(struct.pack("<i", 0))
        output.write(out)


with open(sys.argv[2], "rb") as source, open(sys.argv[3], "wb") as output:
    while True:
        header = source.read(16)
        if not header:
            break
        size, window, count, begin = struct.unpack("<4I", header)
        model = source.read(size)
        run(model, window, struct.unpack(f"<{count}H", source.read(2 * count)), begin, output)
