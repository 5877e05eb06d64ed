"""Studies of the works that the study of linear interpolation builds on and answers: a module for each.

Each has a docstring with its source, its command, what is expected and what was found here; `SCALES`; and a function
`study(scale)`. Their base trainings are those of `linescape.studies.vlaar2022` at the scale of the same name, so that
trainings are shared. Their questions are in `linescape.analysis.works`.
"""

NAMES = ("frankle2020lmc", "frankle2020revisit", "goodfellow2015", "lucas2021", "tao2024", "wang2023")
