"""Training methods, one file each. They import JAX only when a method is first used."""

from rcc_jax.methods.augseg import AugSeg
from rcc_jax.methods.base import Method
from rcc_jax.methods.cc import CC
from rcc_jax.methods.class_balanced import ClassBalanced
from rcc_jax.methods.co_training import CoTraining
from rcc_jax.methods.corrmatch import CorrMatch
from rcc_jax.methods.cps import CPS
from rcc_jax.methods.cutmix_seg import CutMixSeg
from rcc_jax.methods.daw import DAW
from rcc_jax.methods.dual_teacher import DualTeacher
from rcc_jax.methods.fixmatch import FixMatch
from rcc_jax.methods.imas import IMAS
from rcc_jax.methods.mean_teacher import MeanTeacher
from rcc_jax.methods.prevmatch import PrevMatch
from rcc_jax.methods.rcc import RCC
from rcc_jax.methods.st import ST
from rcc_jax.methods.stpp import STPP
from rcc_jax.methods.supervised import Supervised
from rcc_jax.methods.u2pl import U2PL
from rcc_jax.methods.unimatch import UniMatch
from rcc_jax.methods.unimatch_u2pl import UniMatchU2PL
from rcc_jax.methods.unimatch_v2 import UniMatchV2

# From the simplest to the newest, as tables list them.
METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        Supervised,
        ST,
        STPP,
        MeanTeacher,
        CutMixSeg,
        CPS,
        FixMatch,
        ClassBalanced,
        U2PL,
        CoTraining,
        AugSeg,
        IMAS,
        UniMatch,
        DAW,
        DualTeacher,
        CorrMatch,
        PrevMatch,
        UniMatchU2PL,
        UniMatchV2,
        CC,
        RCC,
    )
}

__all__ = ["METHODS", "Method"]
