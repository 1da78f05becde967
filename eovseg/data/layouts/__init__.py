"""Directory layouts, one module per data set, as unpacked from its official download."""
