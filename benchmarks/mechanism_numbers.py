"""What `mechanism.py` concludes from pixels and from products of gradients; numpy alone."""

from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
import scipy.stats

from rcc_jax.labels import IGNORED

RARE = 5
TRUTH, PSEUDO = "true labels", "pseudo labels"


class Pixels(NamedTuple):
    """Some pixels of the teacher's view, [n] each."""

    confidence: Any
    disagreement: Any  # Rank loss at tau = 1.
    sharp: Any  # Rank loss at tau = 0.1.
    pseudo: Any
    truth: Any


def auc(score: np.ndarray, right: np.ndarray) -> float:
    """The chance that a right pixel scores higher than a wrong one; ties count half."""
    count = int(right.sum())
    if count in (0, len(right)):
        return float("nan")
    ranks = scipy.stats.rankdata(score)
    return float((ranks[right].sum() - count * (count + 1) / 2) / (count * (len(right) - count)))


def predictors(pixels: list[Pixels], threshold: float) -> dict[str, dict[str, float]]:
    """AUC of each predictor of right pseudo labels, on the batches 1, 3, ..."""

    def features(part, columns):
        confidence = np.clip(part.confidence, 1e-6, 1 - 1e-6)
        every = {
            "confidence": np.log(confidence / (1 - confidence)),
            "ranks, tau 1": -np.log(part.disagreement + 1e-8),
            "ranks, tau 0.1": -np.log(part.sharp + 1e-8),
        }
        return np.stack([every[column] for column in columns], -1)

    def fitted(columns, choose):
        fit, test = (choose(Pixels(*map(np.concatenate, zip(*part, strict=True))))
                     for part in (pixels[::2], pixels[1::2]))  # fmt: skip
        inputs, wanted = features(fit, columns), fit.pseudo == fit.truth
        mean, spread = inputs.mean(0), inputs.std(0) + 1e-9
        design = np.c_[(inputs - mean) / spread, np.ones(len(inputs))]

        def loss(weights):
            margin = design @ weights * np.where(wanted, 1, -1)
            slope = -np.where(wanted, 1, -1) / (1 + np.exp(np.clip(margin, -50, 50)))
            return np.logaddexp(0, -margin).mean(), design.T @ slope / len(design)

        weights = scipy.optimize.minimize(loss, np.zeros(design.shape[1]), jac=True).x[:-1]
        score = (features(test, columns) - mean) / spread @ weights
        return auc(score, test.pseudo == test.truth)

    def known(part):
        return Pixels(*(each[part.truth != IGNORED] for each in part))

    def unsure(part):
        part = known(part)
        return Pixels(*(each[part.confidence < threshold] for each in part))

    chosen = {
        "confidence": ("confidence",),
        "ranks, tau 1": ("ranks, tau 1",),
        "ranks, tau 0.1": ("ranks, tau 0.1",),
        "confidence and ranks, tau 1": ("confidence", "ranks, tau 1"),
        "confidence and ranks, tau 0.1": ("confidence", "ranks, tau 0.1"),
    }
    return {
        name: {"all": fitted(columns, known), "below the threshold": fitted(columns, unsure)}
        for name, columns in chosen.items()
    }


def cosines(products: list[np.ndarray], names: list[str]) -> dict[str, dict[str, list[float]]]:
    """Cosine of each gradient, and of what is orthogonal to PSEUDO's, with TRUTH's; by batch."""
    truth, pseudo, found = names.index(TRUTH), names.index(PSEUDO), {}
    for row, name in enumerate(names):
        whole, rest, norm = [], [], []
        for gram in products:
            size = np.sqrt(gram[row, row] * gram[truth, truth])
            whole.append(float(gram[row, truth] / size) if size else 0.0)
            norm.append(float(np.sqrt(gram[row, row])))
            if name in (TRUTH, PSEUDO) or not gram[pseudo, pseudo]:
                continue
            share = gram[row, pseudo] / gram[pseudo, pseudo]
            left = gram[row, row] - share * gram[row, pseudo]
            along = gram[row, truth] - share * gram[pseudo, truth]
            rest.append(float(along / np.sqrt(left * gram[truth, truth])) if left > 0 else 0.0)
        found[name] = {"cosine": whole, "orthogonal": rest, "norm": norm}
    return found


def rare_shares(pixels: list[Pixels], threshold: float, num_classes: int) -> dict[str, Any]:
    """The rarest classes by their true pixels, and their share of labels of each kind."""
    every = Pixels(*map(np.concatenate, zip(*pixels, strict=True)))
    every = Pixels(*(each[every.truth != IGNORED] for each in every))
    counts = np.bincount(every.truth, minlength=num_classes)
    rare = np.argsort(counts, kind="stable")[:RARE]
    kept = every.confidence >= threshold
    share = {
        "true labels": np.isin(every.truth, rare),
        "pseudo labels": np.isin(every.pseudo, rare),
        "kept pseudo labels": np.isin(every.pseudo[kept], rare),
    }
    right = every.pseudo == every.truth
    return {
        "classes": rare.tolist(),
        "shares": {name: float(each.mean()) if len(each) else 0.0 for name, each in share.items()},
        "kept": float(kept.mean()),
        "right": float(right.mean()),
        "right if kept": float(right[kept].mean()) if kept.any() else None,
    }
