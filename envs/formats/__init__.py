"""Demonstrations in the formats of other projects: `python -m envs.formats import` and `export`.

Each module reads and writes one format with `read(path, keys)` and `write(demonstrations, path)`. Nothing in a file is
executed, and no more memory is taken than `common.LIMIT`. Files that were written here give back the same data set, to
the bit; those of others give its arrays.
"""
