"""intervals.json: means, standard deviations, paired t intervals and bootstrap intervals, by SciPy."""

import numpy as np
from scipy import stats

from common import HERE, save_json

# Accuracies of two rows, seed by seed.
PAIRS = {
    "two seeds": ([0.512, 0.498], [0.471, 0.482]),
    "three seeds": ([0.612, 0.598, 0.605], [0.590, 0.601, 0.588]),
    "five seeds, higher": ([0.71, 0.72, 0.73, 0.715, 0.725], [0.65, 0.66, 0.655, 0.67, 0.66]),
    "ten seeds": ([0.31 + 0.01 * ((7 * i) % 5) for i in range(10)], [0.30 + 0.012 * ((3 * i) % 7) for i in range(10)]),
    "equal differences": ([0.5, 0.6, 0.7], [0.25, 0.35, 0.45]),
}
# Images on which one predictor alone is right, the other alone is, and both or neither are.
IMAGES = {"few": (30, 10, 60), "many": (180, 150, 670), "one way": (24, 0, 176)}


def main(out) -> None:
    pairs = []
    for name, (a, b) in PAIRS.items():
        d = np.array(a) - np.array(b)
        low, high = stats.t.interval(0.95, len(d) - 1, loc=d.mean(), scale=stats.sem(d))
        pairs.append({"name": name, "a": a, "b": b, "mean": float(np.mean(a)), "deviation": float(np.std(a, ddof=1)), "difference": float(d.mean()), "low": float(low), "high": float(high)})
    images = []
    for name, (first, second, neither) in IMAGES.items():
        values = np.array([1] * first + [-1] * second + [0] * neither)
        rng = np.random.default_rng(0)
        found = stats.bootstrap((values,), np.mean, n_resamples=100_000, batch=1000, method="percentile", rng=rng).confidence_interval
        images.append({"name": name, "counts": [first, second, neither], "low": float(found.low), "high": float(found.high)})
    quantiles = [{"degreesOfFreedom": n, "t": float(stats.t.ppf(0.975, n))} for n in (1, 2, 3, 4, 9, 29, 100)]
    # Resamples of "one way" are binomial: their quantiles are known without drawing.
    n, k = 200, 24
    exact = [float(stats.binom.ppf(q, n, k / n)) / n for q in (0.025, 0.975)]
    save_json(out / "intervals.json", {"pairs": pairs, "images": images, "quantiles": quantiles, "exact": {"images": n, "right": k, "low": exact[0], "high": exact[1]}})


if __name__ == "__main__":
    main(HERE)
