"""Studies of the works that the study of linear interpolation builds on and answers: a module for each.

Each has a docstring with its source, its command, what is expected and what was found here; `SCALES`; and a function
`study(scale)`. Their base trainings are those of `linescape.studies.vlaar2022` at the scale of the same name, so that
trainings are shared. Their questions are in `linescape.analysis.works`.
"""

from linescape.studies.study import Study

NAMES = (
    "goodfellow2015",
    "frankle2020revisit",
    "frankle2020lmc",
    "lucas2021",
    "zhang2019",
    "chatterji2020",
    "neyshabur2020",
    "liu2020",
    "keskar2017",
    "wang2023",
    "tao2024",
    "adilova2024",
    "ainsworth2022",
    "jordan2022",
    "garipov2018",
    "li2018",
    "zhou2023",
    "hu2021",
)


def is_of_a_work(study: Study) -> bool:
    """Whether a study is one of these, and no study of one's own that has such a name."""
    return bool(study.source) and study.name in NAMES
