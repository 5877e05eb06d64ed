"""From a path to a curve: the loss and error at each alpha.

`scanning` measures a path and checks both ends, `options` says how, `probing` measures everything about the line
between two networks, `curve` is the result and `resume` its points on disk. Scans with fewer forward passes are in
`economical`, which uses `refinement` (fewer alphas) and `stopping` (fewer examples).
"""
