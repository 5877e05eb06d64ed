"""Networks as points of a space: their states, groups of tensors, and paths from one state to another.

`state` has `State`, a network's parameters and buffers by name; `mismatch` compares names, shapes and types; `groups`
names tensors that move together; `paths` maps alpha to a state. All works on any network; nothing evaluates or trains.
"""
