"""Makes the small oracles of this folder from the whole ones: `python -m tests.oracles.reduce DIR`.

The consensus is small as it is. A loss is a mean over pixels, which a crop changes, so the losses
are written once more here, in numpy and straight from their definitions. They must give every
number of the whole file before they make those of the crop.
"""

import pathlib
import sys

import numpy as np

FOLDER = pathlib.Path(__file__).parent
GAMMA = 0.95
# Of the methods: no loss looks at neighbours. Between them these pixels are sure and unsure, inside
# and outside either box, padded and not, labelled and not.
LINES, COLUMNS = [1, 5, 16, 17, 32], [6, 8, 15, 17, 19]
UNUSED = ("logits_x_fp",)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over axis 1, in float64."""
    logits = logits.astype(np.float64)
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def cross_entropy(logits, labels, kept, count):
    """Sum over the kept pixels divided by a count, and its gradient."""
    p = softmax(logits)
    one_hot = np.arange(p.shape[1])[None, :, None, None] == labels[:, None]
    own = (p * one_hot).sum(1)
    losses = -np.log(np.where(kept, own, 1))
    return losses.sum() / count, (p - one_hot) * kept[:, None] / count


def ohem(logits, labels, threshold, min_kept):
    """Mean over the hardest pixels, its gradient, and how many they are."""
    valid = labels != 255
    own = np.take_along_axis(softmax(logits), np.where(valid, labels, 0)[:, None], 1)[:, 0]
    kept = valid
    if min_kept <= valid.sum():
        kth = np.sort(own[valid])[min_kept - 1] if min_kept else 0
        kept = valid & (own <= max(threshold, kth))
    return *cross_entropy(logits, labels, kept, kept.sum()), kept.sum()


def unlabeled(inputs, gradients):
    """The terms of UniMatch by their names in the file; gradients go into a dictionary."""
    p = softmax(inputs["logits_u_w"])
    partner = softmax(inputs["logits_u_w_mix"])
    labels, confidence = p.argmax(1), p.max(1)
    valid = inputs["ignore_mask"] != 255
    found = {}
    for view in (1, 2):
        box = inputs[f"cutmix_box{view}"] == 1
        mixed = np.where(box, partner.argmax(1), labels)
        sure = np.where(box, partner.max(1), confidence) >= GAMMA
        mixed_valid = np.where(box, inputs["ignore_mask_mix"] != 255, valid)
        found[f"loss_u_s{view}"], gradients[f"u_s{view}"] = cross_entropy(
            inputs[f"logits_u_s{view}"], mixed, sure & mixed_valid, mixed_valid.sum()
        )
    sure = (confidence >= GAMMA) & valid
    found["loss_u_w_fp"], gradients["u_w_fp"] = cross_entropy(
        inputs["logits_u_w_fp"], labels, sure, valid.sum()
    )
    found["mask_ratio"] = sure.sum() / valid.sum()
    return found


def methods(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All numbers of UniMatch and FixMatch for these inputs."""
    gradients = {}
    labels = inputs["mask_x"].astype(int)
    labeled = labels != 255
    loss_x, gradients["x"] = cross_entropy(inputs["logits_x"], labels, labeled, labeled.sum())
    terms = {"loss_x": loss_x, **unlabeled(inputs, gradients)}
    share = {"x": 0.5, "u_s1": 0.125, "u_s2": 0.125, "u_w_fp": 0.25}
    found = {f"unimatch/{name}": value for name, value in terms.items()}
    found["unimatch/loss"] = sum(terms[f"loss_{name}"] * part for name, part in share.items())
    for name, part in share.items():
        found[f"unimatch/grad_logits_{name}"] = gradients[name] * part
    for name in ("u_w", "u_w_mix"):  # The teacher learns nothing.
        found[f"unimatch/grad_logits_{name}"] = np.zeros_like(inputs[f"logits_{name}"])
    found["fixmatch/loss_x"], found["fixmatch/loss_u_s"] = loss_x, terms["loss_u_s1"]
    found["fixmatch/mask_ratio"] = terms["mask_ratio"]
    found["fixmatch/loss"] = (loss_x + terms["loss_u_s1"]) / 2
    return {f"pascal/{name}": np.asarray(value) for name, value in found.items()}


def require_equal(found, recorded) -> None:
    for name, value in found.items():
        np.testing.assert_allclose(value, recorded[name], rtol=1e-5, atol=1e-7, err_msg=name)


def save(name: str, arrays: dict[str, np.ndarray]) -> None:
    """Gradients in float32, which their tolerance of 1e-5 leaves room for."""
    small = {k: v.astype(np.float32) if "grad" in k else v for k, v in arrays.items()}
    np.savez_compressed(FOLDER / name, **small)


def reduce_ohem(whole) -> None:
    regimes = {
        "thresh_active": ((0.7, 100), (0.7, 20)),
        "kth_active": ((0.1, 1168), (0.1, 45)),
        "passthrough": ((0.7, 1229), (0.7, 54)),
    }
    crop = {"logits": whole["logits"][:1, :, 4:12, 8:16], "target": whole["target"][:1, 4:12, 8:16]}
    for name, (of_whole, of_crop) in regimes.items():
        for arrays, (threshold, min_kept) in ((dict(whole), of_whole), (crop, of_crop)):
            loss, gradient, kept = ohem(arrays["logits"], arrays["target"], threshold, min_kept)
            numbers = {"loss": loss, "grad": gradient, "kept": kept}
            numbers = {f"{name}/{key}": np.asarray(value) for key, value in numbers.items()}
            if arrays is crop:
                crop |= numbers
                crop |= {f"{name}/threshold": threshold, f"{name}/min_kept": min_kept}
            else:
                require_equal(numbers, whole)
    save("ohem.npz", {name: np.asarray(value) for name, value in crop.items()})


def reduce_methods(whole) -> None:
    prefix = "pascal/in/"
    inputs = {k.removeprefix(prefix): v for k, v in whole.items() if k.startswith(prefix)}
    require_equal(methods(inputs), whole)
    inputs = {k: v[-2:][..., LINES, :][..., COLUMNS] for k, v in inputs.items() if k not in UNUSED}
    numbers = methods(inputs)
    save("unimatch_losses_pascal.npz", {**{prefix + k: v for k, v in inputs.items()}, **numbers})


def main(folder: str) -> None:
    reductions = {
        "ohem.npz": reduce_ohem,
        "unimatch_losses_pascal.npz": reduce_methods,
    }
    for name, reduction in reductions.items():
        with np.load(pathlib.Path(folder, name), allow_pickle=False) as file:
            reduction(dict(file))


if __name__ == "__main__":
    main(sys.argv[1])
