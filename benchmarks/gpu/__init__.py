"""What an hour with a GPU is used for, in steps that stop by the clock and go on where they stopped: `make gpu`.

    python -m benchmarks.gpu [--dry] [--only STEP] [--minutes 8] [--state FOLDER] [--out FOLDER]
    python -m benchmarks.gpu pack FOLDER

The steps, in this order: ``tests`` (the tests marked ``gpu``), ``lines`` and ``layers`` (whole and layer-wise lines
against the plain loop in exact float32, TF32 and bfloat16), ``captures`` (lines with and without CUDA graphs),
``together`` (several small networks in one call), ``training`` (against the plain loop with TF32), and
``study`` (Vlaar & Frankle 2022 at the scale ``cifar10``, seed by seed). docs/gpu.md says how to use a machine that has
a GPU and no network.
"""
