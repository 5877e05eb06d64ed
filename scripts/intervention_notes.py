"""When each intervention misleads: what else it changes, and what to look at before its effect is believed."""

from __future__ import annotations

from collections.abc import Mapping

WHEN_IT_MISLEADS: Mapping[str, str] = {
    "init_scheme": (
        "Schemes also differ in the size of the weights, which changes plateaus by itself: compare with `init_scale`."
    ),
    "init_scale": (
        "The loss at the start changes too, and with it *mean loss* and *barrier above mean*: look at the "
        "plateau and the hump. The scale of weights before a BatchNorm has hardly any effect on the outputs."
    ),
    "noise": (
        "The start has a loss far above chance, so most of the line falls from it: look at the last part, or "
        "at the error."
    ),
    "zeros": (
        "All units of a layer are alike at the start. The line says how the end behaves when it is scaled, "
        "and nothing about a training."
    ),
    "pretrained": (
        "The network has had more steps in all than the base. Look at the start: its head is random, so its "
        "loss is near chance."
    ),
    "from_file": "The file's network has seen other data, and usually took many more steps than the base.",
    "adversarial": (
        "A start counts only if the random labels were learnt: look at the error of the first training, which "
        "the report states."
    ),
    "restart_at_barrier": (
        "Without a hump there is nothing to restart at, and the run is declined. A hump no higher than the "
        "noise has a top too: look at the *hump* and its interval."
    ),
    "partial": (
        "The network is trained twice as long as the base in all: compare with `length` too. Blocks drawn "
        "anew and blocks set back to their own start are two questions."
    ),
    "data_fraction": "The number of epochs stays, so there are fewer steps: compare with a base of as many steps.",
    "label_noise": (
        "Test data keep their labels. The training loss along the line is of the noisy labels, and the test "
        "loss is not."
    ),
    "augmentation": (
        "Lines are measured on images that are not varied, so the training loss along the line is not the one "
        "that was minimised."
    ),
    "mixup": (
        "Lines are measured on images that are not mixed. Outputs can be less certain at the same error, "
        "which raises the loss of the end: look at the error too."
    ),
    "weight_decay": (
        "Weights before a BatchNorm shrink without any effect on the outputs: look at the *relative distance* "
        "of each block, and at the line with recalibrated statistics."
    ),
    "learning_rate": (
        "A training may diverge, or be far from its end after the same number of epochs: look at the training "
        "loss first."
    ),
    "batch_size": (
        "The number of steps changes with it, and the learning rate does not: look at the training loss, and "
        "compare with `learning_rate`."
    ),
    "momentum": (
        "The effective learning rate of SGD changes with it, as lr / (1 − momentum): compare with `learning_rate`."
    ),
    "optimizer": (
        "At one learning rate it may compare a well tuned optimizer with a badly tuned one: give `lr`, and "
        "look at the final error of both."
    ),
    "schedule": (
        "The sum of all learning rates changes too, and with it how far weights move and decay: look at the *distance*."
    ),
    "length": (
        "More epochs also mean more decay of the weights and a later end: a *tail rise* of the test loss may "
        "be overfitting alone."
    ),
    "depth": (
        "Other networks have other distances and plateaus: compare *distance per parameter*, and blocks by "
        "their place, not by their name."
    ),
    "width": "*Distance* grows with the number of parameters: look at *distance per parameter*.",
    "norm": (
        "With BatchNorm a line needs a choice of statistics ([BatchNorm](batchnorm.md)), without it none, so "
        "part of a difference may come from this choice: measure `recalibrate` too."
    ),
    "skips": "Deep networks without them may not train at all: look at the final error first.",
}
"""Intervention -> one or two sentences, as Markdown."""
