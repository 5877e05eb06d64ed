"""A study's results as tables, and its questions answered with intervals; reads results, computes no networks.

`tables` holds data frames, `inference` intervals across runs, `permutation` tests between few runs, `answers` one
question a file.
"""
