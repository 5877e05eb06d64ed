"""Walks along a path: the loss and error at each alpha, as a curve.

`scanning` walks a path and checks both ends, `probing` measures everything about the line between two networks,
`curve` holds the result and `resume` its points on disk. Walks with fewer passes are in `economical`, which uses
`refinement` (fewer alphas) and `stopping` (fewer examples).
"""
