"""LPIPS, a perceptual distance between images (Zhang et al. 2018), version 0.1.

On AlexNet, whose weights, in half precision, lie in ``models/lpips-alex`` beside their licences and
their source; and on VGG16, where a file of its weights is at hand. Lower is more alike; 0 is the
same.
"""

from zero123lib.lpips.distance import LPIPS, TRUNKS, Net
from zero123lib.lpips.weights import VGG_FILES, WEIGHTS, file_digest, lpips_alex, lpips_vgg

# What smaller images have nothing left of on AlexNet.
LEAST_SIDE_PX = TRUNKS["alex"].least_side_px

__all__ = [
    "LEAST_SIDE_PX",
    "LPIPS",
    "TRUNKS",
    "VGG_FILES",
    "WEIGHTS",
    "Net",
    "file_digest",
    "lpips_alex",
    "lpips_vgg",
]
