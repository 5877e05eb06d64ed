"""Turns the words that name a network or data on the command line into networks, data and recipes.

=========  ======================================================================================================
a network  ``module:callable``, ``file.py:function``, ``torchvision:NAME``, ``timm:NAME``, ``hf:FOLDER``,
           ``linescape:NAME`` or NAME
data       ``module:callable``, ``file.py:function``, ``images:FOLDER``, ``hf-data:FOLDER``, ``text:FILE`` or the
           name of a data set of linescape
=========  ======================================================================================================

Names are followed by settings: ``resnet,depth=18,norm=none``, ``timm:vit_tiny_patch16_224,num_classes=10``. Only code
of modules and files that the user names is run, and nothing is downloaded.
"""

from linescape.cli.specs.devices import device
from linescape.cli.specs.measures import measures_named, smallest_effects
from linescape.cli.specs.resolve import Resolved, network_and_data
from linescape.cli.specs.settings import data_set, network
from linescape.recipe.typed import content

__all__ = [
    "Resolved",
    "content",
    "data_set",
    "device",
    "measures_named",
    "network",
    "network_and_data",
    "smallest_effects",
]
