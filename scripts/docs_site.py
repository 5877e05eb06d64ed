"""Pages of the documentation that are made of what is elsewhere, so that nothing is written twice; a hook of mkdocs.

The README and its kin as pages, a card with pictures for each statistic and intervention, and the reference.
"""

from __future__ import annotations

import html
import inspect
import re
from pathlib import Path
from typing import Any

import linescape
from linescape.evaluation import batchnorm
from linescape.report.page import inline
from linescape.shape import definitions
from linescape.training import interventions
from scripts.intervention_notes import WHEN_IT_MISLEADS

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "figures" / "methods"

_OF_REPOSITORY = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
}
"""Page -> the file of the repository that it shows."""

_MODULES = {
    "shape": ["shape"],
    "groups": ["geometry.groups"],
    "checkpoints": ["checkpoints"],
    "recipe": ["recipe"],
    "studies": ["studies.study", "studies.store", "studies.run", "studies.executors", "analysis.tables"],
    "report": ["report"],
    "errors": ["errors"],
}
"""Page of the reference -> the modules on it."""

_FOR_USERS = {
    "errors": "filters: ['!^[a-z_]']",  # its functions word messages
    "report": "members: [write, write_probe, log]",
    "checkpoints": "members: [read, Contents, FileFormat, write, write_like]",
}
"""For modules of which users need only some names: the options by which mkdocstrings selects them."""

FACE = {
    "Two networks": ("compare", "Probe", "probe", "between", "align", "curve_between", "Keeper"),
    "Measuring a path": (
        "Evaluator",
        "scan",
        "ScanOptions",
        "Until",
        "Curve",
        "Series",
        "Point",
        "collect",
        "walk",
        "cost",
    ),
    "Paths": ("Path", "Line", "Only", "Ray", "Bend", "Slerp", "Merged", "Repaired"),
    "Planes": ("Plane", "scan_plane", "Surface"),
    "Criticality of modules": ("criticality", "Criticality"),
    "Measures": ("cross_entropy", "error", "binary_cross_entropy", "binary_error", "squared_error"),
    "Networks as points": ("State", "distances", "distance", "Distance", "difference", "norm", "lerp"),
}
"""The public names of `linescape`, grouped by purpose. Its modules have separate pages."""

_OF_EVERY_PATH = (
    "filters: ['!^_', '!^(template|moving|straight|given_by_ends|unsaved|spectral|tensor|write|describe)$']"
)
"""Members that all paths have are documented once, on `Path`."""

_BEFORE_MEASUREMENTS = """L(α) is the loss at α; L(0) is the start, L(1) the end.

The pictures are of small networks on the images that come with linescape, drawn by `python -m scripts.draw_methods`;
each shows one training or one pair of networks, and says nothing about others. The same few lines come back, so that
statistics can be compared: two networks *trained apart* (the first longer), a network from its *random start* to the
end of training, and one *overfitted* to 300 images."""

_AFTER_GUIDES = "---\nsearch: {boost: 0.4}\n---\n\n"
"""Begins a page of the reference: it names everything, and would stand before what explains in the search."""


def pages() -> dict[str, str]:
    """Every page that is made, by its path in the site, as Markdown."""
    made = {page: shown(ROOT / file) for page, file in _OF_REPOSITORY.items()}
    made["changelog.md"] = "---\nsearch: {exclude: true}\n---\n" + made["changelog.md"]  # it names everything
    made["methods/measurements.md"] = measurements()
    explained = _markdown(inspect.getdoc(batchnorm) or "")
    made["methods/batchnorm.md"] = f"# BatchNorm along a line\n\n{explained}\n\n{pictures('batchnorm')}\n"
    made["methods/interventions.md"] = changes()
    made["reference/linescape.md"] = face()
    for page, modules in _MODULES.items():
        directives = "\n\n".join(_directive(f"linescape.{module}", 2, _FOR_USERS.get(module)) for module in modules)
        made[f"reference/{page}.md"] = f"{_AFTER_GUIDES}# {page.capitalize()}\n\n{directives}\n"
    return made


def shown(file: Path) -> str:
    """A file of the repository as a page: links to the documentation are made relative, others are text.

    A link that shows a path, as a reader of the repository wants it, shows the title of the page.
    """
    page_of = {name: page for page, name in _OF_REPOSITORY.items()}

    def placed(link: re.Match[str]) -> str:
        text, target = link[1], link[2].removeprefix("docs/")
        if "://" in target or target.startswith("#"):
            return link[0]
        if text == link[2] and (ROOT / text).is_file():
            text = (ROOT / text).read_text().partition("\n")[0].removeprefix("# ")
        if target in page_of:
            return f"[{text}]({page_of[target]})"
        return f"[{text}]({target})" if (ROOT / "docs" / target.partition("#")[0]).is_file() else text

    return re.sub(r"\[([^\]]*)\]\(([^)\s]+)\)", placed, file.read_text())


def measurements() -> str:
    """A card for each statistic of a curve, of a layer-wise line, and each distance."""
    parts = ["# Measurements", _BEFORE_MEASUREMENTS]
    groups = {
        "Statistics of a line": definitions.DEFINITIONS,
        "Of a layer-wise line": {
            name: definition
            for name, definition in definitions.LAYERWISE.items()
            if name not in definitions.DEFINITIONS
        },
        "Distances": definitions.DISTANCES,
    }
    for title, cards in groups.items():
        parts.append(f"## {title}")
        for name, card in cards.items():
            facts = f"`{name}` · source: {card.source}" + (f" · unit: {card.unit}" if card.unit else "")
            parts += [f"### {card.label[0].upper()}{card.label[1:]}", f"    {card.formula}", facts, card.meaning]
            parts += [f"**When it misleads.** {card.misleads}", pictures(name)]
    return "\n\n".join(parts) + "\n"


def changes() -> str:
    """A card for each intervention on a training."""
    parts = ["# Interventions", _markdown(inspect.getdoc(interventions) or "")]
    for name in interventions.names():
        function = interventions.by_name(name)
        arguments = [_argument(each) for each in list(inspect.signature(function).parameters.values())[1:]]
        parts += [f"## {name}", f"    {name}({', '.join(arguments)})", _markdown(inspect.getdoc(function) or "")]
        parts += [f"**When it misleads.** {WHEN_IT_MISLEADS[name]}", pictures(name)]
    return "\n\n".join(parts) + "\n"


def _argument(parameter: inspect.Parameter) -> str:
    """A parameter as it is written; its annotation is text."""
    plain = str(parameter.replace(annotation=parameter.empty))
    name, equals, default = plain.partition("=")
    return f"{name}: {parameter.annotation}" + (f" = {default}" if equals else "")


def pictures(name: str) -> str:
    """The pictures of a card as HTML: what it says, and for some also where it misleads; empty if there are none."""
    files = [PICTURES / f"{name}.svg", PICTURES / f"{name}-misleads.svg"]
    drawn = [_picture(file) for file in files if file.is_file()]
    if len(drawn) == 2:
        captions = ("What it says", "Where it misleads")
        drawn = [f"{each}<figcaption>{what}</figcaption>" for each, what in zip(drawn, captions, strict=True)]
    return f'<div class="pictures">{"".join(f"<figure>{each}</figure>" for each in drawn)}</div>' if drawn else ""


def _picture(file: Path) -> str:
    """A picture in the colours of the page; its title, which `scripts.draw_methods` wrote, is its text alternative."""
    svg = file.read_text(encoding="utf-8")
    title = re.search(r"<title>(.*?)</title>", svg, flags=re.DOTALL)
    assert title is not None, f"{file} has no title: draw it by `python -m scripts.draw_methods`"
    return inline(svg.replace(title[0], "", 1), f"picture-{file.stem}", html.unescape(title[1]))


def _markdown(docstring: str) -> str:
    """A docstring as Markdown: its arguments as a list."""
    text = docstring.replace("``", "`").replace("    recipe: the training that is changed.\n", "")
    text = re.sub(r"^(Args|Raises):$", r"**\1**\n", text, flags=re.MULTILINE)
    text = re.sub(r"\n {5,}", " ", text)
    return re.sub(r"^    (\w+): ", r"- `\1`: ", text, flags=re.MULTILINE)


def face() -> str:
    """The reference of the names of `linescape` itself: a line about each, then all of each."""
    overview, parts = ["| name | what it is |", "|---|---|"], []
    for title, names in FACE.items():
        overview.append(f"| **{title}** | |")
        parts.append(f"## {title}")
        for name in names:
            value = getattr(linescape, name)
            path = f"{value.__module__}.{value.__qualname__}"
            overview.append(f"| [`{name}`](#{path}) | {(inspect.getdoc(value) or '').partition(chr(10))[0]} |")
            of_path = isinstance(value, type) and issubclass(value, linescape.Path) and value is not linescape.Path
            parts.append(_directive(path, 3, _OF_EVERY_PATH if of_path else None))
    beginning = "`import linescape as ls` gives these names; [In Python](../python.md) shows them at work."
    return "\n\n".join([f"{_AFTER_GUIDES}# linescape", beginning, "\n".join(overview), *parts]) + "\n"


def _directive(path: str, level: int, options: str | None) -> str:
    """What mkdocstrings replaces by the documentation of a name."""
    lines = [f"::: {path}", "    options:", f"      heading_level: {level}", *([f"      {options}"] if options else ())]
    return "\n".join(lines)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages, as mkdocs asks its hooks."""
    from mkdocs.structure.files import File

    for path, content in pages().items():
        files.append(File.generated(config, path, content=content))
    for example in sorted((ROOT / "examples").rglob("*.*")):  # which the gallery links to
        if example.suffix in (".py", ".ipynb") and example.stem != "__init__":
            files.append(File.generated(config, example.relative_to(ROOT).as_posix(), abs_src_path=str(example)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Links to the examples, which lie beside docs/ in the repository and in the site; as mkdocs asks its hooks."""
    return markdown.replace("](../examples/", "](examples/")


def on_page_content(content: str, **_: object) -> str:
    """Make the empty corner of a table no heading, which a screen reader would announce; as mkdocs asks its hooks."""
    return re.sub(r"<th([^>]*)></th>", r"<td\1></td>", content)


def on_post_page(output: str, **_: object) -> str:
    """Give the dialog of the search a name, which the theme leaves out; as mkdocs asks its hooks."""
    return output.replace(
        'data-md-component="search" role="dialog"', 'data-md-component="search" role="dialog" aria-label="Search"'
    )


def on_post_template(output: str, **_: object) -> str:
    """The same on the page that says that an address is not there."""
    return on_post_page(output)
