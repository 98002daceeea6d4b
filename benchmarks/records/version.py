"""The version of the suite, here alone: the package's metadata is read from it, and every record states it."""

VERSION = "0.2.0.dev0"
