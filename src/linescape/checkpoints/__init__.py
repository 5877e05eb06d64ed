"""Checkpoints: read and written in any common format (`formats`), aligned, compared, averaged, and found in a folder.

`align` makes two checkpoints the two ends of a line, `diff` compares them, `averaging` writes the network at one alpha
between them, `trajectory` finds the checkpoints of one training in a folder.
"""

from linescape.checkpoints.formats import Contents, FileFormat, check_new, encode, read, write, write_like

__all__ = ["Contents", "FileFormat", "check_new", "encode", "read", "write", "write_like"]
