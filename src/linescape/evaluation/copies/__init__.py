"""The private copy of a network, so that the caller's is never touched and positions have nothing of each other.

`working_copy` is given one state after another and compared with new copies, which `copying` makes. `observing` looks
at what one call does, `lending` puts the caller's network back where that had to be walked itself.
"""
