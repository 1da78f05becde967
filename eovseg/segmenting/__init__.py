"""`eovseg segment`: segments photos and folders of any size."""
