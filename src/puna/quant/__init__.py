"""Number formats in blocks: packed bytes to numbers, and back."""

from puna.quant.blocks import NATIVE, PLAIN, dequantize
from puna.quant.encode import ENCODABLE, quantize
from puna.quant.mxfp4 import dequantize_mxfp4

__all__ = ["ENCODABLE", "NATIVE", "PLAIN", "dequantize", "dequantize_mxfp4", "quantize"]
