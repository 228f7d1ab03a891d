"""The sources of published numbers, and what their rows depend on.

Most differences between published rows come from the labelled list, the output stride, the last or
the best epoch on the validation images, and the network. `Marks` says these, and tables show them.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from rcc_jax.reporting import published
from rcc_jax.reporting.published import Numbers

USUAL, U2PL_LISTS, OWN_LISTS = "usual list", "U2PL's list", "own list"


@dataclasses.dataclass(frozen=True)
class Marks:
    """What a published row depends on; what its source does not say is left out.

    Attributes:
        lists: Which labelled images: `USUAL`, `U2PL_LISTS` or `OWN_LISTS`; '' if not said.
        stride: Output stride; None if not said.
        epoch: 'best' on the validation images, or 'last'; '' if not said.
        network: How the network differs from ours.
    """

    lists: str = USUAL
    stride: int | None = None
    epoch: str = ""
    network: str = ""

    def __str__(self) -> str:
        stride = f"stride {self.stride}" if self.stride else ""
        return ", ".join(filter(None, (self.lists, stride, self.epoch, self.network)))


@dataclasses.dataclass(frozen=True)
class Source:
    """Published numbers of one source.

    Attributes:
        title: Its name in tables.
        numbers: The numbers.
        marks: What its rows depend on.
        others: Rows with other marks, by method, or by data set and method.
    """

    title: str
    numbers: Numbers
    marks: Marks = Marks()
    others: Mapping[str | tuple[str, str], Marks] = dataclasses.field(default_factory=dict)

    def marks_of(self, data: str, method: str) -> Marks:
        """The marks of a row."""
        return self.others.get((data, method)) or self.others.get(method) or self.marks

    def title_of(self, data: str, method: str) -> str:
        """The title with the marks of a row."""
        return ": ".join(filter(None, (self.title, str(self.marks_of(data, method)))))


_MULTI_GRID = Marks(stride=16, epoch="best", network="multi-grid")
_U2PL_MARKS = Marks(lists=OWN_LISTS, stride=8, epoch="best", network="multi-grid")
_U2PL_BLENDER = dataclasses.replace(_U2PL_MARKS, lists=U2PL_LISTS)
_CPS_MARKS = Marks(stride=16, epoch="best", network="dilations 2, 4, 8")
_STPP_MARKS = Marks(stride=8, epoch="best", network="dropout")
_CO_TRAIN = Marks(epoch="best", network="MiT and a ResNet of cosine coefficients")

# In the order of the rows of tables.
SOURCES: Sequence[Source] = (
    Source(
        "paper",
        published.PAPER,
        others={
            "stpp": _STPP_MARKS,
            ("pascal_blender", "u2pl"): _U2PL_BLENDER,
            "dual_teacher": Marks(lists=""),
            "augseg": _MULTI_GRID,
            "imas": _MULTI_GRID,
            "daw": Marks(stride=16, epoch="best"),
            ("cityscapes", "unimatch"): Marks(stride=16, epoch="best"),
        },
    ),
    Source("UniMatch's README", published.README, Marks(stride=16, epoch="best")),
    Source("public log", published.LOGS, Marks(stride=16, epoch="best")),
    Source("V2's log", published.V2_BEST, Marks(epoch="best")),
    Source("V2's log", published.V2_LAST, Marks(epoch="last")),
    Source("AugSeg's README", published.AUGSEG, _MULTI_GRID),
    Source(
        "AugSeg's README",
        published.AUGSEG_U2PL,
        dataclasses.replace(_MULTI_GRID, lists=U2PL_LISTS),
    ),
    Source(
        "AugSeg's README",
        published.AUGSEG_OTHERS,
        others={"stpp": _STPP_MARKS, "u2pl": dataclasses.replace(_U2PL_MARKS, lists="")},
    ),
    Source("iMAS's log", published.IMAS, _MULTI_GRID),
    Source(
        "iMAS's README",
        published.IMAS_OTHERS,
        others={
            "stpp": _STPP_MARKS,
            "cps": _CPS_MARKS,
            "u2pl": dataclasses.replace(_U2PL_MARKS, lists=USUAL),
            "imas": dataclasses.replace(_MULTI_GRID, network="multi-grid, auxiliary loss"),
        },
    ),
    Source(
        "U2PL's README",
        published.U2PL,
        _U2PL_MARKS,
        {
            ("pascal_blender", "u2pl"): _U2PL_BLENDER,
            ("cityscapes", "u2pl"): dataclasses.replace(
                _U2PL_MARKS, lists="", network="multi-grid, auxiliary loss"
            ),
        },
    ),
    Source("CorrMatch's README", published.CORRMATCH, Marks(stride=8, epoch="best")),
    Source(
        "PrevMatch's README",
        published.PREVMATCH,
        Marks(stride=16, epoch="best"),
        {("cityscapes", "prevmatch"): Marks(lists="", stride=16, epoch="best")},
    ),
    Source(
        "Co-Train's README",
        published.CO_TRAIN,
        dataclasses.replace(_CO_TRAIN, stride=16),
        {("cityscapes", "co_training"): dataclasses.replace(_CO_TRAIN, stride=8)},
    ),
)
