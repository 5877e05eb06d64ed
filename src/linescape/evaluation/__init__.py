"""From a state to the loss and error of each example, on a private copy of the network.

`evaluator` holds `Evaluator`, made of a `view` of the data and a `runner` of forward passes. `measures` are what is
computed for each example, `batches` and `forward` read the user's data, `subsets` draws examples, `batchnorm` holds the
treatments of BatchNorm statistics along a path.
"""
