"""The questions of `linescape.studies.works`: a module for each, with a function `answers(results, level)`."""
