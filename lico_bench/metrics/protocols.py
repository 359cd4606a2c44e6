"""Named rules of perturbation curves. A changed rule gets a new name; rows of two never mix."""

from __future__ import annotations

from types import MappingProxyType

from lico_bench.errors import UnknownNameError
from lico_bench.records import Protocol

# 32 steps divide the pixels of 32, 64 and 224 px pictures evenly. The fill is the mean colour of
# ImageNet, the usual "zero after normalisation", fixed so that it needs nothing from the model.
# The blur is in shares of the side, so that 32 px and 224 px pictures lose as much. The class is
# the label: both arms of a pair are asked the same question.
LICO_BENCH_1 = Protocol(
    name="lico_bench_1",
    steps=32,
    fill_rgb=(0.485, 0.456, 0.406),
    blur_sigma_frac=0.125,
    blur_radius_sigmas=2.0,
    explained_class="label",
    score="probability",
    ties="stable_descending",
    source="this project; after Petsiuk et al., BMVC 2018",
)


class _Protocols(dict[str, Protocol]):
    def __missing__(self, name: str) -> Protocol:
        raise UnknownNameError.of("protocol", name, self)


PROTOCOLS = MappingProxyType(_Protocols({LICO_BENCH_1.name: LICO_BENCH_1}))
