"""What the golden scripts share: how files are written, and the losses of facebookresearch/deit in PyTorch."""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

HERE = Path(__file__).parent


def array(value, dtype=np.float64) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    return np.asarray(value, dtype=dtype, order="C")


def save(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """A safetensors file without metadata: its bytes follow from the tensors alone."""
    # Not np.ascontiguousarray, which makes a vector of a single number.
    save_file({name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}, str(path))
    path.chmod(0o644)


def save_json(path: Path, value) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def save_rows(path: Path, rows: list) -> None:
    """A JSON list with one row a line."""
    path.write_text("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n")


def relative_error(value, reference) -> float:
    value, reference = array(value), array(reference)
    norm = np.linalg.norm(reference)
    return float(np.linalg.norm(value - reference) / norm) if norm > 0 else float(np.linalg.norm(value))


# ---- losses: losses.py and main.py of facebookresearch/deit, and timm's LabelSmoothing/SoftTargetCrossEntropy ----


def smoothing_cross_entropy(logits, labels, smoothing: float):
    log_probs = F.log_softmax(logits, dim=-1)
    nll = -log_probs.gather(-1, labels.unsqueeze(1)).squeeze(1)
    return ((1.0 - smoothing) * nll + smoothing * -log_probs.mean(dim=-1)).mean()


def soft_target_cross_entropy(logits, targets):
    return torch.sum(-targets * F.log_softmax(logits, dim=-1), dim=-1).mean()


def kl_distillation(student, teacher, tau: float, scaling: str):
    """tau^2 times the summed KL(teacher || student) at temperature tau, over B ('batchmean') or B * K ('all')."""
    kl = F.kl_div(
        F.log_softmax(student / tau, dim=1), F.log_softmax(teacher / tau, dim=1), reduction="sum", log_target=True
    )
    return kl * (tau * tau) / (student.numel() if scaling == "all" else student.shape[0])


SMOOTHING = 0.1

KINDS = {
    "none": {"distillation": "none"},
    "hard": {"distillation": "hard", "alpha": 0.5},
    "soft_batchmean": {"distillation": "soft", "alpha": 0.5, "tau": 2.0, "klScaling": "batchmean"},
    "soft_all": {"distillation": "soft", "alpha": 0.1, "tau": 3.0, "klScaling": "all"},
}


def distillation_loss(outputs, base, teacher, kind: str):
    """`outputs`: the pair of heads, or one tensor of logits that serves both terms. `base`: logits -> loss."""
    logits, logits_dist = outputs if isinstance(outputs, tuple) else (outputs, outputs)
    loss, settings = base(logits), KINDS[kind]
    if settings["distillation"] == "none":
        return loss
    alpha = settings["alpha"]
    if settings["distillation"] == "hard":
        extra = F.cross_entropy(logits_dist, teacher.argmax(dim=1))
    else:
        extra = kl_distillation(logits_dist, teacher, settings["tau"], settings["klScaling"])
    return loss * (1.0 - alpha) + extra * alpha
