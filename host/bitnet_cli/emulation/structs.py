"""The C structures that functions of the core take by address, as they lie in a processor's memory.

tests/native/test_structs.py holds names, order and offsets equal to the compiler's.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Struct:
    """A structure: its C type, and its fields in their order; `codes_1` is `codes[1]` in C."""

    c_type: str
    fields: dict[str, str]
    """Name → kind: `I` uint32_t, `i` int32_t, `P` pointer."""

    def pack(self, pointer_size: int = 4, **values: int) -> bytes:
        """Return the bytes of the structure with these values; a field without a value is 0."""
        data = b""
        for name, kind in self.fields.items():
            size = pointer_size if kind == "P" else 4
            data += bytes(-len(data) % size) + values.pop(name, 0).to_bytes(
                size, "little", signed=kind == "i"
            )
        if values:
            raise TypeError(f"{self.c_type} has no {', '.join(values)}")
        return data

    def offsets(self, pointer_size: int = 4) -> dict[str, int]:
        """Return where each field begins, in bytes."""
        found, end = {}, 0
        for name, kind in self.fields.items():
            size = pointer_size if kind == "P" else 4
            found[name] = end + -end % size
            end = found[name] + size
        return found


def _struct(c_type: str, *runs: tuple[str, str]) -> Struct:
    """Declare a structure by runs of fields of one kind."""
    return Struct(c_type, {name: kind for kind, names in runs for name in names.split()})


# native/core/core.h
SCALE = _struct("bn_scale_t", ("i", "m e"))
NORM = _struct("bn_norm_t", ("P", "gamma"), ("I", "size"), ("i", "bits"))
INPUT = _struct("bn_input_t", ("I", "weight_type columns bits"), ("P", "codes_0 codes_1 tables pair_sums"))
PRODUCT = _struct("bn_product_t", ("P", "matrix out_0 out_1"), ("I", "rows"), ("P", "wanted"))

# measure/baselines/baselines.h
INT8_PRODUCT = _struct(
    "int8_product_t",
    ("P", "input weights bias out"),
    ("i", "input_offset out_offset multiplier shift"),
    ("I", "columns rows"),
)
RUNQ_PRODUCT = _struct(
    "runq_product_t", ("P", "input weights input_scales weight_scales out"), ("I", "columns rows")
)
UNPACK_PRODUCT = _struct("unpack_product_t", ("P", "input weights out"), ("I", "columns rows"))
