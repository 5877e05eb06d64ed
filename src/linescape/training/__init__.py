"""Trains a network from a recipe, step by step, and resumes to the bit.

`loop` yields its progress after each step, `step` computes one step, `initialisation` makes the start of a training,
`interventions` turn one recipe into another, `weight_files` fits weights from a file to a network.
"""
