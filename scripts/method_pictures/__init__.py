"""Pictures of the method cards: one of what a measurement says, and one of a case in which it misleads.

Every curve is a run of linescape on the embedded images, and every number in a picture is computed by linescape.
`python -m scripts.draw_methods` writes them.
"""
