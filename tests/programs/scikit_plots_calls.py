"""Hand maps to scikit-plots' own calls, in the current folder, and print how many take them; an error ends it."""

import contextlib
import warnings

import numpy as np
from matplotlib import pyplot
from scikitplot.api import decomposition, estimators, metrics
from scikitplot.decile import kds
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from scikitplot.memmap import MemMap

ROWS = 300
CALLS = {
    "plot_classifier_eval": lambda m: metrics.plot_classifier_eval(m["truth"], m["guess"]),
    "plot_confusion_matrix": lambda m: metrics.plot_confusion_matrix(m["truth"], m["guess"]),
    "plot_precision_recall": lambda m: metrics.plot_precision_recall(m["truth"], m["scores"]),
    "plot_residuals_distribution": lambda m: metrics.plot_residuals_distribution(m["truth"], m["score"]),
    "plot_roc": lambda m: metrics.plot_roc(m["truth"], m["scores"]),
    "plot_roc_curve": lambda m: metrics.plot_roc_curve(m["truth"], m["scores"]),
    "plot_silhouette": lambda m: metrics.plot_silhouette(m["points"], m["truth"]),
    "plot_pca_2d_projection": lambda m: decomposition.plot_pca_2d_projection(
        PCA().fit(m["points"]), m["points"], m["truth"]
    ),
    "plot_pca_component_variance": lambda m: decomposition.plot_pca_component_variance(PCA().fit(m["points"])),
    "plot_elbow": lambda m: estimators.plot_elbow(KMeans(n_init=1), m["points"], cluster_ranges=range(1, 4)),
    "plot_learning_curve": lambda m: estimators.plot_learning_curve(
        LogisticRegression(), m["points"], m["truth"], cv=2
    ),
}
DECILES = ["decile_table", "plot_cumulative_gain", "plot_ks_statistic", "plot_lift", "plot_lift_decile_wise", "report"]
CALLS |= {name: lambda m, name=name: getattr(kds, name)(m["binary"], m["score"]) for name in DECILES}


def arrays():
    truth = (np.arange(ROWS) % 3).astype("<i8")
    binary = (truth == 1).astype("<i8")
    points = np.random.default_rng(0).standard_normal((ROWS, 4)) + truth[:, np.newaxis]
    model = LogisticRegression(max_iter=1000).fit(points, truth)
    scores = model.predict_proba(points)
    score, guess = scores[:, 1].copy(), model.predict(points)
    return {"truth": truth, "binary": binary, "points": points, "scores": scores, "score": score, "guess": guess}


def main():
    with contextlib.ExitStack() as stack:
        maps = {}
        for name, array in arrays().items():
            array.tofile(f"{name}.bin")
            maps[name] = stack.enter_context(MemMap.open(f"{name}.bin", dtype=array.dtype, shape=array.shape))
        for call in CALLS.values():
            for things in (maps, {name: mm[...] for name, mm in maps.items()}):
                with warnings.catch_warnings(), contextlib.redirect_stdout(None):
                    warnings.simplefilter("ignore")
                    call(things)
                pyplot.close("all")
        del things
    print(f"{len(CALLS)} calls of scikit-plots take maps")


main()
