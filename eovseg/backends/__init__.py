"""Other engines for parts of the network; the numbers stay those of `eovseg.model`."""
