import numpy as np
import pytest

from closer_tf import masks


def all_schemes(seed=0, n=10):
    return {
        "gaussian": masks.gaussian_masks((32, 32), n, 0.1, 2.0, seed),
        "random": masks.random_patch_masks((32, 32), n, 0.1, 4, seed),
        "paper": masks.contiguous_patch_masks((32, 32), n, 0.1, 4, "paper", seed),
        "published": masks.contiguous_patch_masks((32, 32), n, 0.1, 4, "published", seed),
    }


@pytest.mark.parametrize("scheme, count", [("gaussian", 102), ("random", 6), ("paper", 6), ("published", 6)])
def test_exact_counts_without_repeats(scheme, count):
    for cells in all_schemes()[scheme].indices:
        assert len(cells) == len(set(cells.tolist())) == count
        assert np.all(np.diff(cells) > 0)


@pytest.mark.parametrize("fraction, count", [(0.01, 10), (0.025, 25), (0.04, 40), (0.15, 153), (0.25, 256), (1.0, 1024)])
def test_counts_are_floored(fraction, count):
    assert len(masks.gaussian_masks((32, 32), 1, fraction).indices[0]) == count


def test_a_decimal_fraction_is_taken_at_its_word():
    assert len(masks.gaussian_masks((10, 10), 1, 0.29).indices[0]) == 29  # 0.29 * 100 is 28.999... in binary


@pytest.mark.parametrize("scheme", ["gaussian", "random", "paper", "published"])
def test_seeds(scheme):
    one, same, other = (all_schemes(seed)[scheme].indices for seed in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(one, same))
    assert any((a != b).any() for a, b in zip(one, other))
    assert any((one[0] != cells).any() for cells in one[1:])


def test_masks_are_the_same_for_ever():
    """Pinned cells: a change here would silently change every published run."""
    assert masks.gaussian_masks((8, 8), 2, 0.1, 2.0, 7).indices[1].tolist() == PINNED["gaussian"]
    assert masks.random_patch_masks((32, 32), 2, 0.1, 4, 7).indices[1].tolist() == PINNED["random"]
    assert masks.contiguous_patch_masks((32, 32), 2, 0.1, 4, "paper", 7).indices[1].tolist() == PINNED["paper"]
    published = masks.contiguous_patch_masks((32, 32), 2, 0.1, 4, "published", 7)
    assert published.indices[1].tolist() == PINNED["published"]


PINNED = {
    "gaussian": [30, 45, 53, 55, 60, 61],
    "retinotopic": [33, 34, 40, 41, 49, 58],
    "random": [3, 15, 26, 30, 32, 50],
    "paper": [34, 35, 42, 43, 44, 51],
    "published": [0, 1, 2, 8, 9, 10],
}


@pytest.mark.parametrize("scheme", ["gaussian", "random"])
def test_an_encoders_mask_does_not_depend_on_the_ensembles_size(scheme):
    small, large = all_schemes(n=3)[scheme], all_schemes(n=10)[scheme]
    assert all((a == b).all() for a, b in zip(small.indices, large.indices))


def test_gaussian_distances_follow_the_density():
    """With one pixel drawn from a wide image, the squared distance to the centre has the mean 2 sigma^2."""
    sigma, inner = 2.0, []
    for i in range(4000):
        rng = np.random.default_rng([5, i])
        centre = np.array([rng.integers(64), rng.integers(64)])
        if (np.abs(centre - 31.5) > 20).any():
            continue  # far from the border, so that nothing is cut off
        inner.append((centre, i))
    chosen = masks.gaussian_masks((64, 64), 4000, 1 / 4096, sigma, 5).indices
    distances = [((np.array(divmod(int(chosen[i][0]), 64)) - centre) ** 2).sum() for centre, i in inner]
    assert len(distances) > 1000
    assert np.mean(distances) == pytest.approx(2 * sigma**2, rel=0.08)


def test_gaussian_masks_far_from_the_centre_do_not_underflow():
    assert len(masks.gaussian_masks((64, 64), 1, 0.9, sigma=0.5).indices[0]) == 3686


def test_wider_gaussians_spread_wider():
    def spread(sigma):
        fields = masks.gaussian_masks((32, 32), 50, 0.05, sigma, 0)
        return np.mean([np.std(np.divmod(cells, 32), axis=1).mean() for cells in fields.indices])

    assert spread(2) < spread(3) < spread(5)


def fields_on_a_map(layout="uniform", n=10, seed=0, **settings):
    return masks.retinotopic_masks((32, 32), n, 0.1, layout, seed=seed, **settings)


@pytest.mark.parametrize("layout", ["uniform", "foveal"])
@pytest.mark.parametrize("size, n", [((32, 32), 10), ((8, 8), 37), ((5, 60), 7), ((32, 32), 1)])
def test_a_map_has_as_many_centres_as_encoders_all_in_the_image(layout, size, n):
    for seed in range(5):
        centres, sigmas = masks.retinotopic_centres(size, n, layout, 1.5, 0.2, seed=seed)
        assert centres.shape == (n, 2) and (centres >= 0).all() and (centres <= np.array(size) - 1).all()
        distance = np.hypot(*(centres - (np.array(size) - 1) / 2).T)
        np.testing.assert_allclose(sigmas, 1.5 + 0.2 * distance)


def test_maps_are_seeded_and_pinned():
    one, same, other = (fields_on_a_map("foveal", seed=seed).indices for seed in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(one, same)) and any((a != b).any() for a, b in zip(one, other))
    assert all(len(cells) == len(set(cells.tolist())) == 102 for cells in one)
    assert masks.retinotopic_masks((8, 8), 2, 0.1, "foveal", seed=7).indices[1].tolist() == PINNED["retinotopic"]


def test_centres_on_a_uniform_map_lie_evenly():
    """Without jitter every inner centre has six neighbours one spacing away; with it they spread around that."""
    centres, _ = masks.retinotopic_centres((64, 64), 100, jitter=0, seed=3)
    distance = np.hypot(*(centres[:, None] - centres).transpose(2, 0, 1))
    inner = (np.abs(centres - 31.5) < 22).all(axis=1)
    nearest = np.sort(distance[inner], axis=1)[:, 1:8]
    np.testing.assert_allclose(nearest[:, :6], nearest[0, 0], rtol=1e-9)
    assert (nearest[:, 6] > 1.5 * nearest[0, 0]).all()  # the second ring: sqrt(3)
    jittered, _ = masks.retinotopic_centres((64, 64), 100, jitter=0.2, seed=3)
    moved = np.hypot(*(jittered - centres)[inner].T) / nearest[0, 0]
    assert np.mean(moved**2) == pytest.approx(2 * 0.2**2, rel=0.3)


@pytest.mark.parametrize("layout", ["uniform", "foveal"])
def test_the_density_of_centres_follows_the_magnification(layout):
    eccentricity = []
    for seed in range(200):
        centres, _ = masks.retinotopic_centres((64, 64), 50, layout, e2=8, jitter=0, seed=seed)
        eccentricity.append(np.hypot(*(centres - 31.5).T))
    edges = np.arange(0, 31, 5)
    density = np.histogram(np.concatenate(eccentricity), edges)[0] / np.diff(edges**2)
    fine = np.linspace(0, 30, 3001)
    squared = fine * (1 / (1 + fine / 8) ** 2 if layout == "foveal" else np.ones_like(fine))
    expected = [squared[(fine >= a) & (fine < b)].sum() for a, b in zip(edges, edges[1:])] / np.diff(edges**2)
    np.testing.assert_allclose(density / density.sum(), expected / expected.sum(), rtol=0.12)


def test_the_expected_coverage_is_the_mean_of_many_draws():
    centres, sigmas = masks.retinotopic_centres((8, 8), 10, "foveal", 1.5, 0.2, seed=1)
    expected = masks.expected_coverage((8, 8), centres, sigmas, 0.15)
    assert expected.sum() == pytest.approx(90)
    counted, draws = np.zeros((8, 8)), 1500
    for k in range(draws):
        for i in range(10):
            rng = np.random.default_rng([k, i])
            counted.ravel()[masks._drawn_pixels(rng, (8, 8), centres[i], sigmas[i], 9)] += 1
    np.testing.assert_allclose(counted / draws, expected, atol=0.12)
    np.testing.assert_allclose(masks.expected_coverage((8, 8), centres, sigmas, 1.0), 10)
    assert np.isfinite(masks.expected_coverage((64, 64), [(0, 0)], [0.5], 0.9)).all()


def test_foveal_fields_cover_the_middle_more():
    coverage = np.mean([fields_on_a_map("foveal", seed=seed).coverage() for seed in range(20)], axis=0)
    assert coverage[12:20, 12:20].mean() > 2 * coverage[:4].mean()


def test_the_middle_of_what_encoders_see():
    np.testing.assert_allclose(masks.ReceptiveFields(([0, 3], [1]), (2, 2), 2).centres(), [[1.5, 1.5], [0.5, 2.5]])
    assert masks.area_masks(["VISp", "LP"], ["VISp", "LP"]).centres() is None
    fields = masks.retinotopic_masks((64, 64), 5, 0.02, sigma=2.0, seed=4)
    centres, _ = masks.retinotopic_centres((64, 64), 5, sigma=2.0, seed=4)
    inner = (np.abs(centres - 31.5) < 20).all(axis=1)
    assert inner.any()
    np.testing.assert_allclose(fields.centres()[inner], centres[inner], atol=1)


def test_contiguous_patches_touch():
    """Statistic: the share of patches with a side neighbour in the same mask; scattered masks of 6 of 64 have about .27."""

    def touching(fields):
        shares = []
        for seen in fields.cells():
            padded = np.pad(seen, 1)
            neighbours = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
            shares.append((seen & neighbours).sum() / seen.sum())
        return np.mean(shares)

    contiguous = masks.contiguous_patch_masks((32, 32), 36, 0.1, 4, "paper", 0)
    scattered = masks.random_patch_masks((32, 32), 36, 0.1, 4, 0)
    assert touching(contiguous) > 0.85
    assert touching(scattered) < 0.5


def test_published_centres_lean_to_the_upper_left():
    places = []
    for seed in range(300):
        fields = masks.contiguous_patch_masks((32, 32), 10, 0.1, 4, "published", seed)
        places += [np.divmod(cells, 8) for cells in fields.indices]
    np.testing.assert_allclose(np.mean(places, axis=(0, 2)), 2.56, atol=0.05)


def test_paper_centres_are_distinct_and_off_the_edge():
    for seed in range(20):
        centres = masks.contiguous_centres((8, 8), 36, "paper", seed)
        assert sorted(centres) == [(row, column) for row in range(1, 7) for column in range(1, 7)]


def test_published_centres_repeat_and_leave_out_the_last_two_rows_and_columns():
    centres = [centre for seed in range(50) for centre in masks.contiguous_centres((8, 8), 10, "published", seed)]
    assert {n for centre in centres for n in centre} == {0, 1, 2, 3, 4, 5}
    assert any(len(set(masks.contiguous_centres((8, 8), 10, "published", seed))) < 10 for seed in range(20))


def test_paper_centres_are_balanced():
    rows, columns = [], []
    for seed in range(200):
        fields = masks.contiguous_patch_masks((32, 32), 36, 1 / 64, 4, "paper", seed)
        row, column = np.divmod(np.concatenate(fields.indices), 8)
        rows.append(row.mean())
        columns.append(column.mean())
    assert np.mean(rows) == pytest.approx(3.5, abs=0.05)
    assert np.mean(columns) == pytest.approx(3.5, abs=0.05)


def test_more_encoders_than_centres():
    assert masks.contiguous_patch_masks((32, 32), 40, 0.1, 4, "paper", 0).num_encoders == 40


def test_what_an_encoder_sees_of_an_image():
    image = np.arange(2 * 4 * 4 * 3).reshape(2, 4, 4, 3)
    by_pixel = masks.ReceptiveFields(([1, 5],), (4, 4))
    np.testing.assert_array_equal(by_pixel.apply(image, 0), image[:, [0, 1], [1, 1]].reshape(2, 6))
    by_patch = masks.ReceptiveFields(([1, 2],), (2, 2), 2)
    expected = np.concatenate([image[:, :2, 2:].reshape(2, -1), image[:, 2:, :2].reshape(2, -1)], axis=1)
    np.testing.assert_array_equal(by_patch.apply(image, 0), expected)


def test_pixels_and_coverage():
    fields = masks.ReceptiveFields(([0], [0, 3]), (2, 2), 2)
    expected = np.array([[2, 2, 0, 0], [2, 2, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]])
    np.testing.assert_array_equal(fields.coverage(), expected)


def test_storage_round_trip(tmp_path):
    fields = masks.area_masks(["VISp", "LP", "VISp"], ["VISp", "LP"])
    (tmp_path / "masks.npz").write_bytes(fields.to_bytes())
    again = masks.ReceptiveFields.load(tmp_path / "masks.npz")
    assert [cells.tolist() for cells in again.indices] == [[0, 2], [1]]
    assert (again.grid, again.patch_size, again.labels) == ((1, 3), 1, ("VISp", "LP"))


def test_custom_masks(tmp_path):
    seen = np.zeros((2, 3, 3), bool)
    seen[0, 0, 1] = seen[1, 2, 2] = True
    np.save(tmp_path / "m.npy", seen)
    np.savez(tmp_path / "m.npz", masks=seen)
    (tmp_path / "run.npz").write_bytes(masks.custom_masks(seen).to_bytes())
    for name in ("m.npy", "m.npz", "run.npz"):
        assert [cells.tolist() for cells in masks.read_masks(tmp_path / name).indices] == [[1], [8]]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: masks.gaussian_masks((8, 8), 2, 0.01), "leaves no pixels"),
        (lambda: masks.random_patch_masks((8, 8), 2, 0.5, 3), "does not divide"),
        (lambda: masks.contiguous_patch_masks((8, 8), 2, 0.5, 4), "at least 3 x 3"),
        (lambda: masks.contiguous_patch_masks((32, 32), 2, 0.5, 4, "middle"), "'paper' or 'published'"),
        (lambda: masks.retinotopic_masks((8, 8), 2, 0.5, "polar"), "layout: expected 'uniform' or 'foveal', found 'polar'"),
        (lambda: masks.retinotopic_masks((8, 8), 2, 0.01), "leaves no pixels"),
        (lambda: masks.custom_masks(np.zeros((2, 3, 3))), "encoder 0 is empty"),
        (lambda: masks.custom_masks(np.full((2, 3, 3), 0.5)), "booleans"),
        (lambda: masks.custom_masks(np.ones((3, 3))), "shape"),
        (lambda: masks.area_masks(["LP"], ["VISp"]), "no unit in area 'VISp'"),
        (lambda: masks.ReceptiveFields(([0, 0],), (2, 2)), "twice"),
        (lambda: masks.ReceptiveFields(([4],), (2, 2)), "outside"),
    ],
)
def test_impossible_masks(make, message):
    with pytest.raises(ValueError, match=message):
        make()
