"""Named rules of perturbation curves; every changed rule gets a new protocol name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lico_bench.errors import UnknownNameError
from lico_bench.records import IMAGENET_MEAN, Protocol

# 32 steps divide the pixels of 32, 64 and 224 px images evenly. The fill is the mean colour of
# ImageNet, the usual "zero after normalisation", and does not depend on the model. The blur is
# relative to the side, so that 32 px and 224 px images lose the same detail. The class is the
# label, so that both arms of a pair explain the same class.
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

# The published script changes 224 x 8 of 224 x 224 pixels per step, with a fixed size; other sizes
# use the same share. NumPy's default sort does not define the order of equal values.
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

# Measured in the vector graphics of the figure: 113 points (448 of 224 x 224 pixels per step), the
# normalised trapezoid rule, and identical start and end points for both arms, which requires one
# scoring network. Blur and class are inferred from the script whose other settings match.
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
# also keeps the network in training mode while it computes maps, which is not reproduced.
BARTAK_2024 = replace(
    RISE_2018,
    name="bartak_2024",
    explained_class="label",
    source="Bartak et al., TMLR 10/2024: konradszewczyk/lico-reproduction at d63b896",
)

# The last state is missing if 10 does not divide the number of pixels, and the area lacks one
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


PROTOCOLS: Mapping[str, Protocol] = _Protocols(
    (protocol.name, protocol)
    for protocol in (
        LICO_BENCH_1, RISE_2018, AUTHORS_FIGURE_2023, BARTAK_2024, FLETCHER_2024,
        FLETCHER_2024_LARGE,
    )
)  # fmt: skip
