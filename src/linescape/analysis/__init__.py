"""A study's results as tables, and its questions answered with intervals. Reads results and evaluates no network.

`tables` makes data frames, `inference` intervals across runs, `permutation` tests between few runs, `answers` the
result of each question as data.
"""
