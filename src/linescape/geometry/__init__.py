"""Networks as points of a space: their states, groups of tensors, and paths from one state to another.

`state` holds `State`, a network's parameters and buffers by name; `groups` names tensors that move together; `paths`
maps alpha to a state. Works on any network; nothing here evaluates or trains.
"""
