"""Number formats in blocks: packed bytes to numbers."""

from puna.quant.mxfp4 import dequantize_mxfp4

__all__ = ["dequantize_mxfp4"]
