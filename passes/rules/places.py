"""Where thresholds, centres and compensation of each site lie in the vectors that a model takes as inputs."""

from __future__ import annotations

from collections.abc import Sequence

from scap_ov.sites import Site

THRESHOLDS, CENTERS, COMPENSATION = "scap_ov.thresholds", "scap_ov.centers", "scap_ov.compensation"
WHOLE = "scap_ov.whole_thresholds"


class ParameterLayout:
    """Where the numbers of each site lie in three vectors: thresholds and centres [ΣK], compensation [ΣN].

    :param sites: in the order of the vectors.
    """

    def __init__(self, sites: Sequence[Site]) -> None:
        self.sites = tuple(sites)
        self.channel_range = _ranges({site.name: site.in_features for site in sites})
        self.compensation_range = _ranges({site.name: site.out_features for site in sites})


def _ranges(sizes: dict[str, int]) -> dict[str, tuple[int, int]]:
    found, start = {}, 0
    for name, size in sizes.items():
        found[name] = (start, start + size)
        start += size
    return found
