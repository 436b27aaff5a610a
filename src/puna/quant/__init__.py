"""Number formats in blocks: packed bytes to numbers, and back; packed weights that compute."""

from puna.quant.blocks import NATIVE, PLAIN, dequantize
from puna.quant.encode import ENCODABLE, quantize
from puna.quant.feedback import pack_fed
from puna.quant.mxfp4 import dequantize_mxfp4
from puna.quant.pack import pack
from puna.quant.packed import (
    GROUPS,
    LEVELS,
    NF4,
    Grouped,
    Packed,
    RowWise,
    bits_per_weight,
    change,
    from_tensors,
    nibbles,
    pair_nibbles,
    shape_of,
    slices_of,
    tensors_of,
    unpack,
    unpack_rows,
)
from puna.quant.repack import repack

__all__ = [
    "ENCODABLE",
    "GROUPS",
    "LEVELS",
    "NATIVE",
    "NF4",
    "PLAIN",
    "Grouped",
    "Packed",
    "RowWise",
    "bits_per_weight",
    "change",
    "dequantize",
    "dequantize_mxfp4",
    "from_tensors",
    "nibbles",
    "pack",
    "pack_fed",
    "pair_nibbles",
    "quantize",
    "repack",
    "shape_of",
    "slices_of",
    "tensors_of",
    "unpack",
    "unpack_rows",
]
