from .adaptive import (
    AdaptiveCopy,
    PassCost,
    measure_pass_cost,
)
from .candidates import (
    CopyCandidateGenerator,
    assisted_copy_decoding,
)
from .cost import (
    CostModel,
    fit_cost,
)
from .generation import (
    GenerateOutput,
    copy_decoding,
    generate,
)
from .index import CopyIndex
from .replays import (
    Adaptive,
    CopySpec,
    Greedy,
    Oracle,
    PromptLookup,
    replay,
)
from .steps import (
    DecodingStats,
    Step,
)

__all__ = [
    "Adaptive",
    "AdaptiveCopy",
    "CopyCandidateGenerator",
    "CopyIndex",
    "CopySpec",
    "CostModel",
    "DecodingStats",
    "GenerateOutput",
    "Greedy",
    "Oracle",
    "PassCost",
    "PromptLookup",
    "Step",
    "assisted_copy_decoding",
    "copy_decoding",
    "fit_cost",
    "generate",
    "measure_pass_cost",
    "replay",
]
