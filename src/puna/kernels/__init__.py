"""The native step: a list of operations over the weights, run by one call of compiled code.

Built when the package is installed, if there is a C++ compiler; without one everything works
through torch. `PUNA_KERNELS` says otherwise: see `puna.home.kernels`.
"""

from puna.kernels.library import LEVELS, Library, Pool, library, pool
from puna.kernels.pack import pack_codes, pack_pairs, packed_bytes, padded, unpack_codes
from puna.kernels.program import (
    ALL,
    DUE,
    PICKED,
    Act,
    Expert,
    Format,
    Input,
    Kind,
    NormKind,
    Op,
    Picking,
    Program,
    Step,
    operation,
)

__all__ = [
    "ALL",
    "DUE",
    "LEVELS",
    "PICKED",
    "Act",
    "Expert",
    "Format",
    "Input",
    "Kind",
    "Library",
    "NormKind",
    "Op",
    "Picking",
    "Pool",
    "Program",
    "Step",
    "library",
    "operation",
    "pack_codes",
    "pack_pairs",
    "packed_bytes",
    "padded",
    "pool",
    "unpack_codes",
]
