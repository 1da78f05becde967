"""Everything that makes the network of `eovseg.model` faster, applied by `optimise`; the results stay the same."""

from eovseg.fast.network import FastEOVSeg
from eovseg.fast.optimise import exportable, optimise, plain_network

__all__ = ["FastEOVSeg", "exportable", "optimise", "plain_network"]
