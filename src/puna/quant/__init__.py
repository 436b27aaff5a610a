"""Number formats in blocks: packed bytes to numbers, and back."""

from puna.quant.blocks import NATIVE, PLAIN, dequantize
from puna.quant.encode import ENCODABLE, quantize

__all__ = ["ENCODABLE", "NATIVE", "PLAIN", "dequantize", "quantize"]
