"""Contrastive Grad-CAM consistency (CGC): Grad-CAM maps are equivariant to crops and flips.

For image x_i with label y_i and a random crop and flip t_i, q_i = G(t_i(x_i), y_i) is the Grad-CAM
map of the transformed image and k_i = t_i(G(x_i, y_i)) is the transformed map of the image. The
loss increases the similarity of maps of the same image and decreases that of different images:

    L_CGC = -mean_i log( exp(cos(q_i, k_i) / τ) / Σ_j exp(cos(q_i, k_j) / τ) ),   L = L_CE + λ L_CGC

Source: Pillai et al., CVPR 2022; λ and τ from the authors' published command line. Written from
that definition. The cross-entropy uses only the untransformed batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lico_bench.checks import check_not_negative, check_positive
from lico_bench.errors import InvalidInputError
from lico_bench.records import Output, Recipe
from lico_bench.training.arms import ARMS, Arm, ArmOptions
from lico_bench.training.objective import CROSS_ENTROPY, Batch, Objective, Term

MAX_ASPECT = 4 / 3  # width over height of a crop, at least 1 / MAX_ASPECT; usual for random crops


@dataclass(frozen=True)
class CgcOptions(ArmOptions):
    """Options of the consistency loss.

    Attributes:
        weight: λ.
        temperature: τ.
        least_area: smallest share of the image that a crop keeps.
    """

    weight: float = 0.5
    temperature: float = 0.5
    least_area: float = 0.2

    def __post_init__(self) -> None:
        check_not_negative("weight", self.weight)
        check_positive("temperature", self.temperature)
        if not 0 < self.least_area <= 1:
            raise InvalidInputError(
                f"least_area: expected a share above 0 and up to 1, got {self.least_area}"
            )

    def check(self, recipe: Recipe) -> None:
        """Raise InvalidInputError for a batch of one, or a compiled classifier."""
        if recipe.batch_size < 2:
            raise InvalidInputError(
                f"arm {recipe.arm}: the loss contrasts the samples of a batch, got batch_size "
                f"{recipe.batch_size}; set batch_size to 2 or more"
            )
        if recipe.compile:
            raise InvalidInputError(
                f"arm {recipe.arm}: a compiled classifier has no second derivative; "
                "leave recipe.compile off"
            )

    def forwards_per_step(self) -> int:
        """Return 2: the batch and its transformed copy."""
        return 2


class CgcObjective(Objective):
    """Cross-entropy and consistency of Grad-CAM maps.

    Args:
        map_size: height and width of the feature maps.
    """

    def __init__(
        self, map_size: tuple[int, int], *, options: CgcOptions, generator: torch.Generator
    ) -> None:
        super().__init__(generator)
        self.options = options
        self._map_size = map_size
        self.terms = (CROSS_ENTROPY, Term("consistency", options.weight, ("features", "head")))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return cross-entropy and L_CGC of a batch, each ()."""
        all_crops = draw_crops(len(batch.all_labels), self.options.least_area, self.generator)
        crops = batch.peers.part(all_crops).to(batch.images.device)
        transformed = batch.classifier(apply_crops(batch.images, crops, batch.images.shape[2:]))
        queries = label_maps(transformed, batch.labels).unflatten(1, self._map_size)
        maps = label_maps(batch.output, batch.labels).unflatten(1, self._map_size)
        keys = apply_crops(maps[:, None], crops, self._map_size)[:, 0]
        return {
            **super().forward(batch),
            "consistency": contrast(
                batch.peers.gather(queries),
                batch.peers.gather(keys),
                temperature=self.options.temperature,
            ),
        }


def label_maps(output: Output, labels: Tensor) -> Tensor:
    """Return Grad-CAM maps (B, D) of the labels, not upsampled, differentiable in the parameters.

    Source: Selvaraju et al., ICCV 2017, eqs. 1-2.
    """
    scores = output.logits.gather(1, labels[:, None]).sum()
    (gradients,) = torch.autograd.grad(scores, output.features, create_graph=True)
    weights = gradients.mean(2, keepdim=True).float()
    return F.relu((weights * output.features.float()).sum(1))


def contrast(queries: Tensor, keys: Tensor, *, temperature: float) -> Tensor:
    """Return -mean_i log softmax_j(cos(q_i, k_j) / τ) at j = i, ().

    Args:
        queries, keys: (B, h, w) maps of the same images, in the same order.

    Source: Pillai et al., CVPR 2022; van den Oord et al., 2018 (InfoNCE).
    """
    with torch.autocast(queries.device.type, enabled=False):
        rows, columns = (F.normalize(side.float().flatten(1), dim=1) for side in (queries, keys))
        return F.cross_entropy(
            rows @ columns.T / temperature, torch.arange(len(rows), device=rows.device)
        )


def draw_crops(num_images: int, least_area: float, generator: torch.Generator) -> Tensor:
    """Draw (B, 5) float32: centre y, centre x, height, width, and -1 to mirror, else 1.

    The image spans [-1, 1] on each axis; a crop spans its centre ± its height or width. The area is
    uniform in [least_area, 1], the aspect ratio log-uniform in [3/4, 4/3]. A crop that exceeds the
    image is cut at its border.
    """
    area, aspect, offset_y, offset_x, mirror = torch.rand(num_images, 5, generator=generator).T
    areas = least_area + (1 - least_area) * area
    ratio = MAX_ASPECT ** (2 * aspect - 1)
    height, width = ((areas * r).sqrt().clamp_max(1) for r in (1 / ratio, ratio))
    centre_y, centre_x = (2 * offset_y - 1) * (1 - height), (2 * offset_x - 1) * (1 - width)
    return torch.stack([centre_y, centre_x, height, width, torch.where(mirror < 0.5, -1, 1)], 1)


def apply_crops(images: Tensor, crops: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Cut and mirror each image's crop and resize it bilinearly to (B, C, *size)."""
    centre_y, centre_x, height, width, mirror = crops.T
    zeros = torch.zeros_like(centre_y)
    affine = torch.stack(
        [width * mirror, zeros, centre_x, zeros, height, centre_y], dim=1
    ).unflatten(1, (2, 3))
    grid = F.affine_grid(affine, [len(images), 1, *size], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


ARMS.add(
    "cgc",
    Arm(
        title="CGC",
        summary="cross-entropy and contrastive consistency of Grad-CAM under crops and flips",
        source="Pillai et al., CVPR 2022",
        build=lambda inputs, options: CgcObjective(
            inputs.map_size, options=options, generator=inputs.generator
        ),
        options=CgcOptions(),
    ),
)
