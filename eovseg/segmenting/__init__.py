"""`eovseg segment`: photos and folders of any size to files on disk."""
