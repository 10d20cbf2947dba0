"""Maps of the world onto itself, and the files of others that hold them."""
