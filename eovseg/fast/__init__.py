"""All that makes the network of `eovseg.model` fast, applied by one call, `optimise`; the numbers stay the same."""

from eovseg.fast.network import FastEOVSeg
from eovseg.fast.optimise import exportable, optimise, readable

__all__ = ["FastEOVSeg", "exportable", "optimise", "readable"]
