"""Reads image archives in the forms in which they are published.

Nothing in a file is executed, nothing is unpacked to disk, and a size written in a header is believed
only as far as there are bytes.
"""
