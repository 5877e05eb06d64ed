"""One self-contained HTML page for a study or for two networks, with its figures and tables as files beside it.

The page opens from disk and asks the network for nothing: style, script, numbers and figures are in it. `study` and
`two_networks` choose what is on a page, `about` is what both say; `page` turns it into HTML.
"""

from linescape.report.study import write
from linescape.report.two_networks import write_probe

__all__ = ["write", "write_probe"]
