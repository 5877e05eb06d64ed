"""What a training is, as data: a `Recipe` names everything that decides the result, and nothing else.

A recipe's key is a hash of its canonical JSON with defaults left out. So a field added later, whose default does
nothing, renames no old result. Every random draw is seeded from the recipe's content.
"""

from linescape.recipe.content import Content, canonical, derive_seed, seeds
from linescape.recipe.networks import LSTM, MLP, VGG, EfficientNetLite, LeNet, LoRA, Model, Norm, ResNet, title
from linescape.recipe.own import Own, OwnData, OwnModel
from linescape.recipe.parts import (
    Barrier,
    Everything,
    Init,
    Midway,
    Moment,
    OnCurve,
    Random,
    Recipe,
    Remaining,
    Scheme,
    Subspace,
    Trained,
    Trains,
    Weights,
)
from linescape.recipe.settings import Data, Optimizer, Poison, Schedule, TrainingPrecision

__all__ = [
    "LSTM",
    "MLP",
    "VGG",
    "Barrier",
    "Content",
    "Data",
    "EfficientNetLite",
    "Everything",
    "Init",
    "LeNet",
    "LoRA",
    "Midway",
    "Model",
    "Moment",
    "Norm",
    "OnCurve",
    "Optimizer",
    "Own",
    "OwnData",
    "OwnModel",
    "Poison",
    "Random",
    "Recipe",
    "Remaining",
    "ResNet",
    "Schedule",
    "Scheme",
    "Subspace",
    "Trained",
    "TrainingPrecision",
    "Trains",
    "Weights",
    "canonical",
    "derive_seed",
    "seeds",
    "title",
]
