# The model: a .bitnet file, used where it lies, and the state that belongs to it.

import gc
import json
import os
import struct
import time
from array import array

import micropython
import uctypes
from micropython import const

try:
    import rp2
except ImportError:
    rp2 = None  # type: ignore[assignment]
try:
    import _bitnet
except ImportError:
    _bitnet = None  # type: ignore[assignment]
HAS_NATIVE = _bitnet is not None

_HEADER = "<4sHHIIHHHBBBBHBBBBIIII"  # native/SPEC.md 1.1
_HEADER_SIZE = const(64)
_OFFSET_FLAGS = const(6)
_LAYERS_APART = const(1)
MODEL_FOLDERS = ("/rom", "/models", "/")
# Where the weights of the layers are read from: bn_placement_t.
_PLACEMENTS = ("in_place", "copied", "streamed")
_STREAMED = const(2)
_NO_DMA = const(-1)
# RP2040's flash under firmware without ROMFS: where it is, and what a model there is called.
_FLASH_ADDRESS = const(0x10000000)
_RAW_FLASH = "flash"
# Bytes of heap that the rest of a unit needs besides the model's state.
_RESERVE = const(40960)


class ModelError(Exception):
    """A model file cannot be used here, or its answer breaks off; the text says why."""


class DeadlineError(Exception):
    """The deadline has passed before the model was ready."""


# Made in advance, because the heap is locked where it is raised.
_LATE = DeadlineError("the deadline has passed")


def load(
    path: str | None = None, window: int = 0, placement: str | None = None, memory: bytearray | None = None
) -> "Model":
    """Load the model in a file; without a path, the first one in /rom, raw flash, /models and /.

    Without a placement, weights are read from where board.toml says; if the heap is too small for that, from
    where they take less of it. window, memory and errors are those of Model.
    """
    return Model(path or _find(), window, placement, memory)


def constant(module: str, name: str, default):
    """Return a constant of a module that the host has written, such as bitnet_board from board.toml."""
    try:
        return getattr(__import__(module), name, default)
    except ImportError:
        return default


def find(suffix: str):
    """Yield the paths of files in /rom, /models and / that end with the suffix, those of a folder sorted."""
    for folder in MODEL_FOLDERS:
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in sorted(names):
            if name.endswith(suffix):
                yield folder.rstrip("/") + "/" + name


def _raw_flash():
    """Return the flash that board.toml sets aside for a model, or None if there is no model in it."""
    start, size = constant("bitnet_board", "MODEL_FLASH", (0, 0))
    data = uctypes.bytearray_at(_FLASH_ADDRESS + start, size) if size else b""
    return memoryview(data) if data[:4] == b"BITN" else None


def _find() -> str:
    path = next(find(".bitnet"), None)
    if not (path and path.startswith("/rom/")) and _raw_flash() is not None:
        return _RAW_FLASH
    if path is None:
        raise ModelError("no .bitnet file in " + ", ".join(MODEL_FOLDERS))
    return path


class Model:
    """A checked model and its KV cache.

    window: positions of the cache; 0 for as many as the model was made for.

    placement: where the weights are read from when tokens run. "in_place": from where the file lies.
    "copied": from RAM. "streamed": from RAM that holds one layer, which is filled from flash while the layer
    before it is computed, on an RP2040 by DMA. None: as board.toml says, if the heap has room for that.

    A model whose layers are in a file of their own is always streamed, from PSRAM. If PSRAM does not hold
    them yet, they are copied there from the .layers file of the same name.

    memory: what close() of an earlier model has returned. It is used again if it is large enough, because a
    heap that has been in use may have no other piece of that size.

    Raises ModelError with the reason if the file cannot be used here.
    """

    def __init__(
        self, path: str, window: int = 0, placement: str | None = None, memory: bytearray | None = None
    ) -> None:
        if _bitnet is None:
            raise ModelError("no native module _bitnet for this board on sys.path")
        if placement is not None and placement not in _PLACEMENTS:
            raise ModelError(f"placement {placement}: it is one of " + ", ".join(_PLACEMENTS))
        self.path = path
        self._memory = memory
        file, self.data = _open(path)
        self._held = [file] if file else []  # what is to be closed with the model
        self._state = bytearray()
        try:
            if len(self.data) >= _HEADER_SIZE and self.data[_OFFSET_FLAGS] & _LAYERS_APART:
                self._init_from_psram(window)
            else:
                self._init(window, placement or self._placement_that_fits(window))
        except ValueError as error:
            self.close()
            raise ModelError(path + ": " + str(error)) from None
        except ModelError:
            self.close()
            raise
        header = struct.unpack_from(_HEADER, self.data)
        self.file_size, self.crc32 = header[3:5]
        self.vocab_size, self.hidden_size = header[5:7]
        self.num_layers = header[8]
        self.window = window or header[12]
        self.weight_type = header[13]
        # The time at which feed() gives up, in ticks of time.ticks_ms(), or None.
        self.deadline: int | None = None
        # The parts follow each other, each at a multiple of 16.
        end = _HEADER_SIZE
        parts = []
        for size in header[17:21]:
            start = (end + 15) & ~15
            end = start + size
            parts.append((start, size))
        _, self.tokenizer, self.labels, self._metadata = parts

    def _init(self, window: int, placement: str) -> None:
        self.placement = placement
        where, channel = _PLACEMENTS.index(placement), _NO_DMA
        self._state = self._allocate(_bitnet.state_size(self.data, window, where))
        dma = _claim_dma() if where == _STREAMED else None
        if dma is not None:
            self._held.append(dma)
            channel = dma.channel
        _bitnet.init(self.data, self._state, window, where, channel)

    def _init_from_psram(self, window: int) -> None:
        pins = constant("bitnet_board", "PSRAM", None)
        if pins is None:
            raise ModelError(
                self.path + ": its layers are in a file of their own: it needs a board with PSRAM"
            )
        from .psram import PsramError, layers  # noqa: PLC0415 (there is no rp2 elsewhere)

        self.placement = _PLACEMENTS[_STREAMED]
        self._state = self._allocate(_bitnet.state_size(self.data, window, _STREAMED))
        try:
            psram = layers.open_psram(pins)
            self._held.append(psram)
            if self._finds_layers(psram, window):
                return
            layers.copy(self.path, MODEL_FOLDERS, psram)
        except PsramError as error:
            raise ModelError(str(error)) from None
        if not self._finds_layers(psram, window):
            raise ModelError(self.path + ": its .layers file is another model's, or PSRAM is faulty")

    def _finds_layers(self, psram, window: int) -> bool:
        """Initialize the state; say whether PSRAM holds this model's layers."""
        return _bitnet.init_psram(self.data, self._state, window, *psram.open_stream())

    def _allocate(self, size: int) -> bytearray:
        """Return memory for the state: that of an earlier model if it is large enough."""
        memory, self._memory = self._memory, None
        if memory is not None and len(memory) >= size:
            return memory
        gc.collect()
        return bytearray(size)

    def _placement_that_fits(self, window: int) -> str:
        """Choose board.toml's placement or, if the heap is too small for it, one that takes less RAM."""
        planned = _PLACEMENTS.index(constant("bitnet_board", "WEIGHTS", _PLACEMENTS[0]))
        order = (planned, _STREAMED, 0) if planned else (0,)
        given = len(self._memory) if self._memory else 0
        for where in order:
            gc.collect()
            size = _bitnet.state_size(self.data, window, where)
            if size <= given or size + _RESERVE <= gc.mem_free():
                break
        return _PLACEMENTS[where]

    def metadata(self) -> dict:
        """Parse what the exporter has noted; nothing is kept, for it is seldom needed. Raises ModelError."""
        start, size = self._metadata
        try:
            found = json.loads(bytes(memoryview(self.data)[start : start + size])) if size else {}
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ModelError(self.path + ": the metadata is no JSON object")
        return found

    def reset(self) -> None:
        """Empty the KV cache."""
        _bitnet.reset(self.data, self._state)

    def begin(self) -> int:
        """Fill the cache with the prefix of the model file, the template's stored beginning.

        Returns the position after it, which is 0 if there is no prefix or the window is too small for it.
        """
        return _bitnet.begin(self.data, self._state)

    def position(self) -> int:
        """Count the tokens since the last reset, including those of a prefix."""
        return _bitnet.position(self.data, self._state)

    def feed(self, tokens: array, count: int) -> None:
        """Run the first `count` of array('H') tokens through the model.

        Raises DeadlineError if `deadline` passes before the last layer begins; the cache is empty then.
        """
        micropython.heap_lock()
        try:
            if self.deadline is None:
                _bitnet.feed(self.data, self._state, tokens, count)
            elif not _bitnet.feed(self.data, self._state, tokens, count, time.ticks_ms, self.deadline):
                raise _LATE
        finally:
            micropython.heap_unlock()

    def top_k(self, allowed: bytearray, tokens: array, permille: array | None, count: int) -> int:
        """Find the best `count` tokens among those whose bits are set in `allowed`, LSB first.

        Fills tokens and permille, which are array('H'), from the best token on, and returns how many there
        are. The probabilities are those among the allowed tokens; permille=None saves their computation.
        """
        micropython.heap_lock()
        try:
            return _bitnet.top_k(self.data, self._state, allowed, tokens, permille, count)
        finally:
            micropython.heap_unlock()

    def logits(self, out: bytearray | array) -> None:
        """Fill `out` with the int32 logits of all vocab_size tokens, those after the last token fed."""
        _bitnet.logits(self.data, self._state, out)

    def snapshot(self) -> bytearray:
        """Copy the KV cache, for restore()."""
        snapshot = bytearray(_bitnet.save(self.data, self._state, None))
        _bitnet.save(self.data, self._state, snapshot)
        return snapshot

    def restore(self, snapshot: bytearray) -> None:
        """Put the KV cache back as it was at snapshot()."""
        _bitnet.restore(self.data, self._state, snapshot)

    def close(self) -> bytearray:
        """Close the file and return the memory, for another model; this one cannot be used afterwards."""
        memory = self._state
        self.data = self._state = bytearray()
        for held in self._held:
            held.close()
        self._held = []
        return memory


def _claim_dma():
    """Claim a DMA channel of an RP2040. Without one (None) the processor copies."""
    try:
        return rp2.DMA() if rp2 else None
    except OSError:
        return None


def _open(path: str) -> tuple:
    """Return a file and its bytes: in place if it lies in mapped flash (ROMFS), else copied to RAM."""
    if path == _RAW_FLASH:
        return None, _raw_flash()
    try:
        file = open(path, "rb")  # noqa: SIM115 (the model keeps it)
    except OSError:
        raise ModelError(path + ": no such file") from None
    try:
        return file, memoryview(file)
    except TypeError:
        pass
    size = file.seek(0, 2)
    file.seek(0)
    gc.collect()
    try:
        data = bytearray(size)
    except MemoryError:
        file.close()
        raise ModelError(f"{path}: {size} bytes do not fit into RAM; put the model into ROMFS") from None
    file.readinto(data)
    return file, data
