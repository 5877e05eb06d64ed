"""The user's own networks: from code, torchvision, timm or a Hugging Face folder.

They are built without weights; these come from the checkpoints. Nothing is downloaded, and no code in a folder is run.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from linescape.checkpoints.formats.hugging_face import download_hint
from linescape.cli.specs.settings import literals
from linescape.cli.specs.user_code import call, optional
from linescape.errors import RecipeError, first_line, suggest
from linescape.recipe.typed import name_and_settings


def other(text: str) -> nn.Module | None:
    """A network that is not linescape's, from ``scheme:...`` or ``module:callable``; None if it is linescape's.

    Raises:
        RecipeError: it is unknown, a setting is impossible, or the package that has it is missing.
    """
    scheme, colon, rest = text.partition(":")
    if not colon or scheme == "linescape":
        return None
    known: dict[str, Callable[[str], nn.Module]] = {"torchvision": _torchvision, "timm": _timm, "hf": _hugging_face}
    made = known[scheme](rest) if scheme in known else call(text)
    if not isinstance(made, nn.Module):
        raise RecipeError(f"{text} returned a {type(made).__name__}. It must return the network, a torch nn.Module.")
    return made


def is_folder_of_hugging_face(path: Path | None) -> bool:
    """Whether a path is a folder written by ``save_pretrained`` of a Hugging Face model."""
    return path is not None and (path / "config.json").is_file()


def _torchvision(text: str) -> nn.Module:
    models = optional("torchvision.models", "torchvision")
    name, settings = name_and_settings(text)
    if name not in models.list_models():
        raise RecipeError(f"torchvision has no model {name!r}. {suggest(name, models.list_models())}")
    builder = models.get_model_builder(name)
    # By default, those for detection and segmentation download weights of their backbone.
    none = {key: None for key in ("weights", "weights_backbone") if key in inspect.signature(builder).parameters}
    return _built(text, builder, {**literals(settings), **none})


def _timm(text: str) -> nn.Module:
    timm = optional("timm", "timm")
    name, settings = name_and_settings(text)
    if not timm.is_model(name):
        raise RecipeError(f"timm has no model {name!r}. {suggest(name, timm.list_models())}")
    return _built(text, lambda **given: timm.create_model(name, **given), {**literals(settings), "pretrained": False})


def _hugging_face(text: str) -> nn.Module:
    folder = Path(text)
    if not is_folder_of_hugging_face(folder):
        raise RecipeError(
            f"{folder} has no config.json, so it does not say which network it is of. Name the folder that "
            f"`save_pretrained` wrote.{download_hint(folder, 'hf:')}"
        )
    auto, base, version = optional("transformers", "hf", "AutoConfig", "PreTrainedModel", "__version__")
    try:
        config = auto.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises many kinds of errors
        raise RecipeError(
            f"{folder / 'config.json'} could not be read ({first_line(error)}). A network whose code is in its folder "
            "is not run: give it as module:callable."
        ) from error
    name = next(iter(config.architectures or ()), None)
    (kind,) = optional("transformers", "hf", str(name))
    if not (isinstance(kind, type) and issubclass(kind, base)):
        ours = [known for known in dir(optional("transformers", "hf")) if known.startswith(str(name)[:3])]
        raise RecipeError(
            f"{folder / 'config.json'} names the class {name!r} in 'architectures', which the installed transformers "
            f"{version} does not have. {suggest(str(name), ours) if ours else ''} Name a class of it "
            "there, or give the network as module:callable."
        )
    for part in (config, config.get_text_config()):
        part.use_cache = False  # a network that returns a cache cannot be traced as a graph
    with _default_dtype(getattr(config, "dtype", None) or getattr(config, "torch_dtype", None)), _nothing_drawn():
        made = _built(f"hf:{text}", lambda: kind(config), {})
    made.tie_weights()  # type: ignore[operator]
    for parameter in made.parameters():
        nn.init.zeros_(parameter)  # uninitialised memory may hold NaN
    return made


def _built(text: str, make: Callable[..., Any], settings: dict[str, object]) -> nn.Module:
    try:
        return make(**settings)  # type: ignore[no-any-return]
    except Exception as error:  # which error a wrong setting raises depends on the network's code
        raise RecipeError(f"{text!r} could not be built: {first_line(error)}. Check its settings.") from error


def _nothing_drawn() -> AbstractContextManager[object]:
    """Inside, models of transformers do not initialise their weights, which takes a minute for billions."""
    for module in ("transformers.initialization", "transformers.modeling_utils"):  # since version 5, and before
        if importlib.util.find_spec(module):
            inside = getattr(importlib.import_module(module), "no_init_weights", None)
            if inside is not None:
                return inside()  # type: ignore[no-any-return]
    return nullcontext()


@contextmanager
def _default_dtype(dtype: object) -> Iterator[None]:
    """Set the default dtype; casting the network afterwards would change what it keeps in float32 by design."""
    before = torch.get_default_dtype()
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype, None)
    if isinstance(dtype, torch.dtype) and dtype.is_floating_point:
        torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
