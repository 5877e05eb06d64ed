"""One self-contained HTML page for a study or for a probe of networks, with its figures and tables as files beside it.

The page opens from disk and makes no network requests: style, script, numbers and figures are in it. `study`,
`two_networks` and `several_networks` choose what is on a page; `page` turns it into HTML. Sentences are templates:
`sentences` renders those of an answer, `text` everything else.
"""

from linescape.report.exclusive import reserved
from linescape.report.logs import log
from linescape.report.page import check_free
from linescape.report.probe import check_place, write_probe
from linescape.report.study import write

__all__ = ["check_free", "check_place", "log", "reserved", "write", "write_probe"]
