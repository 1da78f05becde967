"""Speed measured beside a plain implementation of the same network, in one process (`python -m eovseg benchmark`)."""
