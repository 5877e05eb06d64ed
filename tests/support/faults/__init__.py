"""Faults that befall small studies in earnest, counted: `python -m tests.support.faults --moments 50`.

counting   from what processes noted: what was done again, and what a death cost
watched    a process of a study, which notes what it does
trial      a study, its right results, and a store that faults befall
kinds      the faults; disks and clusters, what some of them need
"""
