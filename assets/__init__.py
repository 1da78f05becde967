"""Files that ship with the project; a wheel carries the weights and vocabularies as the package `eovseg.shipped`."""
