"""Tables of losses over the sphere, and what is read from them, against closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from zero123lib.inversion.landscape import AZIMUTHS, ELEVATIONS_DEG, Landscape, turn_deg
from zero123lib.inversion.refine import starts
from zero123lib.views.poses import wrap_azimuth_deg


def table(elevation_deg: float, azimuth_deg: float) -> Landscape:
    """Losses that grow with the squared distance from one camera."""
    elevations = torch.tensor(ELEVATIONS_DEG)
    azimuths = torch.arange(AZIMUTHS) * (360.0 / AZIMUTHS) - 180.0
    across = torch.tensor([wrap_azimuth_deg(a - azimuth_deg) for a in azimuths.tolist()])
    up = elevations - elevation_deg
    return Landscape(up[:, None].square() + across.square(), elevations, azimuths)


def test_the_way_back_is_the_loss_at_the_opposite_camera() -> None:
    there = table(25.0, -160.0)
    back = there.turned_round()
    assert torch.equal(back.losses, table(-25.0, 160.0).losses)
    assert torch.equal(back.turned_round().losses, there.losses)
    assert torch.equal(table(0.0, -180.0).turned_round().losses, table(0.0, 180.0).losses)


def test_minima_are_the_deepest_places_below_their_neighbours() -> None:
    two = Landscape(
        torch.minimum(table(25.0, -180.0).losses, table(-50.0, 20.0).losses + 5.0),
        *(table(0.0, 0.0).elevations_deg, table(0.0, 0.0).azimuths_deg),
    )
    assert two.best().tolist() == [25.0, -180.0, 0.0]
    assert two.minima(5).tolist() == [[25.0, -180.0, 0.0], [-50.0, 20.0, 0.0]]
    assert len(two.minima(1)) == 1


def test_the_image_is_brightest_at_the_least_loss() -> None:
    image = np.asarray(table(25.0, 80.0).image(cell_px=8)).astype(int).sum(-1)
    row, column = np.unravel_index(image.argmax(), image.shape)
    assert image.shape == (5 * 8, 18 * 8)
    # Upwards is up: the second row of cells from the top; from -180 degrees on, column 13.
    assert row // 8 == 1 and column // 8 == 13


def test_a_mark_is_drawn_where_the_camera_is() -> None:
    plain, marked = (table(25.0, 80.0).image(m, 8) for m in ((), [(-25.0, -80.0)]))
    changed = np.argwhere((np.asarray(plain) != np.asarray(marked)).any(-1))
    row, column = changed.mean(0)
    assert abs(row - 3.5 * 8) < 1 and abs(column - 5.5 * 8) < 1


def test_turns_are_angles_of_rotations() -> None:
    camera = torch.tensor([10.0, 20.0, 0.0])
    raised, round_ = torch.tensor([30.0, 20.0, 0.0]), torch.tensor([10.0, 60.0, 0.1])
    assert torch.isclose(turn_deg(camera, raised, 5.0).float(), torch.tensor(20.0))
    # About the vertical: as many degrees at any height, the poles included.
    for elevation_deg in (0.0, 40.0, 79.0):
        assert torch.isclose(turn_deg(camera, round_, elevation_deg).float(), torch.tensor(40.0))


def test_starts_are_cameras_that_all_pairs_agree_on() -> None:
    """The first table alone would choose wrongly between two places; the others know better."""
    true = torch.tensor([[0.0, 0.0, 0.0], [25.0, 60.0, 0.0], [-25.0, -140.0, 0.0], [0.0, 180.0, 0]])
    tables = {}
    for i, j in itertools.combinations(range(4), 2):
        elevation_deg, azimuth_deg, _ = (true[j] - true[i]).tolist()
        tables[i, j] = table(elevation_deg, azimuth_deg)
    decoy = table(-50.0, 160.0).losses
    tables[0, 2] = Landscape(
        torch.minimum(tables[0, 2].losses + 10.0, decoy),
        tables[0, 2].elevations_deg,
        tables[0, 2].azimuths_deg,
    )
    assert tables[0, 2].best().tolist() == [-50.0, 160.0, 0.0]
    found = starts(tables, 4, 1)[0]
    assert torch.equal(found[:3], true[:3])
    assert found[3].tolist() in ([0.0, 180.0, 0.0], [0.0, -180.0, 0.0])
