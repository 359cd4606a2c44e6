"""Named rules of perturbation curves. A changed rule gets a new name; rows of two never mix."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from lico_bench.errors import UnknownNameError
from lico_bench.records import IMAGENET_MEAN, Protocol

# 32 steps divide the pixels of 32, 64 and 224 px images evenly. The fill is the mean colour of
# ImageNet, the usual "zero after normalisation", fixed so that it needs nothing from the model.
# The blur is in shares of the side, so that 32 px and 224 px images lose as much. The class is
# the label: both arms of a pair are asked the same question.
LICO_BENCH_1 = Protocol(
    name="lico_bench_1",
    steps=32,
    fill_rgb=IMAGENET_MEAN,
    blur_sigma_frac=0.125,
    blur_radius_sigmas=2.0,
    explained_class="label",
    score="probability",
    ties="stable_descending",
    source="this project; after Petsiuk et al., BMVC 2018",
)

# The published script takes 224 x 8 of 224 x 224 pixels a step; its size is a constant, so that for
# other sizes the share is kept. NumPy's default sort leaves the order of equal values open.
RISE_2018 = Protocol(
    name="rise_2018",
    steps=28,
    fill_rgb=IMAGENET_MEAN,
    blur_sigma_frac=None,
    blur_radius_sigmas=None,
    blur_sigma_px=5.0,
    blur_kernel_px=11,
    blur_kernel="near_box",
    blur_border="fill",
    explained_class="predicted",
    scored_class="predicted",
    score="probability",
    ties="stable_reversed",
    area="even",
    source="Petsiuk et al., BMVC 2018: eclique/RISE at d91ea00",
)

# Read off the vector graphics of the figure: 113 points (448 of 224 x 224 pixels a step), the
# normalised trapezoid, both arms' curves starting and ending at identical points, which only one
# scoring network can give. Blur and class are inferred from the script whose other settings match.
AUTHORS_FIGURE_2023 = Protocol(
    name="authors_figure_2023",
    steps=112,
    fill_rgb=IMAGENET_MEAN,
    blur_sigma_frac=None,
    blur_radius_sigmas=None,
    blur_sigma_px=50.0,
    blur_kernel_px=51,
    explained_class="predicted",
    scored_class="predicted",
    score="probability",
    ties="stable_reversed",
    area="even",
    scorer="baseline",
    source="Lei et al., NeurIPS 2023, insertion and deletion figure",
)

# RISE's curves; the maps explain the label while the curves follow the predicted class. The script
# also leaves the network in training mode while it makes the maps, which is not reproduced.
BARTAK_2024 = replace(
    RISE_2018,
    name="bartak_2024",
    explained_class="label",
    source="Bartak et al., TMLR 10/2024: konradszewczyk/lico-reproduction at d63b896",
)

# The last state is missed where 10 does not divide the pixels, and the area is short by one
# interval. Means over batches of unequal size are not reproduced.
FLETCHER_2024 = Protocol(
    name="fletcher_2024",
    steps=None,
    step_px=10,
    fill_rgb="model_mean",
    blur_sigma_frac=None,
    blur_radius_sigmas=None,
    blur_sigma_px=5.0,
    blur_kernel_px=9,
    explained_class="label",
    score="probability",
    ties="stable_descending",
    endpoints="whole_steps",
    area="per_point",
    source="Fletcher et al., TMLR 06/2024: robertdvdk/lico-fact at 76ed093, 32 px",
)
FLETCHER_2024_LARGE = replace(
    FLETCHER_2024,
    name="fletcher_2024_large",
    step_px=922,
    source="Fletcher et al., TMLR 06/2024: robertdvdk/lico-fact at 76ed093, 160 px",
)


class _Protocols(dict[str, Protocol]):
    def __missing__(self, name: str) -> Protocol:
        raise UnknownNameError.of("protocol", name, self)


PROTOCOLS = MappingProxyType(
    _Protocols(
        {
            protocol.name: protocol
            for protocol in (
                LICO_BENCH_1,
                RISE_2018,
                AUTHORS_FIGURE_2023,
                BARTAK_2024,
                FLETCHER_2024,
                FLETCHER_2024_LARGE,
            )
        }
    )
)
