"""Changes of PyTorch files: opcodes of the pickle, inside the archive or alone."""

from __future__ import annotations

import pickletools
import struct
import zipfile
from io import BytesIO
from random import Random

from tests.fuzz.target import Native

_ODD = (0, 1, 2, 255, 1 << 16, (1 << 31) - 1, -1, -(1 << 31))
_NAMES = (
    *("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "torch FloatStorage"),
    *("torch._utils _rebuild_sparse_tensor", "torch._utils _rebuild_meta_tensor_no_storage"),
    *("torch._utils _rebuild_wrapper_subclass", "torch._utils _rebuild_qtensor", "torch device"),
    *("torch.storage UntypedStorage", "torch Size", "torch Tensor", "torch.nn.parameter Parameter"),
    *("collections OrderedDict", "collections Counter", "collections defaultdict", "torch dtype"),
    *(
        "os system",
        "builtins eval",
        "torch.hub load",
        "torch._utils _rebuild_device_tensor_from_numpy",
    ),
    *("torch.serialization _get_layout", "torch._tensor _rebuild_from_type_v2", "torch bfloat16"),
)
_OPS = b"(.0123FGIJKLMNPQRSTUVX]abcdeghijlopqrstu}\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b"
_SNIPPETS = (
    b")",
    b"}",
    b"]",
    b"N",
    b"(",
    b"t",
    b"\x85",
    b"\x86",
    b"R",
    b"b",
    b"Q",
    b"0",
    b"2",
    b"s",
)


def mutate_pickle(data: bytes, dice: Random, native: Native) -> bytes:
    """Change a PyTorch file of either form."""
    if dice.random() < 0.1:
        return native(data)
    if data[:4] != b"PK\3\4":
        return _changed(data, dice, native)
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    except Exception:  # zipfile raises many kinds for a broken archive
        return native(data)
    return _zipped(parts, dice, native)


def _zipped(parts: dict[str, bytes], dice: Random, native: Native) -> bytes:
    out = BytesIO()
    squeeze = zipfile.ZIP_DEFLATED if dice.random() < 0.03 else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", squeeze) as archive:
        for name, content in parts.items():
            if name.endswith("data.pkl"):
                content = _changed(content, dice, native)
            elif dice.random() < 0.1:
                content = dice.choice((b"", content[:-1], content * 2, native(content)))
            if dice.random() < 0.03:
                name = dice.choice((name + "x", "../" + name, name.upper(), "data.pkl", "/a"))
            archive.writestr(name, content)
    return out.getvalue()


def _changed(pickle: bytes, dice: Random, native: Native) -> bytes:
    try:
        spots = _spots(pickle)
    except Exception:  # so does pickletools
        spots = []
    if not spots:
        return native(pickle)
    for _ in range(dice.choice((1, 1, 2, 3))):
        start, end = dice.choice(spots)
        if end <= len(pickle):
            pickle = pickle[:start] + _op(pickle[start:end], dice) + pickle[end:]
    return pickle


def _spots(pickle: bytes) -> list[tuple[int, int]]:
    file = BytesIO(pickle)
    spots: list[tuple[int, int]] = []
    while file.tell() < len(pickle):
        base = file.tell()
        starts = [at for _, _, at in pickletools.genops(file) if at is not None]
        ends = [*starts[1:], file.tell()]
        spots += zip(starts, ends, strict=True)
        if file.tell() == base or len(spots) > 3000:
            break
    return spots


def _op(op: bytes, dice: Random) -> bytes:
    kind = dice.randrange(7)
    if kind == 0:
        return b""
    if kind == 1:
        return op + op
    if kind == 2:
        return op + dice.choice(_SNIPPETS)
    if kind == 3 or op[:1] == b"c":
        module, name = dice.choice(_NAMES).split(" ")
        return f"c{module}\n{name}\n".encode()
    if kind == 4 or op[:1] in (b"K", b"J", b"M"):
        return b"J" + struct.pack("<i", dice.choice(_ODD))
    if kind == 5:
        return b"\x8a\x08" + struct.pack("<q", dice.choice((1 << 62, -(1 << 62), 1 << 45, 3)))
    return bytes([dice.choice(_OPS)]) + op[1:]
