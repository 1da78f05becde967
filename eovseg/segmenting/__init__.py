"""`eovseg segment`: photos, folders of any size and videos to files on disk."""
