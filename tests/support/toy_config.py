"""The demo, for which the toy method can be chosen: a method that no file of the package knows."""

from configs import demo
from rcc_jax.methods import METHODS
from tests.support.toy_method import Toy

METHODS[Toy.name] = Toy
get_config = demo.get_config
