"""Speed of the fast network beside the readable one, in one process (`python -m eovseg benchmark`)."""
