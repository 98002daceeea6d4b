"""Demonstrations in the formats of other projects: `python -m envs.formats import` and `export`.

Each module reads and writes one format with `read(path, keys)` and `write(demonstrations, path)`. Nothing in a file is
executed, and no more memory is used than `common.LIMIT`. Files written here are read back as the same dataset, bit for
bit; other people's files give their arrays.
"""
