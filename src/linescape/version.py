"""The version of linescape, which builds of the package read here too, without an installation."""

VERSION = "0.1.0"
