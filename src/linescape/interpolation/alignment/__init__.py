"""Permutation alignment: a network's units in the order in which they fit another network best, computing the same.

`units` finds in the graph of a call which axes of which tensors have to be permuted together, `matching` chooses the
permutations, and `aligning` applies and checks them.
"""
