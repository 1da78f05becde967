"""Where each data set keeps its files: one module a data set, in the form that its official download unpacks to."""
