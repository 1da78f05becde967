"""Compares the speed of the fast network and the plain one in the same process (`eovseg benchmark`)."""
